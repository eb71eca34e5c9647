//! What commands write to standard output: lines and tables for people, JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::printable::{printable, single_line};

/// Standard output, in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether `--json` was given.
    pub(crate) json: bool,
}

impl Output {
    /// Writes `text` for people or `value` for programs, and nothing else.
    pub(crate) fn print(self, text: &str, value: &impl Serialize) -> io::Result<()> {
        if self.json { Self::print_json(value) } else { Self::print_line(text) }
    }

    /// Writes one line for people.
    pub(crate) fn print_line(text: &str) -> io::Result<()> {
        Self::write(&[&printable(text), "\n"])
    }

    /// Writes text for people that ends its lines itself.
    pub(crate) fn print_text(text: &str) -> io::Result<()> {
        Self::write(&[&printable(text)])
    }

    /// Writes text with the codes that a terminal is to obey.
    pub(crate) fn draw(text: &str) -> io::Result<()> {
        Self::write(&[text])
    }

    /// Writes one JSON document and a line end.
    pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
        Self::write(&[&serde_json::to_string_pretty(value)?, "\n"])
    }

    /// Writes one JSON document in one line.
    pub(crate) fn print_json_line(value: &impl Serialize) -> io::Result<()> {
        Self::write(&[&serde_json::to_string(value)?, "\n"])
    }

    fn write(parts: &[&str]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        parts.iter().try_for_each(|part| out.write_all(part.as_bytes()))?;
        out.flush()
    }

    /// Writes a table, or the JSON of the same rows.
    pub(crate) fn print_table(self, table: &Table, value: &impl Serialize) -> io::Result<()> {
        if self.json { Self::print_json(value) } else { Self::print_text(&table.to_text()) }
    }
}

/// Says something beside the answer, for people: on standard error.
pub(crate) fn print_note(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{}", printable(text))
}

/// Rows of aligned columns.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// What stands in place of a table without rows.
    empty: &'static str,
}

impl Table {
    pub(crate) fn new<const N: usize>(head: [&'static str; N], empty: &'static str) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), empty }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        // A line end in a cell would break the table, and could pass for another row.
        self.rows.push(cells.into_iter().map(|cell| single_line(&cell)).collect());
    }

    fn to_text(&self) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.empty);
        }
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.head[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let head = self.head.iter().map(ToString::to_string).collect();
        let mut text = String::new();
        for row in [&head].into_iter().chain(&self.rows) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_cell_breaks_out_of_its_row() {
        let mut table = Table::new(["NAME", "STATE"], "nothing");
        assert_eq!(table.to_text(), "nothing\n");
        table.row(["acme".to_owned(), "live".to_owned()]);
        table.row(["a-longer-name".to_owned(), "in\nterrupted".to_owned()]);
        assert_eq!(
            table.to_text(),
            "NAME           STATE\nacme           live\na-longer-name  in terrupted\n"
        );
    }
}
