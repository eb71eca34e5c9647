//! How a row becomes what the ports speak of. What no row can say is an error that names the column.

use jeton_core::keep::connection::SealedTokens;
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::statement::Value;

/// The columns of a token set, in the order that [`RowReader::tokens`] reads them.
pub(crate) const TOKEN_COLUMNS: &str = "access, refresh, extras, access_fingerprint, refresh_fingerprint, \
    obtained_at, access_expires_at, refresh_expires_at, scope";

/// One row of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlRow(pub(crate) Vec<Value>);

/// Reads a row from left to right, in the order of the SELECT that stands beside each use.
pub(crate) struct RowReader<'r> {
    row: &'r SqlRow,
    table: &'static str,
    key: String,
    at: usize,
}

impl<'r> RowReader<'r> {
    pub(crate) fn new(row: &'r SqlRow, table: &'static str) -> Self {
        Self { row, table, key: String::new(), at: 0 }
    }

    /// Names the row in errors.
    pub(crate) fn keyed(mut self, key: &impl ToString) -> Self {
        self.key = key.to_string();
        self
    }

    /// The columns that follow are of another table.
    pub(crate) fn of(mut self, table: &'static str) -> Self {
        self.table = table;
        self
    }

    /// Passes over columns that say nothing here.
    pub(crate) fn skip(&mut self, count: usize) {
        self.at += count;
    }

    fn wrong(&self, column: &'static str, what: impl Into<String>) -> StoreError {
        let (table, row) = (self.table, self.key.clone());
        StoreError::Inconsistent { table, column, row, what: what.into() }
    }

    /// The next cell, if `read` knows its type; NULL is `None` whatever its type is.
    fn next<T>(
        &mut self,
        column: &'static str,
        read: impl FnOnce(&Value) -> Option<&Option<T>>,
    ) -> Result<Option<T>, StoreError>
    where
        T: Clone,
    {
        let cell = self.row.0.get(self.at);
        self.at += 1;
        match cell {
            None => Err(self.wrong(column, "is missing")),
            Some(Value::Number(None) | Value::Instant(None) | Value::Text(None) | Value::Bytes(None)) => {
                Ok(None)
            }
            Some(cell) => read(cell).cloned().ok_or_else(|| self.wrong(column, "has another type")),
        }
    }

    /// The next column, a text or nothing.
    pub(crate) fn text_or_null(&mut self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.next(column, |cell| if let Value::Text(text) = cell { Some(text) } else { None })
    }

    /// The next column, bytes of any number or nothing.
    pub(crate) fn blob_or_null(&mut self, column: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.next(column, |cell| if let Value::Bytes(bytes) = cell { Some(bytes) } else { None })
    }

    /// The next column, yes or no.
    pub(crate) fn truth(&mut self, column: &'static str) -> Result<bool, StoreError> {
        if let Some(Value::Bool(truth)) = self.row.0.get(self.at) {
            self.at += 1;
            return Ok(*truth);
        }
        Ok(self.count(column)? != 0)
    }

    /// The next column, a name of something.
    pub(crate) fn named<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, StoreError> {
        self.named_or_null(column, parse)?.ok_or_else(|| self.wrong(column, "is empty"))
    }

    /// The next column, a name of something, or nothing.
    pub(crate) fn named_or_null<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let Some(name) = self.text_or_null(column)? else { return Ok(None) };
        parse(&name)
            .map(Some)
            .ok_or_else(|| self.wrong(column, format!("{name:?} is not a name that it can have")))
    }

    /// The next column, as many bytes as `make` takes.
    pub(crate) fn bytes<const N: usize, T>(
        &mut self,
        column: &'static str,
        make: impl FnOnce([u8; N]) -> T,
    ) -> Result<T, StoreError> {
        self.bytes_or_null(column, make)?.ok_or_else(|| self.wrong(column, "is empty"))
    }

    /// The next column, as many bytes as `make` takes, or nothing.
    pub(crate) fn bytes_or_null<const N: usize, T>(
        &mut self,
        column: &'static str,
        make: impl FnOnce([u8; N]) -> T,
    ) -> Result<Option<T>, StoreError> {
        let Some(found) = self.blob_or_null(column)? else { return Ok(None) };
        let length = found.len();
        let found =
            found.try_into().map_err(|_| self.wrong(column, format!("has {length} bytes, not {N}")))?;
        Ok(Some(make(found)))
    }

    /// The next column, a number that is not negative.
    pub(crate) fn count(&mut self, column: &'static str) -> Result<u64, StoreError> {
        self.count_or_null(column)?.ok_or_else(|| self.wrong(column, "is empty"))
    }

    /// The next column, a number that is not negative, or nothing.
    pub(crate) fn count_or_null(&mut self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let Some(number) = self.number_or_null(column)? else { return Ok(None) };
        u64::try_from(number).map(Some).map_err(|_| self.wrong(column, format!("{number} is negative")))
    }

    /// The next column, a number or nothing.
    pub(crate) fn number_or_null(&mut self, column: &'static str) -> Result<Option<i64>, StoreError> {
        self.next(column, |cell| if let Value::Number(number) = cell { Some(number) } else { None })
    }

    /// The next column, an instant.
    pub(crate) fn instant(&mut self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.instant_or_null(column)?.ok_or_else(|| self.wrong(column, "is empty"))
    }

    /// The next column, an instant or nothing.
    pub(crate) fn instant_or_null(&mut self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        let instant = self.next(column, |cell| match cell {
            Value::Instant(instant) | Value::Number(instant) => Some(instant),
            _ => None,
        })?;
        Ok(instant.map(Timestamp::from_micros))
    }

    fn fingerprint(&mut self, column: &'static str) -> Result<Option<Fingerprint>, StoreError> {
        self.bytes_or_null(column, Fingerprint::from_bytes)
    }

    /// The next columns, a token set: [`TOKEN_COLUMNS`].
    pub(crate) fn tokens(&mut self) -> Result<SealedTokens, StoreError> {
        Ok(SealedTokens {
            access: self.blob_or_null("access")?,
            refresh: self.blob_or_null("refresh")?,
            extras: self.blob_or_null("extras")?,
            access_fingerprint: self.fingerprint("access_fingerprint")?,
            refresh_fingerprint: self.fingerprint("refresh_fingerprint")?,
            obtained_at: self.instant("obtained_at")?,
            access_expires_at: self.instant_or_null("access_expires_at")?,
            refresh_expires_at: self.instant_or_null("refresh_expires_at")?,
            scope: self.text_or_null("scope")?,
        })
    }
}
