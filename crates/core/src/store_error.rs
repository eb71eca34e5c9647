//! Why a store could not do what was asked.

/// Why a store could not do what was asked. The text names what is wrong and the cure, and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is busy for too long or failed in a way that may pass.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It cannot be written: no space left, or read-only.
    #[error("the store cannot be written: {0}")]
    Unwritable(String),
    /// A row says what no row can say.
    #[error("the store is inconsistent: {table}.{column} of {row}: {what}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The key of the row.
        row: String,
        /// What is wrong with it.
        what: String,
    },
    /// It will not be opened as it is: a newer schema, a network file system, wrong permissions.
    #[error("{0}")]
    Refused(String),
    /// Its schema is older than this build needs, and it was opened without leave to migrate it.
    #[error("{0}")]
    NotMigrated(String),
    /// It does not exist or is empty, and was not to be created.
    #[error("{0}")]
    Missing(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unwritable(_))
    }
}
