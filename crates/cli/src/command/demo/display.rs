//! Shows the demo: as a live table on a terminal, else as lines for people or for programs.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use serde_json::json;

use super::colors::{TextStyle, count};
use super::events::{Event, EventLevel};
use super::result::DemoResult;
use super::scenarios::DEVIATIONS;
use super::screen::Screen;
use super::table::table;
use super::view::{ViewData, clock, command, frame};
use crate::env_vars::EnvVars;
use crate::output::Output;

/// How often the lines have one with the totals.
const PROGRESS: Duration = Duration::from_secs(10);

/// How many events are kept to be shown: more than a screen has lines.
const MAX_EVENTS: usize = 200;

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
    /// Whether the table is drawn.
    pub(super) fn draws_table(output: Output, environment: &EnvVars) -> bool {
        !output.json && Screen::is_available(environment)
    }

    /// The display that fits the output.
    pub(super) fn new(output: Output, environment: &EnvVars) -> io::Result<Self> {
        Ok(if Self::draws_table(output, environment) {
            Self::Table(Box::new(Screen::enter()?))
        } else if output.json {
            Self::Json
        } else {
            Self::Lines { progress: PROGRESS }
        })
    }

    /// Whether it is the live table.
    pub(super) fn is_table(&self) -> bool {
        matches!(self, Self::Table(_))
    }

    /// Prints what runs and what can be typed. The table always shows that.
    pub(super) fn print_start(&self, data: &ViewData<'_>) -> io::Result<()> {
        match self {
            Self::Table(_) => Ok(()),
            Self::Lines { .. } => Output::print_text(&opening(data)),
            Self::Json => {
                let hints: Vec<String> = data.hints.iter().map(|pieces| pieces.join(" ")).collect();
                Self::json(&json!({ "listening": data.base_url, "seed": data.seed, "try": hints }))
            }
        }
    }

    /// Shows the current state.
    pub(super) fn update(&mut self, data: &ViewData<'_>, style: TextStyle) -> io::Result<()> {
        match self {
            Self::Table(screen) => {
                let size = Screen::size();
                screen.draw(&frame(data, size, style), size)
            }
            Self::Lines { progress } => {
                for event in &data.observation.new_events {
                    Output::print_line(&event_line(event, data))?;
                }
                if data.elapsed >= *progress {
                    *progress += PROGRESS;
                    Output::print_line(&progress_line(data))?;
                }
                Ok(())
            }
            Self::Json => data.observation.new_events.iter().try_for_each(|event| {
                let level = match event.level {
                    EventLevel::Good => "good",
                    EventLevel::Trouble => "trouble",
                    EventLevel::Bad => "bad",
                };
                Self::json(&json!({
                    "at": event.at,
                    "connection": event.connection,
                    "event": event.short,
                    "text": event.long,
                    "tone": level,
                }))
            }),
        }
    }

    /// Leaves the live table and prints the summary.
    pub(super) fn print_summary(
        self,
        last: &ViewData<'_>,
        result: &DemoResult,
        style: TextStyle,
    ) -> io::Result<()> {
        if matches!(self, Self::Json) {
            return Self::json(&json!({
                "seed": result.seed,
                "seconds": result.elapsed.as_secs(),
                "connections": result.connections,
                "tokens": result.tokens,
                "calls": result.calls,
            }));
        }
        let mut text = String::new();
        if self.is_table() {
            let width = Screen::size().columns.saturating_sub(1);
            drop(self);
            text.extend(
                table(&last.observation.rows, width, style)
                    .iter()
                    .map(|line| line.render(width, style) + "\n"),
            );
        }
        text.push_str(&summary(result));
        Output::print_text(&text)
    }

    fn json(value: &serde_json::Value) -> io::Result<()> {
        Output::print_line(&value.to_string())
    }
}

/// Adds new events to those that are shown.
pub(super) fn add_events(feed: &mut VecDeque<Event>, new: &[Event]) {
    feed.extend(new.iter().cloned());
    feed.drain(..feed.len().saturating_sub(MAX_EVENTS));
}

