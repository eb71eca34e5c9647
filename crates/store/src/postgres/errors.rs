//! What PostgreSQL and the way to it say, in the words of the ports.

use std::error::Error as _;
use std::time::Duration;

use deadpool::managed::{PoolError, TimeoutType};
use jeton_core::address_race::describe;
use jeton_core::keep::ports::StoreError;
use tokio_postgres::error::{DbError, SqlState};

use super::address::Address;
use super::connect::{AddressError, ConnectError};
use super::database_identity::WrongDatabase;

/// Why a call on a connection failed, before it is put into the words of the ports.
#[derive(Debug)]
pub enum PostgresError {
    /// PostgreSQL or the connection says so.
    Sql(tokio_postgres::Error),
    /// No host of the URL let us in.
    Connect(ConnectError),
    /// All connections were busy for that long.
    Busy(Duration),
    /// There was no answer for that long.
    Silent(Duration),
    /// The connection was lost around a COMMIT, for tests.
    Lost,
    /// The server is a standby, which may be behind its primary.
    Standby,
    /// A session, or what a pooler did with a transaction, leads to another database than the first session did.
    WrongDatabase(WrongDatabase),
    /// We say so.
    Store(StoreError),
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<WrongDatabase> for PostgresError {
    fn from(error: WrongDatabase) -> Self {
        Self::WrongDatabase(error)
    }
}

impl From<StoreError> for PostgresError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl PostgresError {
    pub(super) fn of_pool(error: PoolError<ConnectError>, waited: Duration) -> Self {
        match error {
            PoolError::Backend(error) => Self::Connect(error),
            PoolError::Timeout(TimeoutType::Wait) => Self::Busy(waited),
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => Self::Silent(waited),
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::Store(StoreError::Unavailable("the store is closed: start the program anew".into()))
            }
        }
    }

    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Sql(error) => error.code(),
            _ => None,
        }
    }

    /// Whether the same work, sent again on another connection, may well succeed in a moment. Whether it was done
    /// already is not known; its ids make sending it again harmless.
    pub(super) fn passes(&self) -> bool {
        match self {
            // The name, or another host of the URL, may lead to the right one again.
            Self::Silent(_) | Self::Lost | Self::Standby | Self::WrongDatabase(_) => true,
            Self::Sql(error) => passes(error),
            Self::Connect(ConnectError(tried)) => tried.iter().any(|(_, error)| match error {
                Some(AddressError::Driver(error)) => passes(error),
                Some(AddressError::Unknown(_)) | None => true,
            }),
            Self::Busy(_) | Self::Store(_) => false,
        }
    }

    /// Whether the connection is still there, with a transaction to be undone, and worth keeping.
    pub(super) fn leaves_the_connection(&self) -> bool {
        matches!(self, Self::Store(_))
            || self.state().is_some_and(|state| *state != SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    /// Whether connections that were made at the same time may have failed too.
    pub(super) fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Silent(_) | Self::Lost | Self::Standby => true,
            Self::Connect(ConnectError(tried)) => tried
                .iter()
                .any(|(_, error)| driver_error(error.as_ref()).is_none_or(|error| error.code().is_none())),
            Self::Sql(error) => {
                error.code().is_none_or(|state| *state == SqlState::READ_ONLY_SQL_TRANSACTION)
            }
            // Those that were made before led to the right one.
            Self::WrongDatabase(_) | Self::Busy(_) | Self::Store(_) => false,
        }
    }

    /// Whether somebody else held a lock for too long, or two waited for each other.
    pub(super) fn is_a_lock(&self) -> bool {
        self.state().is_some_and(|state| {
            [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED].contains(state)
        })
    }

    /// Whether the server says that this function is not there, or is not for us.
    pub(super) fn is_withheld(&self) -> bool {
        self.state().is_some_and(|state| {
            [
                SqlState::UNDEFINED_FUNCTION,
                SqlState::INSUFFICIENT_PRIVILEGE,
                SqlState::FEATURE_NOT_SUPPORTED,
                SqlState::UNDEFINED_COLUMN,
            ]
            .contains(state)
        })
    }

    /// The error that callers get. It names the database without its password, and the cure.
    pub(super) fn into_store_error(self, address: &Address) -> StoreError {
        let place = &address.shown;
        match self {
            Self::Store(error) => error,
            Self::Sql(error) => explain(&error, address),
            Self::Connect(error) => explain_connect(&error, address),
            Self::Busy(waited) => StoreError::Unavailable(format!(
                "all connections to {place} were busy for {} s: raise `pool` in [store], or look for slow \
                 statements in the database",
                waited.as_secs()
            )),
            Self::Silent(waited) => StoreError::Unavailable(format!(
                "{place} did not answer for {} s: look at the server and at the network between",
                waited.as_secs()
            )),
            Self::Standby => read_only(place),
            Self::WrongDatabase(WrongDatabase { expected, found }) => StoreError::Unavailable(format!(
                "{place} leads to another database ({found}) than when this process was started ({expected}): let the name or \
                 address lead back, or, if the database was moved, end the processes on both, start one anew and adopt the database there"
            )),
            Self::Lost => StoreError::Unavailable(format!("the connection to {place} was lost: try again")),
        }
    }
}

