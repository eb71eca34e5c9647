//! Opening and migrating the store in a PostgreSQL database.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jeton_core::entropy::{Entropy as _, SystemEntropy};
use jeton_core::keep::ports::StoreError;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::change_cursor::ChangeCursor;
use super::database::Postgres;
use super::migrations::MIGRATIONS;
use super::options::PostgresOptions;
use super::session::{Counts, Sessions};
use super::shared::PostgresShared;
use super::{migrate, notifications, privileges};
use crate::migration::Migration;
use crate::sql::SqlStore;

/// How long closing waits until other nodes are told of the last changes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A store in a PostgreSQL database. It must be used within the tokio runtime that opened it.
///
/// Dropping it ends its background work; what was ordered before is still done as long as the runtime lives.
pub type PostgresStore = SqlStore<Postgres>;

impl PostgresStore {
    /// Connects, sees that the server can be the store, brings the schema up to date, and begins to listen.
    ///
    /// # Errors
    /// One sentence with the cure. [`StoreError::Refused`] for what does not pass by itself: a URL that cannot be read, a
    /// wrong password or name of the database, TLS that fails, a server before PostgreSQL 14, missing rights, a schema that
    /// is newer than this binary or not whole. [`StoreError::Unavailable`] for a server that cannot be reached or takes no
    /// more connections, [`StoreError::Unwritable`] for a standby. [`StoreError::Missing`] for an empty database, unless
    /// `create` is set.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::of(&options)?;
        let sessions = Sessions::trying(&address, &options)?;
        let missing = lacking(&sessions, &address, true).await?;
        if let Some(lacking) = missing.first() {
            check_not_empty(&options, missing, &address)?;
            if !options.migrate {
                return Err(StoreError::NotMigrated(format!(
                    "the schema of {} lacks migration {} ({}): migrate it",
                    address.shown, lacking.number, lacking.name
                )));
            }
            Self::migrate(&options).await?;
        }
        if options.migrations.len() >= MIGRATIONS.len() {
            let checked = migrate::check_tables(&sessions, &address).await;
            checked.map_err(|failure| failure.into_store_error(&address))?;
        }
        let mut tag = [0; 8];
        SystemEntropy.fill(&mut tag);
        let shared = Arc::new(PostgresShared {
            sessions,
            address,
            cursor: ChangeCursor::default(),
            announced: watch::Sender::default(),
            unannounced: AtomicBool::new(false),
            to_announce: Notify::new(),
            tag: format!("{:016x}", u64::from_be_bytes(tag)),
            clock: options.clock,
            hooks: options.hooks,
            patience: options.patience,
            waiting: Arc::new(Semaphore::new(options.most_waiting)),
            writers: Semaphore::new((options.pool / 2).max(1)),
            tasks: TaskTracker::new(),
            watchers: TaskTracker::new(),
            ended: CancellationToken::new(),
        });
        notifications::begin(&shared);
        Ok(Self { database: Postgres { shared } })
    }

    /// Brings the schema up to date; answers what was missing. Any number of processes may do it at once, and older ones may
    /// go on working meanwhile.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn migrate(options: &PostgresOptions) -> Result<Vec<Migration>, StoreError> {
        let address = Address::of(options)?;
        // A statement of a migration may take long.
        let patient =
            PostgresOptions { patience: options.patience.max(Duration::from_mins(10)), ..options.clone() };
        let sessions = Sessions::new(&address, &patient)?;
        let work = async {
            migrate::check_server(&sessions, &address).await?;
            check_not_empty(options, migrate::lacking(&sessions, &address).await?, &address)?;
            migrate::migrate(&sessions, &address).await
        };
        let done = work.await.map_err(|failure| failure.into_store_error(&address));
        sessions.close();
        done
    }

    /// What the schema lacks, with nothing changed; everything, for an empty database.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn pending(options: &PostgresOptions) -> Result<Vec<Migration>, StoreError> {
        let address = Address::of(options)?;
        let sessions = Sessions::new(&address, options)?;
        let lacking = lacking(&sessions, &address, false).await;
        sessions.close();
        lacking.map(<[Migration]>::to_vec)
    }

    /// Does what was ordered before, tells other nodes, and closes the connections.
    pub async fn close(self) {
        self.database.shared.tasks.close();
        self.database.shared.tasks.wait().await;
        self.database.shared.ended.cancel();
        self.database.shared.watchers.close();
        // Nodes that are not told in time find it by themselves.
        let _ = timeout(CLOSE_TIMEOUT, self.database.shared.watchers.wait()).await;
        self.database.shared.sessions.close();
    }

    /// What was sent to the database since the store was opened, background work left out.
    pub fn counts(&self) -> Counts {
        self.database.shared.sessions.counters.now()
    }

    /// The URL without its password.
    pub fn shown_url(&self) -> &str {
        &self.database.shared.address.shown
    }
}

/// Refuses an empty database, unless one may be set up.
fn check_not_empty(
    options: &PostgresOptions,
    missing: &[Migration],
    address: &Address,
) -> Result<(), StoreError> {
    if options.create || missing.len() < address.schema.len() {
        return Ok(());
    }
    Err(StoreError::Missing(format!("the database {} is empty", address.shown)))
}

