//! Statements of SQLite and the rows that they find.

use rusqlite::types::{ToSqlOutput, Value as SqliteValue, ValueRef};
use rusqlite::{Connection, ToSql};

use super::boot_clock::ClockDrift;
use super::errors::SqliteError;
use crate::sql::statement::Value;
use crate::sql::{SqlRow, Statement};

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Number(Some(number)) => ToSqlOutput::Owned(SqliteValue::Integer(*number)),
            Self::Text(Some(text)) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(Some(bytes)) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Bool(truth) => ToSqlOutput::Owned(SqliteValue::Integer((*truth).into())),
            Self::Number(None) | Self::Text(None) | Self::Bytes(None) => {
                ToSqlOutput::Owned(SqliteValue::Null)
            }
        })
    }
}

/// Runs a statement; answers the rows that it finds, with the ends of durations as the civil clock shows them at the drift
/// that there is now.
pub(super) fn run(
    conn: &Connection,
    statement: &Statement,
    drift: ClockDrift,
) -> Result<Vec<SqlRow>, SqliteError> {
    let mut prepared = conn.prepare_cached(&statement.sql)?;
    for (number, parameter) in (1..).zip(&statement.parameters) {
        // Where a number stands in the text decides its index, and one that stands nowhere has none.
        if let Some(index) = prepared.parameter_index(&format!("${number}"))? {
            prepared.raw_bind_parameter(index, parameter)?;
        }
    }
    let drifting = DriftingColumns::of(&prepared);
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
        if let Some(drifting) = &drifting {
            drifting.rebase(&mut cells, drift);
        }
        found.push(SqlRow(cells));
    }
    Ok(found)
}

/// Where the rows of a result keep their drift and the instants that hang on it.
struct DriftingColumns {
    drift: usize,
    /// The status of an attempt: only one whose outcome is not known has instants that are moved. The others are history,
    /// as the civil clock showed them then.
    status: Option<usize>,
    instants: Vec<usize>,
}

impl DriftingColumns {
    fn of(prepared: &rusqlite::Statement<'_>) -> Option<Self> {
        let names: Vec<&str> = prepared.column_names().collect();
        let at = |name: &str| names.iter().position(|column| *column == name);
        let status = at("status");
        let moved: &[&str] = if status.is_some() {
            &["started_at", "completed_at", "lease_until"]
        } else {
            &["lease_until", "cooling_until", "brake_until"]
        };
        Some(Self {
            drift: at("drift")?,
            status,
            instants: moved.iter().filter_map(|name| at(name)).collect(),
        })
    }

    fn rebase(&self, cells: &mut [Value], now: ClockDrift) {
        let open = [Value::Text(Some("running".into())), Value::Text(Some("interrupted".into()))];
        let Some(Value::Number(Some(written))) = cells.get(self.drift).cloned() else { return };
        if self.status.is_some_and(|status| !open.contains(&cells[status])) {
            return;
        }
        for instant in &self.instants {
            if let Value::Number(Some(micros)) = &mut cells[*instant] {
                *micros = now.rebased(*micros, ClockDrift(written));
            }
        }
    }
}