fn opening(data: &ViewData<'_>) -> String {
    let note = data.port_note.map(|note| format!(" ({note})")).unwrap_or_default();
    let mut text = format!(
        "jeton demo: {} connections at emulated providers, listening at {}{note}; seed {}\n\n\
         Type in another terminal:\n\n",
        data.observation.rows.len(),
        data.base_url,
        data.seed,
    );
    for pieces in data.hints {
        text.extend(command(pieces, usize::MAX).iter().map(|line| format!("{line}\n")));
    }
    text.push('\n');
    for row in &data.observation.rows {
        text.extend([format!("   {:<14}{}\n", row.name, row.about)]);
    }
    text.extend(["\n", DEVIATIONS, "\n\n"]);
    text
}

fn event_line(event: &Event, data: &ViewData<'_>) -> String {
    let at = clock(event.at.since(data.began_at));
    format!("{at:>5}  {:<14}{}", event.connection, event.long)
}

fn progress_line(data: &ViewData<'_>) -> String {
    let (calls, tokens) = (&data.observation.calls, data.observation.tokens);
    format!(
        "{:>5}  callers: {} served, {} told why not, {} errors, {} dead; tokens: {} requests, {} accepted, {} lost",
        clock(data.elapsed),
        calls.served,
        calls.told,
        calls.errors,
        calls.dead,
        tokens.requests,
        tokens.accepted,
        tokens.lost,
    )
}

/// The result in words.
fn summary(result: &DemoResult) -> String {
    let (tokens, calls) = (result.tokens, &result.calls);
    let mut text = format!(
        "\njeton demo ran {} min with {} connections, seed {}\n\n",
        clock(result.elapsed),
        result.connections,
        result.seed
    );
    let mut line = |word: &str, number: u64, meaning: &str| {
        text.extend([format!("  {word:<10}{:>9}   {meaning}\n", count(number, 9))]);
    };
    line("requests", tokens.requests, "to token endpoints; a rejected one spends no token");
    line("accepted", tokens.accepted, "of them were answered with a token set");
    if tokens.lost_upstream > 0 {
        line(
            "upstream",
            tokens.lost_upstream,
            "replies were lost by the provider after it had spent the token",
        );
    }
    line("lost", tokens.lost, "token sets reached jeton and are not in its store");
    line("served", calls.served, "calls had a token that the provider's API accepted");
    line("told", calls.told, "calls were told why there is no token");
    if calls.revoked > 0 {
        line("revoked", calls.revoked, "calls had a token whose grant the user had revoked");
    }
    line("errors", calls.errors, "calls got no token though there could be one");
    line("dead", calls.dead, "dead tokens were served");
    if let Some(problem) = &calls.first_problem {
        text.extend([format!("\n  First problem: {problem}\n")]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::callers::CallCounts;
    use super::super::result::TokenCounts;
    use super::*;

    #[test]
    fn the_summary_counts_what_became_of_every_token() {
        let result = DemoResult {
            seed: 1,
            connections: 7,
            elapsed: Duration::from_secs(61),
            tokens: TokenCounts { requests: 34, accepted: 22, lost_upstream: 0, lost: 0 },
            calls: CallCounts { served: 8_412, told: 310, ..CallCounts::default() },
        };
        let text = summary(&result);
        assert!(text.starts_with("\njeton demo ran 1:01 min with 7 connections, seed 1\n"), "{text}");
        for line in
            ["requests         34", "accepted         22", "lost              0", "served        8,412"]
        {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("upstream") && !text.contains("problem"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
        assert!(result.into_result().is_ok());
    }

    #[test]
    fn a_broken_promise_fails_with_the_seed_and_what_was_seen_first() {
        let calls = CallCounts {
            dead: 1,
            first_problem: Some("calm: the token ab of generation 3 was dead".to_owned()),
            ..CallCounts::default()
        };
        let result = DemoResult {
            seed: 77,
            connections: 7,
            elapsed: Duration::ZERO,
            tokens: TokenCounts::default(),
            calls,
        };
        assert!(summary(&result).contains("First problem: calm: the token ab"));
        let failure = result.into_result().unwrap_err();
        assert!(
            failure.to_string().contains("1 dead tokens were served, with the seed 77 (calm: "),
            "{failure}"
        );
        assert_eq!(failure.problem().code, "PROMISE_BROKEN");
    }
}
