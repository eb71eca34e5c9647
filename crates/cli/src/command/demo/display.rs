//! How the demo shows itself: a live table on a terminal, lines for people or programs elsewhere.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use serde_json::json;

use super::colors::{TextStyle, count};
use super::events::{Event, EventLevel};
use super::result::DemoResult;
use super::screen::Screen;
use super::table::table;
use super::view::{ViewData, clock, command, frame};
use crate::env_vars::EnvVars;
use crate::output::Output;

/// How often lines say how the demo stands.
const PROGRESS: Duration = Duration::from_secs(10);

/// How many events are kept to be shown: more than a screen has lines.
const KEPT: usize = 200;

/// One of the ways to show what happens.
pub(super) enum Display {
    /// The live table.
    Table(Box<Screen>),
    /// Lines for people.
    Lines {
        /// When progress is due next.
        progress: Duration,
    },
    /// Lines of JSON.
    Json,
}

impl Display {
    /// Whether the output is a terminal that the table is drawn on.
    pub(super) fn is_drawn(output: Output, environment: &EnvVars) -> bool {
        !output.json && Screen::is_there(environment)
    }

    /// The one that fits the output.
    pub(super) fn fitting(output: Output, environment: &EnvVars) -> io::Result<Self> {
        Ok(if Self::is_drawn(output, environment) {
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

    /// Says what runs and what can be typed. The table says so all the time.
    pub(super) fn open(&self, data: &ViewData<'_>) -> io::Result<()> {
        match self {
            Self::Table(_) => Ok(()),
            Self::Lines { .. } => Output::print_text(&opening(data)),
            Self::Json => {
                let hints: Vec<String> = data.hints.iter().map(|pieces| pieces.join(" ")).collect();
                Self::json(&json!({ "listening": data.base_url, "seed": data.seed, "try": hints }))
            }
        }
    }

    /// Shows what there is now.
    pub(super) fn show(&mut self, data: &ViewData<'_>, style: TextStyle) -> io::Result<()> {
        match self {
            Self::Table(screen) => {
                let size = Screen::size();
                screen.draw(&frame(data, size, style), size)
            }
            Self::Lines { progress } => {
                for event in &data.observation.news {
                    Output::print_line(&event_line(event, data))?;
                }
                if data.ran >= *progress {
                    *progress += PROGRESS;
                    Output::print_line(&progress_line(data))?;
                }
                Ok(())
            }
            Self::Json => data.observation.news.iter().try_for_each(|event| {
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

    /// Ends it, and writes the summary where it stays. `last` is the last that was seen.
    pub(super) fn close(self, last: &ViewData<'_>, result: &DemoResult, style: TextStyle) -> io::Result<()> {
        if matches!(self, Self::Json) {
            return Self::json(&json!({
                "seed": result.seed,
                "seconds": result.ran.as_secs(),
                "connections": result.connections,
                "tokens": result.tokens,
                "calls": {
                    "served": result.calls.served,
                    "told": result.calls.told,
                    "errors": result.calls.errors,
                    "dead": result.calls.dead,
                    "revoked": result.calls.revoked,
                },
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

/// Adds what happened to what is shown of it.
pub(super) fn remember(feed: &mut VecDeque<Event>, news: &[Event]) {
    feed.extend(news.iter().cloned());
    feed.drain(..feed.len().saturating_sub(KEPT));
}

fn opening(data: &ViewData<'_>) -> String {
    let remark = data.remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    let mut text = format!(
        "jeton demo: {} connections at providers of every temper, listening at {}{remark}; seed {}\n\n\
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
    text.push('\n');
    text
}

fn event_line(event: &Event, data: &ViewData<'_>) -> String {
    let at = clock(event.at.since(data.began_at));
    format!("{at:>5}  {:<14}{}", event.connection, event.long)
}

fn progress_line(data: &ViewData<'_>) -> String {
    let (calls, tokens) = (&data.observation.calls, data.observation.tokens);
    format!(
        "{:>5}  callers: {} served, {} told why not, {} errors, {} dead; tokens: {} spends, {} accepted, {} lost",
        clock(data.ran),
        calls.served,
        calls.told,
        calls.errors,
        calls.dead,
        tokens.spends,
        tokens.accepted,
        tokens.lost,
    )
}

/// The end of the demo in words.
fn summary(result: &DemoResult) -> String {
    let (tokens, calls) = (result.tokens, &result.calls);
    let mut text = format!(
        "\njeton demo ran {} min with {} connections, seed {}\n\n",
        clock(result.ran),
        result.connections,
        result.seed
    );
    let mut line = |word: &str, number: u64, meaning: &str| {
        text.extend([format!("  {word:<10}{:>9}   {meaning}\n", count(number, 9))]);
    };
    line("spends", tokens.spends, "requests to token endpoints");
    line("accepted", tokens.accepted, "of them were given a token set");
    if tokens.lost_upstream > 0 {
        line("upstream", tokens.lost_upstream, "replies were lost by a provider that had spent the token");
    }
    line("lost", tokens.lost, "token sets reached jeton and are not in its store");
    line("served", calls.served, "calls had a token that the provider's API took");
    line("told", calls.told, "calls were told why not (doomed, wrong-client)");
    if calls.revoked > 0 {
        line("revoked", calls.revoked, "calls had a token whose grant the user had revoked");
    }
    line("errors", calls.errors, "calls got no token though there could be one");
    line("dead", calls.dead, "tokens were given out dead");
    if let Some(trouble) = &calls.trouble {
        text.extend([format!("\n  The first trouble: {trouble}\n")]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::callers::CallCounts;
    use super::super::result::TokenCounts;
    use super::*;

    #[test]
    fn the_summary_says_what_became_of_every_token() {
        let result = DemoResult {
            seed: 1,
            connections: 7,
            ran: Duration::from_secs(61),
            tokens: TokenCounts { spends: 34, accepted: 22, lost_upstream: 0, lost: 0 },
            calls: CallCounts { served: 8_412, told: 310, ..CallCounts::default() },
        };
        let text = summary(&result);
        assert!(text.starts_with("\njeton demo ran 1:01 min with 7 connections, seed 1\n"), "{text}");
        for line in
            ["spends           34", "accepted         22", "lost              0", "served        8,412"]
        {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("upstream") && !text.contains("trouble"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
        assert!(result.into_result().is_ok());
    }

    #[test]
    fn a_broken_promise_fails_with_the_seed_and_what_was_seen_first() {
        let calls = CallCounts {
            dead: 1,
            trouble: Some("calm: the token ab of generation 3 was dead".to_owned()),
            ..CallCounts::default()
        };
        let result = DemoResult {
            seed: 77,
            connections: 7,
            ran: Duration::ZERO,
            tokens: TokenCounts::default(),
            calls,
        };
        assert!(summary(&result).contains("first trouble: calm: the token ab"));
        let failure = result.into_result().unwrap_err();
        assert!(
            failure.to_string().contains("1 tokens were handed out dead, with the seed 77 (calm: "),
            "{failure}"
        );
        assert_eq!(failure.problem().code, "PROMISE_BROKEN");
    }
}
