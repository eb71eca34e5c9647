//! The table, with a row for each connection.

use std::time::Duration;

use jeton_core::keep::connection::Condition;
use jeton_core::time::whole_seconds;

use super::colors::{Color, Side, StyledLine, TextStyle, bar, cell, count};
use super::events::EventLevel;
use super::watch::ConnectionRow;

/// From this width on, heads are written out.
const WIDE: usize = 140;

/// From this width on, a column says how each provider behaves.
const VERY_WIDE: usize = 180;

/// From this width on, the last event is a sentence.
const SENTENCE: usize = 40;

/// Below this width, there is no last event.
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

/// The columns that fit into `width`.
fn columns(width: usize) -> Vec<Column> {
    use Side::{Left, Right};
    let mut columns = if width >= WIDE {
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
    if width >= VERY_WIDE {
        columns.insert(1, column(Field::About, "ITS PROVIDER", 34, Left, 2));
    }
    let taken: usize = columns.iter().map(|column| column.gap + column.width).sum();
    let rest = width.saturating_sub(taken + 2);
    if rest >= TOO_NARROW {
        columns.push(column(Field::Last, "LAST EVENT", rest, Left, 2));
    }
    columns
}

/// The head and the rows, `width` columns wide.
pub(super) fn table(rows: &[ConnectionRow], width: usize, style: TextStyle) -> Vec<StyledLine> {
    let columns = columns(width);
    let mut lines = vec![StyledLine::default()];
    for column in &columns {
        let text = " ".repeat(column.gap) + &cell(column.head, column.width, column.side, style);
        lines[0] = std::mem::take(&mut lines[0]).and(Color::Faint, text);
    }
    lines.extend(rows.iter().map(|row| {
        columns.iter().fold(StyledLine::default(), |line, column| {
            write(line.and(Color::Plain, " ".repeat(column.gap)), row, *column, style)
        })
    }));
    lines
}

/// Writes one cell at the end of a line.
fn write(line: StyledLine, row: &ConnectionRow, column: Column, style: TextStyle) -> StyledLine {
    let Column { width, side, .. } = column;
    let (color, text) = match column.field {
        Field::Life => return life(line, row, width, style),
        Field::Name => (Color::Strong, row.name.clone()),
        Field::About => (Color::Faint, row.about.to_owned()),
        Field::State => (state_color(row.condition), row.condition.as_str().to_owned()),
        Field::Next => (Color::Plain, next(row)),
        Field::Generation => (Color::Plain, count(row.generation, width)),
        Field::Served => (Color::Plain, count(row.served, width)),
        Field::Errors => (if row.errors == 0 { Color::Good } else { Color::Bad }, count(row.errors, width)),
        Field::Last => last(row, width),
    };
    line.and(color, cell(&text, width, side, style))
}

/// The colour of a condition.
fn state_color(condition: Condition) -> Color {
    match condition {
        Condition::Live => Color::Good,
        Condition::Refreshing => Color::Busy,
        Condition::Dead => Color::Bad,
        _ => Color::Trouble,
    }
}

fn life(line: StyledLine, row: &ConnectionRow, width: usize, style: TextStyle) -> StyledLine {
    /// Room for ` 30s` behind the bar.
    const SECONDS: usize = 4;
    let Some(left) = row.left else {
        return line.and(Color::Faint, cell("no token", width, Side::Left, style));
    };
    let (full, rest) = bar(row.share, width - SECONDS, style);
    let color = if row.share > 0.15 { Color::Good } else { Color::Trouble };
    line.and(color, full)
        .and(Color::Faint, rest)
        .and(Color::Plain, cell(&seconds(left), SECONDS, Side::Right, style))
}

fn next(row: &ConnectionRow) -> String {
    match row.next {
        None => "-".to_owned(),
        Some(next) if next.as_secs() == 0 => "now".to_owned(),
        Some(next) => seconds(next),
    }
}

/// Whole seconds, rounded up; minutes from 100 s on.
fn seconds(duration: Duration) -> String {
    let seconds = whole_seconds(duration);
    if seconds < 100 { format!("{seconds}s") } else { format!("{}m", seconds / 60) }
}

fn last(row: &ConnectionRow, width: usize) -> (Color, String) {
    let Some(event) = &row.last else { return (Color::Faint, "-".to_owned()) };
    (level_color(event.level), if width >= SENTENCE { event.long.clone() } else { event.short.clone() })
}

/// The colour of an event.
pub(super) fn level_color(level: EventLevel) -> Color {
    match level {
        EventLevel::Good => Color::Plain,
        EventLevel::Trouble => Color::Trouble,
        EventLevel::Bad => Color::Bad,
    }
}
