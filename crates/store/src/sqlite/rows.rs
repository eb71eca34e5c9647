//! How a row becomes what the ports speak of, and back. What no row can say is an error that names the column.

use std::time::Duration;

use jeton_core::id::{AttemptId, ConnectionName, GrantId, NodeId};
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::{
    Brake, Connection, Generation, GrantState, Lease, Revision, SealedTokens, Stray,
};
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use rusqlite::Row;
use rusqlite::types::FromSql;

use super::errors::Failure;
use super::steady::Drift;

/// The columns of a token set, in the order that [`Columns::tokens`] reads them.
pub(super) const TOKEN_COLUMNS: &str = "access, refresh, extras, access_fingerprint, refresh_fingerprint, \
    obtained_at, access_expires_at, refresh_expires_at";

/// Reads a row from left to right, in the order of the SELECT that stands beside each use.
pub(super) struct Columns<'r> {
    row: &'r Row<'r>,
    table: &'static str,
    key: String,
    at: usize,
}

impl<'r> Columns<'r> {
    pub(super) fn new(row: &'r Row<'r>, table: &'static str) -> Self {
        Self { row, table, key: String::new(), at: 0 }
    }

    /// Names the row in errors.
    pub(super) fn keyed(mut self, key: &impl ToString) -> Self {
        self.key = key.to_string();
        self
    }

    fn wrong(&self, column: &'static str, what: impl Into<String>) -> Failure {
        let (table, row) = (self.table, self.key.clone());
        StoreError::Inconsistent { table, column, row, what: what.into() }.into()
    }

    /// The next column as it is.
    pub(super) fn plain<T: FromSql>(&mut self, column: &'static str) -> Result<T, Failure> {
        let found = self.row.get(self.at).map_err(|error| self.wrong(column, error.to_string()));
        self.at += 1;
        found
    }

    /// The next column, a name of something.
    pub(super) fn named<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        self.named_or_null(column, parse)?.ok_or_else(|| self.wrong(column, "is empty"))
    }

    /// The next column, a name of something, or nothing.
    pub(super) fn named_or_null<T>(
        &mut self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(name) = self.plain::<Option<String>>(column)? else { return Ok(None) };
        parse(&name)
            .map(Some)
            .ok_or_else(|| self.wrong(column, format!("{name:?} is not a name that it can have")))
    }

    /// The next column, 16 bytes.
    pub(super) fn bytes<T>(
        &mut self,
        column: &'static str,
        make: impl FnOnce([u8; 16]) -> T,
    ) -> Result<T, Failure> {
        self.plain::<[u8; 16]>(column).map(make)
    }

    /// The next column, 16 bytes or nothing.
    pub(super) fn bytes_or_null<T>(
        &mut self,
        column: &'static str,
        make: impl FnOnce([u8; 16]) -> T,
    ) -> Result<Option<T>, Failure> {
        Ok(self.plain::<Option<[u8; 16]>>(column)?.map(make))
    }

    /// The next column, a number that is not negative.
    pub(super) fn count(&mut self, column: &'static str) -> Result<u64, Failure> {
        self.count_or_null(column)?.ok_or_else(|| self.wrong(column, "is empty"))
    }

    /// The next column, a number that is not negative, or nothing.
    pub(super) fn count_or_null(&mut self, column: &'static str) -> Result<Option<u64>, Failure> {
        let Some(number) = self.plain::<Option<i64>>(column)? else { return Ok(None) };
        u64::try_from(number).map(Some).map_err(|_| self.wrong(column, format!("{number} is negative")))
    }

    /// The next column, an instant.
    pub(super) fn instant(&mut self, column: &'static str) -> Result<Timestamp, Failure> {
        self.plain(column).map(Timestamp::from_micros)
    }

    /// The next column, an instant or nothing.
    pub(super) fn instant_or_null(&mut self, column: &'static str) -> Result<Option<Timestamp>, Failure> {
        Ok(self.plain::<Option<i64>>(column)?.map(Timestamp::from_micros))
    }

    fn fingerprint(&mut self, column: &'static str) -> Result<Option<Fingerprint>, Failure> {
        self.bytes_or_null(column, Fingerprint::from_bytes)
    }

    /// The next columns, a token set: [`TOKEN_COLUMNS`].
    pub(super) fn tokens(&mut self) -> Result<SealedTokens, Failure> {
        Ok(SealedTokens {
            access: self.plain("access")?,
            refresh: self.plain("refresh")?,
            extras: self.plain("extras")?,
            access_fingerprint: self.fingerprint("access_fingerprint")?,
            refresh_fingerprint: self.fingerprint("refresh_fingerprint")?,
            obtained_at: self.instant("obtained_at")?,
            access_expires_at: self.instant_or_null("access_expires_at")?,
            refresh_expires_at: self.instant_or_null("refresh_expires_at")?,
        })
    }
}

