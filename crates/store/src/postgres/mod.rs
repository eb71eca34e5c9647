//! The store under any number of nodes: one PostgreSQL, 14 or later.
//!
//! * Calls that write wait in `calls`, and are served together by `batch`: two round trips, one transaction. What they do to
//!   rows they do in memory (`desk`), by the courses that all stores share; `writes` puts it into statements.
//! * The ports: `connections`, `attempts`, `audit`, `consents`, `service_tokens`, `feed`, `maintenance`, `nodes`. What two of them
//!   decide under a lock: `transaction`. Rows: `table`, `cells`.
//! * Other nodes are told of changes, and listened to, by `watch`; what came late is kept by `late`.
//! * The way to the database: `options`, `address`, `tls`, `connect`, `session`, `statement`, `errors`. The schema: `migrate`, `schema`;
//!   what may be done in it: `rights`.
//! * What tells a database from its copies: `place`. Looking at a database that may be wrong: `inspect`. Where tests make it fail: [`faults`].

mod address;
mod attempts;
mod audit;
mod batch;
mod batch_tx;
mod change_cursor;
mod connect;
mod connections;
mod connections_table;
mod consents;
mod database_identity;
mod errors;
pub mod faults;
mod feed;
mod inspect;
mod maintenance;
mod migrate;
mod nodes;
mod notifications;
mod options;
mod privileges;
mod rows;
mod schema;
mod service_tokens;
mod session;
mod statement;
mod temporary_schema;
mod tls;
mod transaction;
mod write_queue;
mod writes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::{Entropy as _, SystemEntropy};
use jeton_core::keep::ports::StoreError;
use jeton_core::time::{Clock, Timestamp};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use inspect::{PostgresInspection, inspect};
pub use options::PostgresOptions;
pub use session::Counts;

use crate::migration::Migration;
use address::Address;
use batch::Changed;
use batch_tx::BatchTx;
use change_cursor::Feed;
use errors::PostgresError;
use faults::PostgresHooks;
use notifications::Announcements;
use session::Sessions;
use statement::Statement;
use write_queue::{Needs, Queue, QueuedCall};

/// How long closing waits until other nodes are told of the last changes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the store and its tasks share.
struct PostgresShared {
    address: Address,
    /// Boxed, so that the futures that open a store stay small.
    sessions: Box<Sessions>,
    queue: Queue,
    feed: Feed,
    announcements: Announcements,
    /// Tells our own announcements from those of others.
    tag: String,
    clock: Option<Arc<dyn Clock>>,
    hooks: Arc<dyn PostgresHooks>,
    patience: Duration,
    most_waiting: usize,
    /// How many batches may be under way.
    writers: usize,
    /// Batches under way.
    tasks: TaskTracker,
    /// What goes on in the background.
    watchers: TaskTracker,
    ended: CancellationToken,
}

impl PostgresShared {
    /// Does the work again and again while what stops it may pass.
    async fn retry<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, PostgresError>>,
    {
        let deadline = Instant::now() + self.patience;
        let mut pause = batch::FIRST_PAUSE;
        loop {
            let begun = Instant::now();
            match work().await {
                Err(failure) if failure.passes() && Instant::now() + pause < deadline => {
                    self.invalidate(&failure, begun);
                    sleep(pause).await;
                    pause = (pause * 2).min(batch::LONGEST_PAUSE);
                }
                done => return done.map_err(|failure| failure.into_store_error(&self.address)),
            }
        }
    }

    /// Work that was begun then has failed so: the connections of that time may all be lost.
    fn invalidate(&self, failure: &PostgresError, begun: Instant) {
        if failure.is_of_the_connection() {
            self.sessions.invalidate(begun);
        }
    }

    /// These rows were committed here: whoever follows this store or another of the same database is told.
    fn announce(&self, changed: Changed) {
        self.feed.told(&changed);
        self.announcements.add(changed);
    }
}

