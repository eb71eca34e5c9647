//! Lays a terminal out: title, commands to type, table, totals, events, legend.

use std::collections::VecDeque;
use std::time::Duration;

use jeton_core::time::Timestamp;

use super::callers::CallCounts;
use super::colors::{Color, Side, StyledLine, TextStyle, cell, count};
use super::events::Event;
use super::result::TokenCounts;
use super::scenarios::DEVIATIONS;
use super::table::{level_color, table};
use super::watch::Observation;

/// How large the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// What a display shows.
#[derive(Debug)]
pub(super) struct ViewData<'a> {
    pub(super) base_url: String,
    pub(super) port_note: Option<&'a str>,
    pub(super) hints: &'a [Vec<String>],
    pub(super) seed: u64,
    pub(super) began_at: Timestamp,
    pub(super) elapsed: Duration,
    pub(super) length: Option<Duration>,
    pub(super) ending: bool,
    pub(super) observation: &'a Observation,
    /// The events, the newest last.
    pub(super) events: &'a VecDeque<Event>,
}

const LEGEND: [&str; 3] = [
    "errors: callers who got no token though there could be one. doomed and",
    "wrong-client can have none, and say why. dead: dead tokens that were served.",
    DEVIATIONS,
];

/// The lines of a terminal: at most `rows` lines of less than `columns` columns.
pub(super) fn frame(data: &ViewData<'_>, size: Size, style: TextStyle) -> Vec<String> {
    // Terminals differ in what they do after the last column, so it stays free.
    let width = size.columns.saturating_sub(1);
    let mut page = Page { left: size.rows, parts: Vec::new() };
    // In the order of importance; the numbers are the order on the page.
    page.put(0, vec![title(data, width)]);
    page.put(2, table(&data.observation.rows, width, style));
    page.put(3, spaced(totals(&data.observation.calls, data.observation.tokens, style)));
    page.put(1, spaced_around(hints(data, width)));
    page.put(5, LEGEND.map(|text| StyledLine::of(Color::Faint, format!(" {text}"))).into());
    let rest = page.left.saturating_sub(1);
    page.put(4, spaced(event_lines(data, rest, style)));
    page.lines().iter().map(|line| line.render(width, style)).collect()
}

/// A page that is filled part by part while there is room.
struct Page {
    left: usize,
    parts: Vec<(u8, Vec<StyledLine>)>,
}

impl Page {
    /// Adds a part if it fits; title and table are cut instead.
    fn put(&mut self, place: u8, mut part: Vec<StyledLine>) {
        if place == 0 || place == 2 {
            part.truncate(self.left);
        } else if part.len() > self.left {
            return;
        }
        self.left -= part.len();
        self.parts.push((place, part));
    }

    fn lines(mut self) -> Vec<StyledLine> {
        self.parts.sort_by_key(|(place, _)| *place);
        self.parts.into_iter().flat_map(|(_, part)| part).collect()
    }
}

fn spaced(part: Vec<StyledLine>) -> Vec<StyledLine> {
    std::iter::once(StyledLine::default()).chain(part).collect()
}

fn spaced_around(part: Vec<StyledLine>) -> Vec<StyledLine> {
    spaced(part).into_iter().chain([StyledLine::default()]).collect()
}

fn title(data: &ViewData<'_>, width: usize) -> StyledLine {
    let line = StyledLine::of(Color::Strong, " jeton demo").and(Color::Plain, format!("  {}", data.base_url));
    let length = data.length.map(|length| format!(" of {}", clock(length))).unwrap_or_default();
    let line = line.and(Color::Faint, format!("  {}{length}, seed {}", clock(data.elapsed), data.seed));
    let end = if data.ending { "ending: refreshes finish" } else { "Ctrl-C ends it" };
    let gap = width.saturating_sub(line.width() + end.len()).max(2);
    let color = if data.ending { Color::Busy } else { Color::Faint };
    line.and(Color::Plain, " ".repeat(gap)).and(color, end)
}

/// Minutes and seconds.
pub(super) fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn hints(data: &ViewData<'_>, width: usize) -> Vec<StyledLine> {
    let note = data.port_note.map(|note| format!(" ({note})")).unwrap_or_default();
    let mut lines = vec![StyledLine::of(Color::Faint, format!(" Type in another terminal{note}:"))];
    for pieces in data.hints {
        lines.extend(command(pieces, width).into_iter().map(|text| StyledLine::of(Color::Busy, text)));
    }
    lines
}

/// A command in one line, or continued over several. A piece that is too wide is cut when it is drawn.
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

/// The counts of the whole run, in columns.
fn totals(calls: &CallCounts, tokens: TokenCounts, style: TextStyle) -> Vec<StyledLine> {
    /// The columns of each number and of the word behind it.
    const ROOMS: [(usize, usize); 4] = [(7, 8), (6, 14), (3, 8), (3, 0)];
    let good = |number| if number == 0 { Color::Good } else { Color::Bad };
    let rows = [
        (
            "callers",
            [
                (Color::Plain, calls.served, "served"),
                (Color::Plain, calls.told, "told why not"),
                (good(calls.errors), calls.errors, "errors"),
                (good(calls.dead), calls.dead, "dead"),
            ],
        ),
        (
            "tokens",
            [
                (Color::Plain, tokens.requests, "requests"),
                (Color::Plain, tokens.accepted, "accepted"),
                (good(tokens.lost), tokens.lost, "lost"),
                (Color::Plain, tokens.lost_upstream, "lost upstream"),
            ],
        ),
    ];
    let line = |(name, counts): (&str, [(Color, u64, &str); 4])| {
        let start = StyledLine::of(Color::Faint, format!(" {name:<8}"));
        counts.into_iter().zip(ROOMS).fold(start, |line, ((color, number, word), (room, end))| {
            let number = cell(&count(number, room), room, Side::Right, style);
            line.and(color, number).and(Color::Faint, format!(" {word:<end$}"))
        })
    };
    rows.into_iter().map(line).collect()
}

/// The newest events, at most `room` of them.
fn event_lines(data: &ViewData<'_>, room: usize, style: TextStyle) -> Vec<StyledLine> {
    let shown = if room > 5 { room - 1 } else { room };
    let first = data.events.len().saturating_sub(shown);
    let mut lines: Vec<StyledLine> = data
        .events
        .iter()
        .skip(first)
        .map(|event| {
            let at = cell(&clock(event.at.since(data.began_at)), 5, Side::Right, style);
            StyledLine::of(Color::Faint, format!(" {at}  "))
                .and(Color::Plain, cell(&event.connection, 12, Side::Left, style) + "  ")
                .and(level_color(event.level), event.long.clone())
        })
        .collect();
    // The legend stays at the bottom.
    lines.resize(room, StyledLine::default());
    lines
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
