//! A row of SQLite as [`crate::row_reader`] reads it.

use rusqlite::Row;
use rusqlite::types::FromSql;

use crate::row_reader::SqlRow;

fn cell<T: FromSql>(row: &Row<'_>, at: usize) -> Result<T, String> {
    row.get(at).map_err(|error| error.to_string())
}

impl SqlRow for Row<'_> {
    fn text(&self, at: usize) -> Result<Option<String>, String> {
        cell(self, at)
    }

    fn number(&self, at: usize) -> Result<Option<i64>, String> {
        cell(self, at)
    }

    fn bytes(&self, at: usize) -> Result<Option<Vec<u8>>, String> {
        cell(self, at)
    }

    fn truth(&self, at: usize) -> Result<bool, String> {
        cell(self, at)
    }
}
