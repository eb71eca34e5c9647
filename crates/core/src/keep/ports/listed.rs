//! Rows as lists and feeds answer them: one that cannot be read must not keep the others away.

use crate::id::ConnectionName;
use crate::keep::connection::{Connection, Revision};

use super::StoreError;

/// A connection, or why its row cannot be read.
pub type ListedConnection = Result<Connection, UnreadableRow>;

/// A row that says what no row can say. Calls for that connection alone answer [`StoreError::Inconsistent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the row of `{name}` cannot be read: {table}.{column} {what}; put it back from a backup of the database, or delete the \
     rows of that connection from `strays`, `tokens` and `connections` and run `jeton connect {name}`"
)]
pub struct UnreadableRow {
    /// The connection.
    pub name: ConnectionName,
    /// The change that wrote the row.
    pub revision: Revision,
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// The change that wrote a row, whether it can be read or not.
pub fn revision_of(listed: &ListedConnection) -> Revision {
    match listed {
        Ok(row) => row.revision,
        Err(unreadable) => unreadable.revision,
    }
}

/// The name of a row, whether it can be read or not.
pub fn name_of(listed: &ListedConnection) -> &ConnectionName {
    match listed {
        Ok(row) => &row.name,
        Err(unreadable) => &unreadable.name,
    }
}

impl UnreadableRow {
    /// The error for whoever cannot do without that row.
    pub fn into_error(self) -> StoreError {
        let Self { name, table, column, what, .. } = self;
        StoreError::Inconsistent { table, column, row: name.to_string(), what }
    }
}
