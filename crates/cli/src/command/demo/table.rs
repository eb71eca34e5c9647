//! The table: one row a connection.

use std::time::Duration;

use jeton_core::keep::connection::Condition;

use super::paint::{Line, Look, Paint, Side, bar, cell, count};
use super::story::Tone;
use super::watch::Row;

/// From this width on, words are written out.
const ROOMY: usize = 140;

/// From this width on, there is room to say what each provider does.
const SPACIOUS: usize = 180;

/// From this width on, the last event is told in a sentence.
const SENTENCE: usize = 40;

/// Below this width, a last event says nothing.
const TOO_NARROW: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    About,
    State,
    Life,
    Next,
    Generation,
    Served,
    Errors,
    Last,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    field: Field,
    head: &'static str,
    width: usize,
    side: Side,
    /// Columns left free before it.
    gap: usize,
}

fn column(field: Field, head: &'static str, width: usize, side: Side, gap: usize) -> Column {
    Column { field, head, width, side, gap }
}

/// The columns of a table that is `width` wide.
fn columns(width: usize) -> Vec<Column> {
    use Side::{Left, Right};
    let mut columns = if width >= ROOMY {
        vec![
            column(Field::Name, "CONNECTION", 14, Left, 1),
            column(Field::State, "STATE", 12, Left, 2),
            column(Field::Life, "TOKEN LIFE", 24, Left, 2),
            column(Field::Next, "NEXT REFRESH", 12, Right, 2),
            column(Field::Generation, "GENERATION", 10, Right, 2),
            column(Field::Served, "CALLERS SERVED", 14, Right, 2),
            column(Field::Errors, "ERRORS", 6, Right, 2),
        ]
    } else {
        let life = 12 + (width.saturating_sub(80) / 4).min(12);
        vec![
            column(Field::Name, "CONNECTION", 12, Left, 1),
            column(Field::State, "STATE", 11, Left, 2),
            column(Field::Life, "TOKEN LIFE", life, Left, 2),
            column(Field::Next, "NEXT", 4, Right, 1),
            column(Field::Generation, "GEN", 3, Right, 2),
            column(Field::Served, "SERVED", 6, Right, 1),
            column(Field::Errors, "ERR", 3, Right, 1),
        ]
    };
    if width >= SPACIOUS {
        columns.insert(1, column(Field::About, "ITS PROVIDER", 34, Left, 2));
    }
    let taken: usize = columns.iter().map(|column| column.gap + column.width).sum();
    let rest = width.saturating_sub(taken + 2);
    if rest >= TOO_NARROW {
        columns.push(column(Field::Last, "LAST EVENT", rest, Left, 2));
    }
    columns
}

/// The head and the rows, for a table that is `width` wide.
pub(super) fn table(rows: &[Row], width: usize, look: Look) -> Vec<Line> {
    let columns = columns(width);
    let mut lines = vec![Line::default()];
    for column in &columns {
        let text = " ".repeat(column.gap) + &cell(column.head, column.width, column.side, look);
        lines[0] = std::mem::take(&mut lines[0]).and(Paint::Faint, text);
    }
    lines.extend(rows.iter().map(|row| {
        columns.iter().fold(Line::default(), |line, column| {
            write(line.and(Paint::Plain, " ".repeat(column.gap)), row, *column, look)
        })
    }));
    lines
}

/// Writes one cell at the end of a line.
fn write(line: Line, row: &Row, column: Column, look: Look) -> Line {
    let Column { width, side, .. } = column;
    let (paint, text) = match column.field {
        Field::Life => return life(line, row, width, look),
        Field::Name => (Paint::Strong, row.name.clone()),
        Field::About => (Paint::Faint, row.about.to_owned()),
        Field::State => (state_paint(row.condition), row.condition.as_str().to_owned()),
        Field::Next => (Paint::Plain, next(row)),
        Field::Generation => (Paint::Plain, count(row.generation, width)),
        Field::Served => (Paint::Plain, count(row.served, width)),
        Field::Errors => (if row.errors == 0 { Paint::Good } else { Paint::Bad }, count(row.errors, width)),
        Field::Last => last(row, width),
    };
    line.and(paint, cell(&text, width, side, look))
}

/// The colour of a condition.
fn state_paint(condition: Condition) -> Paint {
    match condition {
        Condition::Live => Paint::Good,
        Condition::Refreshing => Paint::Busy,
        Condition::Dead => Paint::Bad,
        _ => Paint::Trouble,
    }
}

fn life(line: Line, row: &Row, width: usize, look: Look) -> Line {
    /// Room for ` 30s` behind the bar.
    const SECONDS: usize = 4;
    let Some(left) = row.left else {
        return line.and(Paint::Faint, cell("no token", width, Side::Left, look));
    };
    let (full, rest) = bar(row.share, width - SECONDS, look);
    let paint = if row.share > 0.15 { Paint::Good } else { Paint::Trouble };
    line.and(paint, full)
        .and(Paint::Faint, rest)
        .and(Paint::Plain, cell(&seconds(left), SECONDS, Side::Right, look))
}

fn next(row: &Row) -> String {
    match row.next {
        None => "-".to_owned(),
        Some(next) if next.as_secs() == 0 => "now".to_owned(),
        Some(next) => seconds(next),
    }
}

/// Whole seconds, rounded up; minutes from 100 s on.
fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    if seconds < 100 { format!("{seconds}s") } else { format!("{}m", seconds / 60) }
}

fn last(row: &Row, width: usize) -> (Paint, String) {
    let Some(event) = &row.last else { return (Paint::Faint, "-".to_owned()) };
    (tone_paint(event.tone), if width >= SENTENCE { event.long.clone() } else { event.short.clone() })
}

/// The colour of an event.
pub(super) fn tone_paint(tone: Tone) -> Paint {
    match tone {
        Tone::Good => Paint::Plain,
        Tone::Trouble => Paint::Trouble,
        Tone::Bad => Paint::Bad,
    }
}
