//! Looking at a database that may be wrong, without changing anything about it.

use std::sync::Arc;

use jeton_core::id::Revision;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{Identity, LiveNode, StoreError};
use jeton_core::time::Timestamp;

use super::address::Address;
use super::database::{read_recorded, recorded_identity};
use super::errors::PostgresError;
use super::options::PostgresOptions;
use super::session::Sessions;
use super::transaction::{instant, read_instant};
use super::{migrate, privileges};
use crate::sql::{connection_rows, ports};

/// What a database says when it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresInspection {
    /// The version of the server, as it says itself.
    pub server_version: String,
    /// The URL without its password.
    pub shown_url: String,
    /// Whether the connection to it is encrypted.
    pub encrypted: bool,
    /// The instant by its clock, which decides leases and due times.
    pub now: Timestamp,
    /// Whether it holds nothing of ours yet.
    pub is_empty: bool,
    /// How many changes of the schema this binary would make first. Until then nothing else is read.
    pub missing_migrations: usize,
    /// Which installation it belongs to, once there is one.
    pub identity: Option<Identity>,
    /// Whether it is a copy that nobody has adopted.
    pub is_copy: bool,
    /// All connections, by name.
    pub connections: Vec<Connection>,
    /// The nodes that are alive.
    pub nodes: Vec<LiveNode>,
    /// The last change.
    pub revision: Revision,
}

/// Connects and reads what the database holds.
///
/// # Errors
/// As [`PostgresStore::open`](super::PostgresStore::open), which would make what is missing; also for rows that cannot be
/// understood.
pub async fn inspect(options: &PostgresOptions) -> Result<PostgresInspection, StoreError> {
    let address = Address::of(options)?;
    let sessions = Sessions::new(&address, options)?;
    let found = look(&sessions, &address, options.migrate).await;
    sessions.close();
    found.map_err(|failure| failure.into_store_error(&address))
}

async fn look(
    sessions: &Arc<Sessions>,
    address: &Address,
    migrates: bool,
) -> Result<PostgresInspection, PostgresError> {
    let server = migrate::check_server(sessions, address).await?;
    privileges::check(sessions, address).await?;
    let missing = migrate::lacking(sessions, address).await?.len();
    let mut found = PostgresInspection {
        server_version: server.version,
        shown_url: address.shown.clone(),
        encrypted: server.encrypted,
        now: read_instant(&sessions.rows(&instant()).await?)?,
        is_empty: missing == address.schema.len(),
        missing_migrations: missing,
        identity: None,
        is_copy: false,
        connections: Vec::new(),
        nodes: Vec::new(),
        revision: Revision::default(),
    };
    if found.missing_migrations > 0 && migrates {
        privileges::check_making(sessions, address).await?;
    }
    if found.missing_migrations == 0 {
        migrate::check_tables(sessions, address).await?;
        found.identity = ports::read_identity(&sessions.rows(&ports::identity()).await?)?;
        let here = sessions.identity().await?;
        let recorded = read_recorded(&sessions.rows(&recorded_identity()).await?)?;
        found.is_copy = recorded.is_some_and(|recorded| here.differs(recorded));
        let all = connection_rows::select("SELECT * FROM connections", "name", None, Vec::new());
        found.connections = connection_rows::read(&sessions.rows(&all).await?)?;
        found.nodes = ports::read_nodes(&sessions.rows(&ports::live_nodes(found.now)).await?)?;
        found.revision = found.connections.iter().map(|row| row.revision).max().unwrap_or_default();
    }
    Ok(found)
}
