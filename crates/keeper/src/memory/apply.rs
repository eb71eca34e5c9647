//! Rows on their way from the store into memory, and what they must not contradict there.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::clocks::CLOCK_STEP;
use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{ListedConnection, StoreError};
use jeton_core::time::Timestamp;
use tokio::sync::{Notify, SetOnce};

use super::cache::{Cache, CachedConnection};
use crate::error::TokenError;
use crate::lifecycle::Lifecycle;
use crate::node::Node;
use crate::spill::store_write::StoreWrite;
use crate::store_access::StoreAccess;
use crate::token_crypto::{ClearTokens, DOES_NOT_OPEN, unseal_tokens};
use crate::token_metadata::TokenMetadata;
use crate::tokens::single_flight::{Join, SingleFlight, TaskOutcome};

/// How a store that fails is asked for a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reload {
    /// Once: there is something in memory to go on with.
    Once,
    /// For as long as a claim waits for it: without an answer there is nothing.
    WithRetry,
}

/// What this process knows of the stored connections.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) cache: Cache,
    /// Set once every row has been read.
    pub(crate) loaded: SetOnce<()>,
    /// Tells that others changed something.
    pub(crate) changed: Notify,
    /// Reads of the store that callers share.
    reloads: Arc<SingleFlight>,
    pub(super) node: Arc<Node>,
    pub(super) store: Arc<StoreAccess>,
    pub(super) lifecycle: Arc<Lifecycle>,
}

impl Memory {
    pub(crate) fn new(node: Arc<Node>, store: Arc<StoreAccess>, lifecycle: Arc<Lifecycle>) -> Self {
        Self {
            cache: Cache::default(),
            loaded: SetOnce::new(),
            changed: Notify::new(),
            reloads: Arc::default(),
            node,
            store,
            lifecycle,
        }
    }

    /// What is known of a connection.
    pub(crate) fn known(&self, name: &ConnectionName) -> Option<Arc<CachedConnection>> {
        self.cache.known(name.as_str())
    }

    /// Puts a row into memory, with its access token opened, unless it contradicts what is there. `asked_at`, by the clock
    /// that counts suspension, is the instant before the store was asked for it: a slow answer is as old as its question.
    pub(crate) fn apply(&self, row: Connection, asked_at: Duration) -> Arc<CachedConnection> {
        let entry = self.cache.entry(&row.name);
        if let Some(known) = entry.known().filter(|known| inconsistent(&known.row, &row)) {
            self.store.mark_rolled_back(row.revision);
            return known;
        }
        self.store.high_water.see(row.revision);
        let known = entry.known();
        entry.put(self.opened(row, asked_at, known.as_deref()))
    }

    /// Puts a row of a list into memory. One that cannot be read is passed over: the others go on.
    pub(crate) fn apply_listed(&self, row: ListedConnection, asked_at: Duration) {
        match row {
            Ok(row) => {
                self.apply(row, asked_at);
            }
            Err(unreadable) => {
                self.store.high_water.see(unreadable.revision);
                self.cache.entry(&unreadable.name).note_unreadable();
                tracing::error!(connection = %unreadable.name, "{unreadable}");
            }
        }
    }

    /// A row with its access token opened. `before` is what memory has of the connection.
    fn opened(
        &self,
        mut row: Connection,
        asked_at: Duration,
        before: Option<&CachedConnection>,
    ) -> CachedConnection {
        let before = before.filter(|before| before.row.generation == row.generation);
        let learned = before.map_or_else(|| self.node.clock.readings(), |before| before.learned);
        if let Some(tokens) = &mut row.tokens {
            let known = before.and_then(|before| before.row.tokens.as_ref()?.access_expires_at);
            if tokens.obtained_at > learned.store + CLOCK_STEP {
                // The clock of the store was set back since it was obtained, or this process has not learned yet that it was set
                // ahead: nobody knows how long it lives, and it is no answer to whoever asks for a new one.
                tokens.obtained_at = Timestamp::default();
                tokens.access_expires_at = Some(learned.store);
            }
            tokens.access_expires_at = earlier(tokens.access_expires_at, known);
        }
        let opened = row
            .tokens
            .as_ref()
            .map(|tokens| unseal_tokens(&self.node.sealer, &row.name, row.generation, tokens));
        let opened = opened.transpose().unwrap_or_else(|error| {
            tracing::error!(connection = %row.name, %error, "{DOES_NOT_OPEN}");
            None
        });
        let ClearTokens { access, extras, .. } = opened.unwrap_or_default();
        let extras = TokenMetadata::from_text(extras.as_ref());
        let token_type = extras.token_type.unwrap_or_else(|| "Bearer".to_owned());
        CachedConnection { row, access, token_type, captured: extras.vars, asked_at, learned }
    }