/// Sees that the server can be the store, for one that works in it or for one that only looks; answers what its schema lacks.
async fn lacking(
    sessions: &Arc<Sessions>,
    address: &Address,
    works: bool,
) -> Result<&'static [Migration], StoreError> {
    let work = async {
        migrate::check_server(sessions, address).await?;
        if works {
            privileges::check(sessions, address).await?;
        }
        migrate::lacking(sessions, address).await
    };
    work.await.map_err(|failure| failure.into_store_error(address))
}

#[cfg(test)]
mod tests {
    use jeton_core::id::{AttemptId, NodeId};
    use jeton_core::id::{Generation, Revision};
    use jeton_core::keep::attempt::{Act, Trigger};
    use jeton_core::keep::claim::{Claim, ClaimAnswer};
    use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _};
    use jeton_core::secret::Secret;
    use jeton_testkit::{PgCluster, PgDatabase};
    use tokio::time::Instant;

    use super::super::feed;
    use super::super::transaction::DIALECT;
    use super::*;
    use crate::sql::statement::values;
    use crate::sql::store::due_sql;
    use crate::sql::{Database as _, Statement, connection_rows};

    /// As many connections, one due each millisecond from now on.
    async fn with_many(count: u32) -> (PgDatabase, PostgresStore) {
        let database = PgCluster::shared().unwrap().empty_database().unwrap();
        let store = PostgresStore::open(PostgresOptions::new(Secret::new(database.url()))).await.unwrap();
        let fill = format!(
            "INSERT INTO connections (name, provider, grant_id, state, paused, generation, revision, due_at, failures,
                created_at)
             SELECT 'c' || i, 'p', decode(md5('g' || i), 'hex'), 'live', false, 1, nextval('revisions'),
                (extract(epoch FROM now()) * 1000000)::bigint + i * 1000, 0, 0
             FROM generate_series(1, {count}) AS i;
             INSERT INTO tokens (connection, generation, attempt, access, refresh, refresh_fingerprint, obtained_at)
             SELECT 'c' || i, 1, decode(md5('a' || i), 'hex'), decode(repeat(md5('t' || i), 8), 'hex'),
                decode(repeat(md5('r' || i), 8), 'hex'), decode(md5('f' || i), 'hex'), 0
             FROM generate_series(1, {count}) AS i;
             ANALYZE"
        );
        database.query(&fill).unwrap();
        (database, store)
    }

    async fn plan(store: &PostgresStore, statement: Statement) -> String {
        let explain = Statement { sql: format!("EXPLAIN {}", statement.sql).into(), ..statement };
        let rows = store.database.read(explain).await.unwrap();
        format!("{rows:?}")
    }

    fn claim(number: u32) -> Claim {
        let mut attempt = [0; 16];
        attempt[..4].copy_from_slice(&number.to_be_bytes());
        Claim {
            connection: format!("c{number}").parse().unwrap(),
            attempt: AttemptId::from_bytes(attempt),
            node: NodeId::from_bytes([1; 16]),
            trigger: Trigger::Automatic,
            asked_by: None,
            act: Act::Redeem,
            generation: Generation(1),
            spends: None,
            lease_ttl: Duration::from_secs(45),
            through_cooldown: false,
            recovers: None,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_hundred_thousand_connections_are_looked_at_through_indexes() {
        let (_database, store) = with_many(100_000).await;
        let parameters = values![None::<i64>, 10_000_000_i64, i64::MIN, "", 100_usize];
        let due = plan(&store, Statement::new(due_sql(&DIALECT), parameters)).await;
        assert!(
            due.contains("Index Scan using connections_by_due")
                || due.contains("Index Only Scan using connections_by_due"),
            "{due}"
        );
        assert!(!due.contains("Seq Scan"), "{due}");
        let changed = plan(&store, feed::changed_since(Revision(99_900), 100, &[])).await;
        assert!(changed.contains("using connections_by_revision"), "{changed}");
        assert!(!changed.contains("Seq Scan on connections"), "{changed}");
        let row = plan(&store, connection_rows::by_name(&"c77".parse().unwrap(), None)).await;
        assert!(row.contains("connections_pkey") && !row.contains("Seq Scan on connections"), "{row}");
        assert!(!row.contains("Seq Scan on tokens"), "{row}");

        let (now, page) = store.due(Duration::from_secs(10), None, 100).await.unwrap();
        assert_eq!(page.len(), 100);
        assert!(
            page.windows(2).all(|pair| pair[0] < pair[1]) && page[0].due_at <= now + Duration::from_secs(10)
        );

        let began = Instant::now();
        store.revision().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "following begins in {:?}", began.elapsed());
        let mut times = Vec::new();
        for number in (1..=100_000).step_by(1_000) {
            let began = Instant::now();
            let answer = store.claim(claim(number)).await.unwrap();
            assert!(matches!(answer, ClaimAnswer::Won { .. }), "{answer:?}");
            times.push(began.elapsed());
        }
        times.sort();
        println!("100,000 connections: a claim takes {:?} (median), {:?} (longest)", times[50], times[99]);
        assert!(times[50] < Duration::from_millis(5), "{times:?}");
    }
}
