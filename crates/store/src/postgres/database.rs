//! A PostgreSQL database: reads are sent again while what stops them may pass, and so is a transaction as a whole. Whether one
//! that was lost around its COMMIT was done does not matter: sent again, its call finds its first answer.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jeton_core::clocks::StoreReading;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;
use tokio::time::timeout;

use super::database_identity::{DatabaseIdentity, SETTING};
use super::errors::PostgresError;
use super::shared::PostgresShared;
use super::transaction::{PostgresTx, instant, read_instant};
use crate::sql::row_reader::{RowReader, SqlRow};
use crate::sql::statement::{Statement, values};
use crate::sql::{Database, Work};

/// A PostgreSQL database.
///
/// Dropping it ends its background work; what was ordered before is still done as long as the runtime lives.
pub struct Postgres {
    pub(super) shared: Arc<PostgresShared>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("url", &self.shared.address.shown).finish_non_exhaustive()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}

impl Postgres {
    /// The identity that is recorded, if there is one.
    async fn recorded_identity(&self) -> Result<Option<DatabaseIdentity>, StoreError> {
        read_recorded(&self.read(recorded_identity()).await?)
    }
}

/// The identity that is recorded.
pub(super) fn recorded_identity() -> Statement {
    Statement::new("SELECT value FROM settings WHERE name = $1", values![SETTING])
}

/// Reads what [`recorded_identity`] found.
pub(super) fn read_recorded(rows: &[SqlRow]) -> Result<Option<DatabaseIdentity>, StoreError> {
    let Some(row) = rows.first() else { return Ok(None) };
    let value = RowReader::new(row, "settings").keyed(&SETTING).blob_or_null("value")?;
    DatabaseIdentity::parse(&value.unwrap_or_default()).map(Some)
}

fn run<'t>(tx: &'t mut PostgresTx, statement: &'t Statement) -> BoxFuture<'t, Result<(), PostgresError>> {
    Box::pin(crate::sql::SqlTransaction::execute(tx, statement.clone()))
}

async fn write_once<R, T>(
    shared: &PostgresShared,
    first: &[Statement],
    request: &R,
    work: Work<PostgresTx, R, T>,
) -> Result<T, PostgresError> {
    let turn = timeout(shared.patience, shared.writers.acquire()).await;
    let _turn = turn.map_err(|_| PostgresError::Busy(shared.patience))?;
    let mut tx = PostgresTx::begin(shared, first).await?;
    let done = match work(&mut tx, request).await {
        Ok(answer) => shared.hooks.before_commit().await.map(|()| answer).map_err(PostgresError::from),
        failed => failed,
    };
    match done {
        Ok(answer) => {
            let changed = tx.changed;
            tx.commit().await?;
            shared.hooks.after_commit().await.map_err(|_| PostgresError::Lost)?;
            if changed {
                shared.announce();
            }
            Ok(answer)
        }
        Err(failure) => {
            if failure.leaves_the_connection() {
                tx.roll_back().await;
            }
            Err(failure)
        }
    }
}

impl Database for Postgres {
    type Tx = PostgresTx;

    fn now_of_reads(&self) -> Option<Timestamp> {
        self.shared.clock.as_ref().map(|clock| clock.now())
    }

    async fn read(&self, statement: Statement) -> Result<Vec<SqlRow>, StoreError> {
        let shared = &*self.shared;
        shared.retry(|| shared.sessions.rows(&statement)).await
    }

    async fn read_with_now(&self, statement: Statement) -> Result<(Vec<SqlRow>, Timestamp), StoreError> {
        let (shared, statements) = (&*self.shared, [statement, instant()]);
        let ask = || async {
            let mut answers = shared.sessions.read(&statements).await?;
            let now = read_instant(&answers.pop().unwrap_or_default())?;
            Ok((answers.pop().unwrap_or_default(), now))
        };
        let (rows, now) = shared.retry(ask).await?;
        Ok((rows, self.now_of_reads().unwrap_or(now)))
    }

    async fn clock(&self) -> Result<StoreReading, StoreError> {
        let shared = &*self.shared;
        let now = match self.now_of_reads() {
            Some(now) => now,
            None => shared.retry(|| async { read_instant(&shared.sessions.rows(&instant()).await?) }).await?,
        };
        Ok(StoreReading { now, civil: None })
    }

    async fn write<R: Send + Sync + 'static, T: Send + 'static>(
        &self,
        first: Vec<Statement>,
        request: R,
        work: Work<PostgresTx, R, T>,
    ) -> Result<T, StoreError> {
        let waits = Arc::clone(&self.shared.waiting).try_acquire_owned();
        let waits = waits
            .map_err(|_| StoreError::Unavailable("too many calls wait to write to it: try again".into()))?;
        let shared = Arc::clone(&self.shared);
        let task = self.shared.tasks.spawn(async move {
            let _waits = waits;
            shared.retry(|| write_once(&shared, &first, &request, work)).await
        });
        task.await.unwrap_or_else(|_| {
            let text = "the store ended before the call did, or broke off, which is a fault of jeton: the log has the place";
            Err(StoreError::Unavailable(text.into()))
        })
    }

    async fn is_copy(&self) -> Result<bool, StoreError> {
        let shared = &*self.shared;
        let here = shared.retry(|| shared.sessions.identity()).await?;
        let mut recorded = self.recorded_identity().await?;
        if recorded.is_none() {
            let record = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
            let record = Statement::new(record, values![SETTING, here.text().as_bytes()]);
            self.write(Vec::new(), record, run).await?;
            recorded = self.recorded_identity().await?;
        }
        let Some(recorded) = recorded else { return Ok(false) };
        if here.differs(recorded) {
            return Ok(true);
        }
        if here.knows_more(recorded) {
            let learn = "UPDATE settings SET value = $1 WHERE name = $2 AND value = $3";
            let values = values![here.text().as_bytes(), SETTING, recorded.text().as_bytes()];
            self.write(Vec::new(), Statement::new(learn, values), run).await?;
        }
        Ok(false)
    }

    async fn record_identity(&self) -> Result<Vec<Statement>, StoreError> {
        let shared = &*self.shared;
        let here = shared.retry(|| shared.sessions.identity()).await?;
        let parameters = values![SETTING, here.text().as_bytes()];
        Ok(vec![Statement::upsert("settings", "name", "name, value", &[], None, parameters)])
    }
}