    /// Serves the token set of a reply that lies in its spill slot while the installation is on hold: the one before it may
    /// have died of this very refresh. The store is behind memory until a later process has given it the reply.
    pub(crate) fn serve_uncommitted(&self, write: &StoreWrite) {
        let StoreWrite::Commit(commit) = write else { return };
        let entry = self.cache.entry(&commit.connection);
        let Some(known) = entry.known().filter(|known| known.row.generation == commit.generation) else {
            return;
        };
        let row = Connection {
            generation: commit.generation.next(),
            revision: known.row.revision.next(),
            tokens: Some(commit.tokens.clone()),
            ..known.row.clone()
        };
        entry.put(self.opened(row, self.node.clock.uptime(), Some(&known)));
    }

    /// Reads a row of the store, for at most `claim_wait`, and puts it into memory.
    pub(crate) async fn reload(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<Arc<CachedConnection>>, TokenError> {
        Ok(self.store.with_retry(|| self.reload_once(name)).await?)
    }

    /// Reads a row of the store once, and puts it into memory. A row that was later before the store was asked shows that it
    /// is another store by now: a backup, or a replica that had not caught up.
    pub(crate) async fn reload_once(
        &self,
        name: &ConnectionName,
    ) -> Result<Option<Arc<CachedConnection>>, StoreError> {
        let before = self.known(name);
        let asked_at = self.node.clock.uptime();
        let row = self.store.ports.connections.find(name).await?;
        let Some(row) = row else { return Ok(None) };
        match before.filter(|before| row.revision < before.row.revision) {
            Some(before) => {
                self.store.mark_rolled_back(row.revision);
                Ok(Some(before))
            }
            None => Ok(Some(self.apply(row, asked_at))),
        }
    }

    /// Reads a row of the store once for all who want it now. It goes on when nobody waits for it any more.
    pub(crate) async fn reload_shared(self: &Arc<Self>, name: &ConnectionName, how: Reload) -> TaskOutcome {
        let follower = match self.reloads.join(name) {
            Join::Follower(follower) => follower,
            Join::Leader(leader, follower) => {
                let (memory, name) = (Arc::clone(self), name.clone());
                self.lifecycle.background.spawn(async move {
                    let reloaded = match how {
                        Reload::Once => memory.reload_once(&name).await.map_err(TokenError::from),
                        Reload::WithRetry => memory.reload(&name).await,
                    };
                    leader.finish(reloaded.map(drop));
                });
                follower
            }
        };
        follower.outcome().await.unwrap_or(Err(TokenError::ShuttingDown))
    }
}

/// What a token set says of its expiry, and at most what was believed of it before.
fn earlier(expiry: Option<Timestamp>, known: Option<Timestamp>) -> Option<Timestamp> {
    match (expiry, known) {
        (Some(expiry), Some(known)) => Some(expiry.min(known)),
        (expiry, _) => expiry,
    }
}

/// Whether these rows of one connection cannot be of one store, in whatever order they were read: a later change never has
/// an earlier generation, and a generation names one token set.
fn inconsistent(known: &Connection, row: &Connection) -> bool {
    let went_back = row.revision > known.revision && row.generation < known.generation;
    let prints = |row: &Connection| {
        row.tokens.as_ref().map(|tokens| (tokens.access_fingerprint, tokens.refresh_fingerprint))
    };
    went_back || (row.generation == known.generation && prints(row) != prints(known))
}
