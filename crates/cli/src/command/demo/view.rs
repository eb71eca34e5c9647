//! What a terminal shows: title, what to type, table, totals, what happens, and what the words mean.

use std::collections::VecDeque;
use std::time::Duration;

use jeton_core::time::Timestamp;

use super::callers::Calls;
use super::paint::{Line, Look, Paint, Side, cell, count};
use super::story::Event;
use super::table::{table, tone_paint};
use super::verdict::Tokens;
use super::watch::Sight;

/// How large the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// Everything that there is to show.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) base_url: String,
    pub(super) remark: Option<&'a str>,
    pub(super) hints: &'a [Vec<String>],
    pub(super) seed: u64,
    pub(super) began_at: Timestamp,
    pub(super) ran: Duration,
    pub(super) length: Option<Duration>,
    pub(super) ending: bool,
    pub(super) sight: &'a Sight,
    /// What happened, the newest last.
    pub(super) feed: &'a VecDeque<Event>,
}

const LEGEND: [&str; 2] = [
    "errors: callers who got no token though there could be one. doomed and",
    "wrong-client can give none, and say why. dead: tokens given out dead.",
];

/// The lines of a terminal, each as it takes them: at most `rows` lines of less than `columns` columns.
pub(super) fn frame(scene: &Scene<'_>, size: Size, look: Look) -> Vec<String> {
    // The last column stays free: what terminals do behind it differs.
    let width = size.columns.saturating_sub(1);
    let mut page = Page { left: size.rows, parts: Vec::new() };
    // In the order of importance; they are shown in the order of their numbers.
    page.put(0, vec![title(scene, width)]);
    page.put(2, table(&scene.sight.rows, width, look));
    page.put(3, spaced(totals(&scene.sight.calls, scene.sight.tokens, look)));
    page.put(1, spaced_around(hints(scene, width)));
    page.put(5, LEGEND.map(|text| Line::of(Paint::Faint, format!(" {text}"))).into());
    let feed = page.left.saturating_sub(1);
    page.put(4, spaced(happenings(scene, feed, look)));
    page.lines().iter().map(|line| line.render(width, look)).collect()
}

/// A page that is filled part by part while there is room.
struct Page {
    left: usize,
    parts: Vec<(u8, Vec<Line>)>,
}

impl Page {
    /// Puts a part at its place, as far as it fits: the first two in any case, the others whole or not at all.
    fn put(&mut self, place: u8, mut part: Vec<Line>) {
        if place == 0 || place == 2 {
            part.truncate(self.left);
        } else if part.len() > self.left {
            return;
        }
        self.left -= part.len();
        self.parts.push((place, part));
    }

    fn lines(mut self) -> Vec<Line> {
        self.parts.sort_by_key(|(place, _)| *place);
        self.parts.into_iter().flat_map(|(_, part)| part).collect()
    }
}

fn spaced(part: Vec<Line>) -> Vec<Line> {
    std::iter::once(Line::default()).chain(part).collect()
}

fn spaced_around(part: Vec<Line>) -> Vec<Line> {
    spaced(part).into_iter().chain([Line::default()]).collect()
}

fn title(scene: &Scene<'_>, width: usize) -> Line {
    let line = Line::of(Paint::Strong, " jeton demo").and(Paint::Plain, format!("  {}", scene.base_url));
    let length = scene.length.map(|length| format!(" of {}", clock(length))).unwrap_or_default();
    let line = line.and(Paint::Faint, format!("  {}{length}, seed {}", clock(scene.ran), scene.seed));
    let end = if scene.ending { "ending: refreshes finish" } else { "Ctrl-C ends it" };
    let gap = width.saturating_sub(line.width() + end.len()).max(2);
    let paint = if scene.ending { Paint::Busy } else { Paint::Faint };
    line.and(Paint::Plain, " ".repeat(gap)).and(paint, end)
}

/// Minutes and seconds.
pub(super) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn hints(scene: &Scene<'_>, width: usize) -> Vec<Line> {
    let remark = scene.remark.map(|remark| format!(" ({remark})")).unwrap_or_default();
    let mut lines = vec![Line::of(Paint::Faint, format!(" Type in another terminal{remark}:"))];
    for pieces in scene.hints {
        lines.extend(command(pieces, width).into_iter().map(|text| Line::of(Paint::Busy, text)));
    }
    lines
}

/// A command in one line, or in several that a shell takes for one. What is too wide even so stays whole in its line,
/// where it is cut: a terminal of that width shows no command that could be copied.
pub(super) fn command(pieces: &[String], width: usize) -> Vec<String> {
    let whole = format!("   {}", pieces.join(" "));
    if whole.chars().count() <= width {
        return vec![whole];
    }
    let last = pieces.len().saturating_sub(1);
    let line = |(place, piece): (usize, &String)| {
        let (indent, end) =
            (if place == 0 { "   " } else { "     " }, if place == last { "" } else { " \\" });
        format!("{indent}{piece}{end}")
    };
    pieces.iter().enumerate().map(line).collect()
}

/// The counts of the whole run: every number below the one above it.
fn totals(calls: &Calls, tokens: Tokens, look: Look) -> Vec<Line> {
    /// The columns of each number and of the word behind it.
    const ROOMS: [(usize, usize); 4] = [(7, 8), (6, 14), (3, 8), (3, 0)];
    let good = |number| if number == 0 { Paint::Good } else { Paint::Bad };
    let rows = [
        (
            "callers",
            [
                (Paint::Plain, calls.served, "served"),
                (Paint::Plain, calls.told, "told why not"),
                (good(calls.errors), calls.errors, "errors"),
                (good(calls.dead), calls.dead, "dead"),
            ],
        ),
        (
            "tokens",
            [
                (Paint::Plain, tokens.spends, "spends"),
                (Paint::Plain, tokens.accepted, "accepted"),
                (good(tokens.lost), tokens.lost, "lost"),
                (Paint::Plain, tokens.lost_upstream, "lost upstream"),
            ],
        ),
    ];
    let line = |(name, counts): (&str, [(Paint, u64, &str); 4])| {
        let start = Line::of(Paint::Faint, format!(" {name:<8}"));
        counts.into_iter().zip(ROOMS).fold(start, |line, ((paint, number, word), (room, end))| {
            let number = cell(&count(number, room), room, Side::Right, look);
            line.and(paint, number).and(Paint::Faint, format!(" {word:<end$}"))
        })
    };
    rows.into_iter().map(line).collect()
}

/// The newest events, at most `room` of them.
fn happenings(scene: &Scene<'_>, room: usize, look: Look) -> Vec<Line> {
    let shown = if room > 5 { room - 1 } else { room };
    let first = scene.feed.len().saturating_sub(shown);
    let mut lines: Vec<Line> = scene
        .feed
        .iter()
        .skip(first)
        .map(|event| {
            let at = cell(&clock(event.at.since(scene.began_at)), 5, Side::Right, look);
            Line::of(Paint::Faint, format!(" {at}  "))
                .and(Paint::Plain, cell(&event.connection, 12, Side::Left, look) + "  ")
                .and(tone_paint(event.tone), event.long.clone())
        })
        .collect();
    // The legend stands at the bottom from the beginning.
    lines.resize(room, Line::default());
    lines
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
