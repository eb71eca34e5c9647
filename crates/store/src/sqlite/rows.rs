//! Statements of SQLite and the rows that they find.

use rusqlite::types::{ToSqlOutput, Value as SqliteValue, ValueRef};
use rusqlite::{Connection, ToSql};

use super::errors::SqliteError;
use crate::sql::statement::Value;
use crate::sql::{SqlRow, Statement};

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Number(Some(number)) | Self::Instant(Some(number)) => {
                ToSqlOutput::Owned(SqliteValue::Integer(*number))
            }
            Self::Text(Some(text)) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(Some(bytes)) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Bool(truth) => ToSqlOutput::Owned(SqliteValue::Integer((*truth).into())),
            Self::Number(None) | Self::Instant(None) | Self::Text(None) | Self::Bytes(None) => {
                ToSqlOutput::Owned(SqliteValue::Null)
            }
        })
    }
}

/// Runs a statement; answers the rows that it finds. Instants in rows are ahead of those that go in and come out by `shift`, in
/// microseconds.
pub(super) fn run(conn: &Connection, statement: &Statement, shift: i64) -> Result<Vec<SqlRow>, SqliteError> {
    let mut prepared = conn.prepare_cached(&statement.sql)?;
    for (number, parameter) in (1..).zip(&statement.parameters) {
        // Where a number stands in the text decides its index, and one that stands nowhere has none.
        let Some(index) = prepared.parameter_index(&format!("${number}"))? else { continue };
        match parameter {
            Value::Instant(Some(instant)) => {
                prepared.raw_bind_parameter(index, instant.saturating_add(shift))?;
            }
            parameter => prepared.raw_bind_parameter(index, parameter)?,
        }
    }
    let instants = InstantColumns::of(&prepared);
    let mut rows = prepared.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cells = Vec::new();
        while let Ok(cell) = row.get_ref(cells.len()) {
            cells.push(match cell {
                ValueRef::Null => Value::Bytes(None),
                ValueRef::Integer(number) => Value::Number(Some(number)),
                ValueRef::Text(text) => Value::Text(Some(String::from_utf8_lossy(text).into_owned())),
                ValueRef::Blob(bytes) => Value::Bytes(Some(bytes.to_vec())),
                // No table of ours has such a column.
                ValueRef::Real(number) => Value::Text(Some(number.to_string())),
            });
        }
        instants.shift_back(&mut cells, shift);
        found.push(SqlRow(cells));
    }
    Ok(found)
}

/// Where the rows of a result have instants: in the columns that are named so.
struct InstantColumns {
    instants: Vec<usize>,
    /// Where rows of earlier versions keep how far the steady clock was ahead of their instants.
    drift: Option<usize>,
}

impl InstantColumns {
    fn of(prepared: &rusqlite::Statement<'_>) -> Self {
        let names: Vec<&str> = prepared.column_names().collect();
        let instants = (0..names.len()).filter(|column| is_instant(names[*column])).collect();
        Self { instants, drift: names.iter().position(|name| *name == "drift") }
    }

    fn shift_back(&self, cells: &mut [Value], shift: i64) {
        let drift = match self.drift.map(|column| &cells[column]) {
            Some(Value::Number(Some(drift))) => *drift,
            _ => 0,
        };
        for instant in &self.instants {
            if let Value::Number(Some(micros)) = &mut cells[*instant] {
                *micros = micros.saturating_add(drift).saturating_sub(shift);
            }
        }
    }
}

/// Whether a column holds instants, by its name.
fn is_instant(column: &str) -> bool {
    column == "at" || ["_at", "_until", "_since"].iter().any(|end| column.ends_with(end))
}
