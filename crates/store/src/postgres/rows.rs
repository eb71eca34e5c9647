//! A row of PostgreSQL as [`crate::row_reader`] reads it.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::row_reader::SqlRow;

fn cell<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, String> {
    row.try_get(at).map_err(|error| error.to_string())
}

impl SqlRow for Row {
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
