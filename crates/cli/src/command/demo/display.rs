//! Shows the demo: as a live table on a terminal, else as lines for people or for programs.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::events::Event;
use super::frame::{clock, count, frame, table};
use super::providers::DEVIATIONS;
use super::run::RunInfo;
use super::screen::Screen;
use super::state::DemoState;
use crate::env_vars::EnvVars;
use crate::output::Output;

/// How often the lines have one with the totals.
const PROGRESS: Duration = Duration::from_secs(10);

pub(super) enum Display {
    Table(Box<Screen>),
    /// Lines for people.
    Lines {
        /// When the next line with the totals is due.
        progress: Duration,
    },
    /// Lines of JSON.
    Json,
}

impl Display {
    /// The display that fits the output.
    pub(super) fn new(output: Output, environment: &EnvVars) -> io::Result<Self> {
        Ok(if output.json {
            Self::Json
        } else if Screen::is_available(environment) {
            Self::Table(Box::new(Screen::enter(environment)?))
        } else {
            Self::Lines { progress: PROGRESS }
        })
    }

    /// Prints what runs and what can be typed. The table always shows that.
    pub(super) fn print_start(&self, info: &RunInfo, state: &DemoState) -> io::Result<()> {
        match self {
            Self::Table(_) => Ok(()),
            Self::Lines { .. } => Output::print_text(&opening(info, state)),
            Self::Json => print(&json!({ "listening": info.base_url, "seed": info.seed, "try": info.hints })),
        }
    }

    /// Shows the current state, and what is new in it.
    pub(super) fn update(&mut self, info: &RunInfo, state: &DemoState, new: &[Event]) -> io::Result<()> {
        match self {
            Self::Table(screen) => {
                let (width, rows) = Screen::size();
                screen.draw(&frame(info, state, width, rows))
            }
            Self::Lines { progress } => {
                for event in new {
                    let at = clock(event.at.since(info.began_at));
                    Output::print_line(&format!("{at:>5}  {:<14}{}", event.connection, event.long))?;
                }
                if state.elapsed >= *progress {
                    *progress += PROGRESS;
                    Output::print_line(&progress_line(state))?;
                }
                Ok(())
            }
            Self::Json => new.iter().try_for_each(|event| print(&json!(event))),
        }
    }

    /// Leaves the live table and prints the summary; lines tell before it what is `new`.
    pub(super) fn end(mut self, info: &RunInfo, state: &DemoState, new: &[Event]) -> io::Result<()> {
        let mut text = String::new();
        if let Self::Table(screen) = &self {
            let (width, _) = Screen::size();
            text = screen.render(&table(&state.rows, width, false)).join("\n") + "\n";
        } else {
            self.update(info, state, new)?;
        }
        if matches!(self, Self::Json) {
            return print(&json!({
                "seed": info.seed,
                "seconds": state.elapsed.as_secs(),
                "connections": state.rows.len(),
                "tokens": state.tokens,
                "calls": state.calls,
            }));
        }
        drop(self);
        Output::draw(&(text + &summary(info, state)))
    }
}

/// Prints a line of JSON.
fn print(value: &Value) -> io::Result<()> {
    Output::print_json_line(value)
}

fn opening(info: &RunInfo, state: &DemoState) -> String {
    let RunInfo { base_url, port_note, hints, seed, .. } = info;
    let connections = state.rows.iter().map(|row| format!("   {:<14}{}\n", row.name, row.about));
    format!(
        "jeton demo: {} connections at emulated providers, listening at {base_url}{port_note}; seed {seed}\n\n\
         Type in another terminal:\n\n   {}\n\n{}\n{}\n\n",
        state.rows.len(),
        hints.join("\n   "),
        connections.collect::<String>(),
        DEVIATIONS.join(" "),
    )
}

fn progress_line(state: &DemoState) -> String {
    let (at, calls, tokens) = (clock(state.elapsed), &state.calls, &state.tokens);
    format!(
        "{at:>5}  callers: {} served, {} refused, {} errors, {} dead; tokens: {} requests, {} accepted, {} lost",
        calls.served, calls.refused, calls.errors, calls.dead, tokens.requests, tokens.accepted, tokens.lost,
    )
}

/// The result in words.
fn summary(info: &RunInfo, state: &DemoState) -> String {
    let (ran, connections, seed) = (clock(state.elapsed), state.rows.len(), info.seed);
    let (tokens, calls) = (&state.tokens, &state.calls);
    let mut text = format!("\njeton demo ran {ran} min with {connections} connections, seed {seed}\n\n");
    for (word, number, meaning) in [
        ("requests", tokens.requests, "to token endpoints; a rejected one spends no token"),
        ("accepted", tokens.accepted, "of them were answered with a token set"),
        ("upstream", tokens.lost_upstream, "replies the provider lost after it had spent the token"),
        ("lost", tokens.lost, "token sets reached jeton and are not in its store"),
        ("served", calls.served, "calls had a token that the provider's API accepted"),
        ("refused", calls.refused, "calls were refused with the reason: there can be no token"),
        ("revoked", calls.revoked, "calls had a token whose grant the user had revoked"),
        ("errors", calls.errors, "calls got no token though there could be one"),
        ("dead", calls.dead, "dead tokens were served"),
    ] {
        text.extend([format!("  {word:<10}{:>9}   {meaning}\n", count(number))]);
    }
    text.extend(calls.first_problem.iter().map(|problem| format!("\n  First problem: {problem}\n")));
    text
}