/// A store in a PostgreSQL database. It must be used within the tokio runtime that opened it.
///
/// Dropping it ends its background work; what was ordered before is still done as long as the runtime lives.
pub struct PostgresStore {
    shared: Arc<PostgresShared>,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("url", &self.shared.address.shown).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, sees that the server can be the store, brings the schema up to date, and begins to listen.
    ///
    /// # Errors
    /// One sentence with the cure. [`StoreError::Refused`] for what does not pass by itself: a URL that cannot be read, a
    /// wrong password or name of the database, TLS that fails, a server before PostgreSQL 14, missing rights, a schema that
    /// is newer than this binary or not whole. [`StoreError::Unavailable`] for a server that cannot be reached or takes no
    /// more connections, [`StoreError::Unwritable`] for a standby.
    pub async fn open(options: PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::of(&options)?;
        let sessions = Box::new(Sessions::new(&address, &options)?.trying());
        if let Some(lacking) = lacking(&sessions, &address, true).await?.first() {
            if !options.migrate {
                return Err(StoreError::Refused(format!(
                    "the schema of {} lacks migration {} ({}): run `jeton migrate`",
                    address.shown, lacking.number, lacking.name
                )));
            }
            Self::migrate(&options).await?;
        }
        let mut tag = [0; 8];
        SystemEntropy.fill(&mut tag);
        let shared = Arc::new(PostgresShared {
            sessions,
            address,
            queue: Queue::default(),
            feed: Feed::default(),
            announcements: Announcements::default(),
            tag: format!("{:016x}", u64::from_be_bytes(tag)),
            clock: options.clock,
            hooks: options.hooks,
            patience: options.patience,
            most_waiting: options.most_waiting,
            writers: (options.pool / 2).max(1),
            tasks: TaskTracker::new(),
            watchers: TaskTracker::new(),
            ended: CancellationToken::new(),
        });
        notifications::begin(&shared);
        Ok(Self { shared })
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
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.ended.cancel();
        self.shared.watchers.close();
        // Nodes that are not told in time find it by themselves.
        drop(timeout(CLOSE_TIMEOUT, self.shared.watchers.wait()).await);
        self.shared.sessions.close();
    }

    /// What was sent to the database since the store was opened, background work left out.
    pub fn counts(&self) -> Counts {
        self.shared.sessions.counters.now()
    }

    /// The URL without its password.
    pub fn shown_url(&self) -> &str {
        &self.shared.address.shown
    }

    /// The instant that a test has set in place of the database's.
    fn told_instant(&self) -> Option<i64> {
        self.shared.clock.as_ref().map(|clock| clock.now().as_micros())
    }

    /// The rows that one statement finds.
    async fn rows(&self, statement: &Statement) -> Result<Vec<Row>, StoreError> {
        let shared = &*self.shared;
        shared.retry(|| shared.sessions.rows(statement)).await
    }

    /// The rows that one statement finds, and the instant by the clock of the store.
    async fn rows_and_now(&self, statement: Statement) -> Result<(Vec<Row>, Timestamp), StoreError> {
        let statements = [statement, Statement::new(connections_table::INSTANT)];
        let (shared, statements) = (&*self.shared, &statements[..]);
        let mut answers = shared.retry(|| shared.sessions.read(statements)).await?;
        let instant = answers.pop().unwrap_or_default();
        let now = match self.told_instant() {
            Some(told) => Timestamp::from_micros(told),
            None => connections_table::instant(&instant)?,
        };
        Ok((answers.pop().unwrap_or_default(), now))
    }

    /// Runs statements that need nothing from each other as one transaction, in one round trip. They may be sent again.
    async fn write_all(&self, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError> {
        let shared = &*self.shared;
        let count = statements.len();
        let mut all: Vec<_> = shared.sessions.begin().collect();
        all.extend(statements);
        all.push(Statement::new("COMMIT"));
        let all = &all[..];
        let write = || async move {
            let mut session = shared.sessions.acquire().await?;
            let answers = session.pipeline(all).await?;
            session.release();
            shared.sessions.begun(&answers)?;
            Ok(answers)
        };
        let mut answers = shared.retry(write).await?;
        answers.pop();
        Ok(answers.split_off(answers.len().saturating_sub(count)))
    }

    /// Runs one statement that writes and may be sent again; answers its rows.
    async fn write_one(&self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        Ok(self.write_all(vec![statement]).await?.pop().unwrap_or_default())
    }

    /// Runs `work` in a transaction, together with other calls that wait.
    ///
    /// The work goes on when the caller stops waiting.
    async fn write<T: Send + 'static>(
        &self,
        needs: Needs,
        work: impl FnMut(&BatchTx) -> Result<T, PostgresError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        write_queue::order(&self.shared, Box::new(QueuedCall::new(needs, work, reply)))?;
        answer.await.unwrap_or_else(|_| {
            let text = "the store ended before the call did, or broke off, which is a fault of jeton: the log has the place";
            Err(StoreError::Unavailable(text.into()))
        })
    }
}

/// Sees that the server can be the store, for one that works in it or for one that only looks; answers what its schema lacks.
async fn lacking(
    sessions: &Sessions,
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

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}