/// Whether another try may well succeed in a moment.
fn passes(error: &tokio_postgres::Error) -> bool {
    let Some(state) = error.code() else { return error.is_closed() || is_io(error) };
    let class = &state.code()[..2];
    class == "08"
        || [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::TOO_MANY_CONNECTIONS,
            // Another host of the URL may be the primary by now, or this one again.
            SqlState::READ_ONLY_SQL_TRANSACTION,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ]
        .contains(state)
            && !is_setup(error)
}

fn driver_error(error: Option<&AddressError>) -> Option<&tokio_postgres::Error> {
    match error? {
        AddressError::Driver(error) => Some(error),
        AddressError::Unknown(_) => None,
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    !is_tls(error) && causes(error).any(<dyn std::error::Error + 'static>::is::<std::io::Error>)
}

/// The driver asks each new session whether it can write, and has these words for one that cannot.
fn is_read_only(error: &tokio_postgres::Error) -> bool {
    causes(error)
        .any(|cause| cause.is::<std::io::Error>() && cause.to_string() == "database does not allow writes")
}

fn is_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error performing TLS handshake")
}

/// A pooler refuses what we say at the beginning.
fn is_setup(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|said| said.message().contains("unsupported startup parameter"))
}

fn causes(error: &tokio_postgres::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn std::error::Error + 'static)| (*cause).source())
}

/// The driver says what it was doing; the innermost cause says what was wrong.
fn innermost(error: &tokio_postgres::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What was wrong with one address.
fn why(error: &AddressError) -> String {
    match error {
        AddressError::Unknown(why) => format!("the name is not known: {why}"),
        AddressError::Driver(error) => innermost(error),
    }
}

/// How much a failure tells: a server that answers and refuses tells more than a standby, and that more than silence.
fn tells(error: &tokio_postgres::Error) -> u8 {
    match (is_read_only(error), error.is_closed() || is_io(error)) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => 2,
    }
}

/// The failure that tells most, in its own words, and each address with its own failure.
fn explain_connect(ConnectError(tried): &ConnectError, address: &Address) -> StoreError {
    let answers = tried.iter().rev().filter_map(|(at, error)| Some((at, driver_error(error.as_ref())?)));
    match answers.filter(|(_, error)| tells(error) > 0).max_by_key(|(_, error)| tells(error)) {
        None => StoreError::Unavailable(format!(
            "{} cannot be reached: {}; see that PostgreSQL runs there and that store.url names its host and port",
            address.shown,
            describe(tried, why)
        )),
        Some((_, error)) if tried.len() == 1 => explain(error, address),
        Some((at, error)) => {
            let others: Vec<_> = tried
                .iter()
                .filter(|(other, _)| other != at)
                .map(|(at, error)| (at, error.as_ref()))
                .collect();
            let shown = format!(
                "{} at {at} (besides tried: {})",
                address.shown,
                describe(&others, |error| why(error))
            );
            explain(error, &Address { shown, ..address.clone() })
        }
    }
}

fn explain(error: &tokio_postgres::Error, address: &Address) -> StoreError {
    let place = &address.shown;
    if let Some(said) = error.as_db_error() {
        return explain_state(said, address);
    }
    let why = innermost(error);
    if is_tls(error) {
        return StoreError::Refused(format!(
            "{place} cannot be reached by TLS ({why}): mend the certificates, or sslmode and sslrootcert in store.url"
        ));
    }
    if is_read_only(error) {
        return read_only(place);
    }
    if error.is_closed() || is_io(error) {
        return StoreError::Unavailable(format!(
            "{place} cannot be reached ({why}): see that PostgreSQL runs there and that store.url names its host and port"
        ));
    }
    let text = error.to_string();
    if text.contains("authentication") || why.contains("password missing") {
        return StoreError::Refused(format!(
            "{place} asks for a password that store.url does not give ({why}): write it there, or mend pg_hba.conf"
        ));
    }
    StoreError::Unavailable(format!("{place} failed ({text}: {why})"))
}

