//! The living tokens, in memory: what callers get without waiting on anybody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use jeton_core::clocks::ClockReadings;
use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::provider::Vars;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use parking_lot::RwLock;
use tokio::sync::watch;

/// A connection as memory holds it: its row, and the access token opened.
#[derive(Debug)]
pub(crate) struct CachedConnection {
    /// The row.
    pub(crate) row: Connection,
    /// The access token in clear.
    pub(crate) access: Option<Secret>,
    /// Its type as the provider says it.
    pub(crate) token_type: String,
    /// The variables that consents and replies brought.
    pub(crate) captured: Vars,
    /// The instant before the store was asked for the row, by the clock that counts suspension.
    pub(crate) asked_at: Duration,
    /// What the clocks showed when this process learned of the token set.
    pub(crate) learned: ClockReadings,
}

impl CachedConnection {
    /// The instant that the life of the token set is judged by: the one at which this process learned of it, and as much time as any
    /// clock says has passed since.
    pub(crate) fn now(&self, readings: ClockReadings) -> Timestamp {
        self.learned.store + readings.passed_since(&self.learned)
    }

    /// How long the access token lives as a whole.
    pub(crate) fn life(&self) -> Option<Duration> {
        let tokens = self.row.tokens.as_ref()?;
        Some(tokens.access_expires_at?.since(tokens.obtained_at))
    }

    /// Whether the token set was obtained after `instant`: then it is the best that can be had, whatever its life.
    pub(crate) fn refreshed_since(&self, instant: Timestamp) -> bool {
        self.access.is_some() && self.row.refreshed_since(instant)
    }

    /// Whether the access token is there and lives for at least `ttl` after `now`.
    pub(crate) fn lives(&self, now: Timestamp, ttl: Duration) -> bool {
        self.access.is_some() && self.row.lives(now, ttl)
    }
}

/// The place of one connection in memory.
#[derive(Debug)]
pub(crate) struct CacheEntry {
    known: ArcSwapOption<CachedConnection>,
    /// A row was there that could not be read.
    unreadable: AtomicBool,
    changed: watch::Sender<u64>,
}

impl CacheEntry {
    fn new() -> Self {
        Self {
            known: ArcSwapOption::empty(),
            unreadable: AtomicBool::new(false),
            changed: watch::Sender::new(0),
        }
    }

    /// What is known, without waiting.
    pub(crate) fn known(&self) -> Option<Arc<CachedConnection>> {
        self.known.load_full()
    }

    /// There is a row, and it cannot be read.
    pub(crate) fn note_unreadable(&self) {
        self.unreadable.store(true, Ordering::Relaxed);
    }

    /// Whether there was a row that could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// Wakes up when what is known changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Puts a row in place, unless a later one is there. The row as it stands afterwards is the answer.
    pub(crate) fn put(&self, known: CachedConnection) -> Arc<CachedConnection> {
        let known = Arc::new(known);
        let before = self.known.rcu(|present| match present {
            Some(present) if present.row.revision > known.row.revision => Some(Arc::clone(present)),
            _ => Some(Arc::clone(&known)),
        });
        if before.is_none_or(|before| before.row.revision < known.row.revision) {
            self.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.known().unwrap_or(known)
    }
}

/// All entries by name.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: RwLock<HashMap<String, Arc<CacheEntry>>>,
}

impl Cache {
    /// The entry of a connection, where there is one.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<CacheEntry>> {
        self.entries.read().get(name).cloned()
    }

    /// What is known of a connection.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<CachedConnection>> {
        self.find(name)?.known()
    }

    /// Every connection that is known.
    pub(crate) fn all(&self) -> Vec<Arc<CachedConnection>> {
        let entries = self.entries.read();
        entries.values().filter_map(|entry| entry.known()).collect()
    }

    /// The entry of a connection; made where there is none.
    pub(crate) fn entry(&self, name: &ConnectionName) -> Arc<CacheEntry> {
        if let Some(entry) = self.find(name.as_str()) {
            return entry;
        }
        let mut entries = self.entries.write();
        Arc::clone(entries.entry(name.as_str().to_owned()).or_insert_with(|| Arc::new(CacheEntry::new())))
    }
}
