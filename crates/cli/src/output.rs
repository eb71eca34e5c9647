//! What commands write to standard output: lines and tables for people, JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;

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

    /// Writes one line.
    pub(crate) fn print_line(text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// Writes text that ends its lines itself.
    pub(crate) fn print_text(text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Writes one JSON document and a line end.
    pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
        Self::print_line(&serde_json::to_string_pretty(value)?)
    }

    /// Writes a table, or the JSON of the same rows.
    pub(crate) fn print_table(self, table: &Table, value: &impl Serialize) -> io::Result<()> {
        if self.json { Self::print_json(value) } else { Self::print_text(&table.to_text()) }
    }
}

/// Says something beside the answer, for people: on standard error.
pub(crate) fn print_note(text: &str) -> io::Result<()> {
    writeln!(io::stderr().lock(), "{text}")
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
        let clean = |cell: String| cell.replace(|c: char| c.is_control(), " ");
        self.rows.push(cells.into_iter().map(clean).collect());
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