fn explain_state(said: &DbError, address: &Address) -> StoreError {
    let (place, user, database) = (&address.shown, address.user(), address.database());
    let (state, message) = (said.code(), said.message());
    if *state == SqlState::INVALID_PASSWORD || *state == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        return StoreError::Refused(format!(
            "{place} does not let the user {user} in ({message}): mend user and password in store.url, or pg_hba.conf"
        ));
    }
    if *state == SqlState::INVALID_CATALOG_NAME {
        return StoreError::Refused(format!(
            "there is no database {database:?} at {place}: create it with `createdb --owner {user} {database}`, or mend \
             its name in store.url"
        ));
    }
    if *state == SqlState::INSUFFICIENT_PRIVILEGE {
        return lacks_a_right(address, message);
    }
    if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        return read_only(place);
    }
    if *state == SqlState::TOO_MANY_CONNECTIONS || *state == SqlState::CONFIGURATION_LIMIT_EXCEEDED {
        return StoreError::Unavailable(format!(
            "{place} takes no more connections ({message}): raise max_connections there, lower `pool` in [store], or put PgBouncer between"
        ));
    }
    if *state == SqlState::DISK_FULL {
        return StoreError::Unwritable(format!(
            "no space is left for {place}: free some on the disk of the server"
        ));
    }
    if *state == SqlState::LOCK_NOT_AVAILABLE || *state == SqlState::QUERY_CANCELED {
        return StoreError::Unavailable(format!(
            "{place} took too long ({message}): look for long transactions in pg_stat_activity"
        ));
    }
    if *state == SqlState::UNDEFINED_TABLE || *state == SqlState::UNDEFINED_COLUMN {
        return not_whole(place, message);
    }
    if message.contains("unsupported startup parameter") {
        return StoreError::Refused(format!(
            "{place} is a pooler ({message}): say so with `pooler = true` in [store]"
        ));
    }
    match &state.code()[..2] {
        "08" | "57" | "53" | "40" => {
            StoreError::Unavailable(format!("{place} is not available ({message}): try again"))
        }
        "22" | "23" => StoreError::Refused(format!(
            "{place} refused a row that breaks its rules, which is a fault of jeton: {message}"
        )),
        "XX" | "58" => StoreError::Refused(format!(
            "{place} is damaged or its disk fails ({message}): look at the log of the server, and restore a backup if need be"
        )),
        "0A" | "42" => StoreError::Refused(format!(
            "{place} does not understand a statement of ours ({message}): jeton needs PostgreSQL 14 or later, with no other \
             program's tables under our names"
        )),
        code => StoreError::Unavailable(format!("{place} failed ({code}: {message})")),
    }
}

pub(super) fn not_whole(place: &str, message: &str) -> StoreError {
    StoreError::Refused(format!(
        "the schema of {place} is not whole ({message}): finish the restore that made it, restore a backup, or name an empty \
         database"
    ))
}

/// A migration found tables under our names that no record of migrations speaks of, or lacks what an earlier one made.
pub(super) fn incomplete_schema(failure: PostgresError, address: &Address) -> PostgresError {
    let said = match &failure {
        PostgresError::Sql(error) => error.as_db_error(),
        _ => None,
    };
    let states = [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::DUPLICATE_FUNCTION,
        SqlState::DUPLICATE_COLUMN,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
    ];
    match said.filter(|said| states.contains(said.code())) {
        Some(said) => not_whole(&address.shown, said.message()).into(),
        None => failure,
    }
}

/// The user may not do what must be done.
pub(super) fn lacks_a_right(address: &Address, what: &str) -> StoreError {
    let (place, user, database) = (&address.shown, address.user(), address.database());
    StoreError::Refused(format!(
        "the user {user} lacks a right in {place} ({what}): as an administrator run `ALTER DATABASE {database} OWNER TO \
         {user}` there, and `REASSIGN OWNED` where the tables are somebody else's"
    ))
}

/// The server is a standby, or somebody switched writing off.
fn read_only(place: &str) -> StoreError {
    StoreError::Unwritable(format!(
        "{place} is read-only, as a standby is: name the primary in store.url and see that it runs, or promote this server"
    ))
}
