//! How the demo shows itself: a live table on a terminal, lines for people or programs elsewhere.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use serde_json::json;

use super::paint::{Look, count};
use super::screen::Screen;
use super::story::{Event, Tone};
use super::table::table;
use super::verdict::Verdict;
use super::view::{Scene, clock, command, frame};
use crate::environment::Environment;
use crate::output::Output;

/// How often lines say how the demo stands.
const PROGRESS: Duration = Duration::from_secs(10);

/// How many events are kept to be shown: more than a screen has lines.
const KEPT: usize = 200;

/// One of the ways to show what happens.
pub(super) enum Face {
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

impl Face {
    /// Whether the output is a terminal that the table is drawn on.
    pub(super) fn is_drawn(output: Output, environment: &Environment) -> bool {
        !output.json && Screen::is_there(environment)
    }

    /// The one that fits the output.
    pub(super) fn fitting(output: Output, environment: &Environment) -> io::Result<Self> {
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
    pub(super) fn open(&self, scene: &Scene<'_>) -> io::Result<()> {
        match self {
            Self::Table(_) => Ok(()),
            Self::Lines { .. } => Output::text(&opening(scene)),
            Self::Json => {
                let hints: Vec<String> = scene.hints.iter().map(|pieces| pieces.join(" ")).collect();
                Self::json(&json!({ "listening": scene.base_url, "seed": scene.seed, "try": hints }))
            }
        }
    }

    /// Shows what there is now.
    pub(super) fn show(&mut self, scene: &Scene<'_>, look: Look) -> io::Result<()> {
        match self {
            Self::Table(screen) => {
                let size = Screen::size();
                screen.draw(&frame(scene, size, look), size)
            }
            Self::Lines { progress } => {
                for event in &scene.sight.news {
                    Output::line(&event_line(event, scene))?;
                }
                if scene.ran >= *progress {
                    *progress += PROGRESS;
                    Output::line(&progress_line(scene))?;
                }
                Ok(())
            }
            Self::Json => scene.sight.news.iter().try_for_each(|event| {
                let tone = match event.tone {
                    Tone::Good => "good",
                    Tone::Trouble => "trouble",
                    Tone::Bad => "bad",
                };
                Self::json(&json!({
                    "at": event.at,
                    "connection": event.connection,
                    "event": event.short,
                    "text": event.long,
                    "tone": tone,
                }))
            }),
        }
    }

    /// Ends it, and writes the summary where it stays. `last` is the last that was seen.
    pub(super) fn close(self, last: &Scene<'_>, verdict: &Verdict, look: Look) -> io::Result<()> {
        if matches!(self, Self::Json) {
            return Self::json(&json!({
                "seed": verdict.seed,
                "seconds": verdict.ran.as_secs(),
                "connections": verdict.connections,
                "tokens": verdict.tokens,
                "calls": {
                    "served": verdict.calls.served,
                    "told": verdict.calls.told,
                    "errors": verdict.calls.errors,
                    "dead": verdict.calls.dead,
                    "revoked": verdict.calls.revoked,
                },
            }));
        }
        let mut text = String::new();
        if self.is_table() {
            let width = Screen::size().columns.saturating_sub(1);
            drop(self);
            text.extend(
                table(&last.sight.rows, width, look).iter().map(|line| line.render(width, look) + "\n"),
            );
        }
        text.push_str(&summary(verdict));
        Output::text(&text)
    }

    fn json(value: &serde_json::Value) -> io::Result<()> {
        Output::line(&value.to_string())
    }
}

/// Adds what happened to what is shown of it.
pub(super) fn remember(feed: &mut VecDeque<Event>, news: &[Event]) {
    feed.extend(news.iter().cloned());
    feed.drain(..feed.len().saturating_sub(KEPT));
}

fn opening(scene: &Scene<'_>) -> String {
    let remark = scene.remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    let mut text = format!(
        "jeton demo: {} connections at providers of every temper, listening at {}{remark}; seed {}\n\n\
         Type in another terminal:\n\n",
        scene.sight.rows.len(),
        scene.base_url,
        scene.seed,
    );
    for pieces in scene.hints {
        text.extend(command(pieces, usize::MAX).iter().map(|line| format!("{line}\n")));
    }
    text.push('\n');
    for row in &scene.sight.rows {
        text.extend([format!("   {:<14}{}\n", row.name, row.about)]);
    }
    text.push('\n');
    text
}

fn event_line(event: &Event, scene: &Scene<'_>) -> String {
    let at = clock(event.at.since(scene.began_at));
    format!("{at:>5}  {:<14}{}", event.connection, event.long)
}

fn progress_line(scene: &Scene<'_>) -> String {
    let (calls, tokens) = (&scene.sight.calls, scene.sight.tokens);
    format!(
        "{:>5}  callers: {} served, {} told why not, {} errors, {} dead; tokens: {} spends, {} accepted, {} lost",
        clock(scene.ran),
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
fn summary(verdict: &Verdict) -> String {
    let (tokens, calls) = (verdict.tokens, &verdict.calls);
    let mut text = format!(
        "\njeton demo ran {} min with {} connections, seed {}\n\n",
        clock(verdict.ran),
        verdict.connections,
        verdict.seed
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
    use super::super::callers::Calls;
    use super::super::verdict::Tokens;
    use super::*;

    #[test]
    fn the_summary_says_what_became_of_every_token() {
        let verdict = Verdict {
            seed: 1,
            connections: 7,
            ran: Duration::from_secs(61),
            tokens: Tokens { spends: 34, accepted: 22, lost_upstream: 0, lost: 0 },
            calls: Calls { served: 8_412, told: 310, ..Calls::default() },
        };
        let text = summary(&verdict);
        assert!(text.starts_with("\njeton demo ran 1:01 min with 7 connections, seed 1\n"), "{text}");
        for line in
            ["spends           34", "accepted         22", "lost              0", "served        8,412"]
        {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("upstream") && !text.contains("trouble"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
        assert!(verdict.into_result().is_ok());
    }

    #[test]
    fn a_broken_promise_fails_with_the_seed_and_what_was_seen_first() {
        let calls = Calls {
            dead: 1,
            trouble: Some("calm: the token ab of generation 3 was dead".to_owned()),
            ..Calls::default()
        };
        let verdict =
            Verdict { seed: 77, connections: 7, ran: Duration::ZERO, tokens: Tokens::default(), calls };
        assert!(summary(&verdict).contains("first trouble: calm: the token ab"));
        let failure = verdict.into_result().unwrap_err();
        assert!(
            failure.to_string().contains("1 tokens were handed out dead, with the seed 77 (calm: "),
            "{failure}"
        );
        assert_eq!(failure.problem().code, "PROMISE_BROKEN");
    }
}