/// The columns of a connection without its tokens, in the order that [`connection`] reads them.
pub(super) const CONNECTION_COLUMNS: &str = "name, drift, provider, grant_id, state, state_code, paused, generation, \
    revision, born_of, lease_attempt, lease_node, lease_until, open_attempt, due_at, cooling_until, failures, \
    last_error, brake_generation, brake_until, brake_step, created_at";

/// Reads [`CONNECTION_COLUMNS`] at the drift that there is now. Token set and strays come from their own tables.
pub(super) fn connection(row: &Row<'_>, drift: Drift) -> Result<Connection, Failure> {
    let mut columns = Columns::new(row, "connections");
    let name: ConnectionName = columns.named("name", |name| name.parse().ok())?;
    let mut columns = columns.keyed(&name);
    let written = Drift(columns.plain("drift")?);
    let rebased = |until: Timestamp| drift.rebased(until, written);
    Ok(Connection {
        name,
        provider: columns.named("provider", |name| name.parse().ok())?,
        grant: columns.bytes("grant_id", GrantId::from_bytes)?,
        state: columns.named("state", GrantState::parse)?,
        state_code: columns.plain("state_code")?,
        paused: columns.plain("paused")?,
        generation: Generation(columns.count("generation")?),
        revision: Revision(columns.count("revision")?),
        tokens: None,
        born_of: columns.named_or_null("born_of", Trigger::parse)?,
        lease: lease(&mut columns)?.map(|lease| Lease { until: rebased(lease.until), ..lease }),
        open_attempt: columns.bytes_or_null("open_attempt", AttemptId::from_bytes)?,
        due_at: columns.instant_or_null("due_at")?,
        cooling_until: columns.instant_or_null("cooling_until")?.map(rebased),
        failures: u32::try_from(columns.count("failures")?).unwrap_or(u32::MAX),
        last_error: columns.plain("last_error")?,
        brake: brake(&mut columns)?.map(|brake| Brake { until: rebased(brake.until), ..brake }),
        strays: Vec::new(),
        created_at: columns.instant("created_at")?,
    })
}

fn lease(columns: &mut Columns<'_>) -> Result<Option<Lease>, Failure> {
    let attempt = columns.bytes_or_null("lease_attempt", AttemptId::from_bytes)?;
    let node = columns.bytes_or_null("lease_node", NodeId::from_bytes)?;
    let until = columns.instant_or_null("lease_until")?;
    Ok(attempt.zip(node).zip(until).map(|((attempt, node), until)| Lease { attempt, node, until }))
}

fn brake(columns: &mut Columns<'_>) -> Result<Option<Brake>, Failure> {
    let generation = columns.count_or_null("brake_generation")?.map(Generation);
    let until = columns.instant_or_null("brake_until")?;
    let step = columns.count_or_null("brake_step")?.map(Duration::from_micros);
    Ok(generation.zip(until).zip(step).map(|((generation, until), step)| Brake { generation, until, step }))
}

/// Reads `attempt, grant_id, generation,` and [`TOKEN_COLUMNS`].
pub(super) fn stray(row: &Row<'_>) -> Result<Stray, Failure> {
    let mut columns = Columns::new(row, "strays");
    let attempt = columns.bytes("attempt", AttemptId::from_bytes)?;
    let mut columns = columns.keyed(&attempt);
    Ok(Stray {
        attempt,
        grant: columns.bytes("grant_id", GrantId::from_bytes)?,
        generation: Generation(columns.count("generation")?),
        tokens: columns.tokens()?,
    })
}

/// A count as SQLite keeps it.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A duration as SQLite keeps it: microseconds.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
