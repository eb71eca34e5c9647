//! The service tokens of the store, in memory, and their uses that are not in the store yet.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jeton_core::access::ports::USES_APART;
use jeton_core::access::{ServiceName, ServiceToken, ServiceTokenId, TokenHash};
use jeton_core::time::Timestamp;
use parking_lot::{Mutex, RwLock};

use crate::caller::Caller;

/// A token with its caller, made once so that a check allocates nothing.
#[derive(Debug)]
pub(crate) struct CachedToken {
    pub(crate) token: ServiceToken,
    pub(crate) caller: Caller,
    /// Its last use, in microseconds; `i64::MIN` where it was never used.
    last_use: AtomicI64,
}

impl CachedToken {
    fn new(token: ServiceToken, last_use: i64) -> Self {
        let caller = Caller::new(token.service.clone(), Some(token.id), token.hash, token.scopes.clone());
        Self { token, caller, last_use: AtomicI64::new(last_use) }
    }

    /// Whether a use at `now` must be recorded: the first within [`USES_APART`] is, for one of all who ask at once.
    pub(crate) fn begin_use(&self, now: Timestamp) -> bool {
        let last = self.last_use.load(Ordering::Relaxed);
        let due = last == i64::MIN || now.since(Timestamp::from_micros(last)) >= USES_APART;
        let won = || {
            self.last_use
                .compare_exchange(last, now.as_micros(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        due && won()
    }
}

/// The tokens by hash, as far as the store was read.
#[derive(Debug, Default)]
pub(crate) struct TokenCache(RwLock<HashMap<TokenHash, Arc<CachedToken>>>);

impl TokenCache {
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<Arc<CachedToken>> {
        self.0.read().get(hash).cloned()
    }

    /// Takes a row in, unless a later revision of it is cached.
    pub(crate) fn insert(&self, token: ServiceToken) {
        let mut tokens = self.0.write();
        let cached = tokens.get(&token.hash);
        if cached.is_some_and(|cached| cached.token.revision >= token.revision) {
            return;
        }
        let stored = token.last_used_at.map_or(i64::MIN, Timestamp::as_micros);
        let last_use = cached.map_or(stored, |cached| cached.last_use.load(Ordering::Relaxed).max(stored));
        tokens.insert(token.hash, Arc::new(CachedToken::new(token, last_use)));
    }

    /// The tokens of one service, the oldest first.
    pub(crate) fn list_of(&self, service: &ServiceName) -> Vec<ServiceToken> {
        let tokens = self.0.read();
        let own = tokens.values().map(|cached| &cached.token).filter(|token| token.service == *service);
        let mut own: Vec<_> = own.cloned().collect();
        own.sort_by_key(|token| (token.created_at, token.id));
        own
    }
}

/// The last use of each token that is not in the store yet; never more than there are tokens.
#[derive(Debug, Default)]
pub(crate) struct PendingUses(Mutex<HashMap<ServiceTokenId, Timestamp>>);

impl PendingUses {
    pub(crate) fn add(&self, id: ServiceTokenId, at: Timestamp) {
        let mut uses = self.0.lock();
        let pending = uses.entry(id).or_insert(at);
        *pending = at.max(*pending);
    }

    pub(crate) fn list(&self) -> Vec<(ServiceTokenId, Timestamp)> {
        self.0.lock().iter().map(|(id, at)| (*id, *at)).collect()
    }

    /// Removes uses that were written, except where a later use of the same token has come meanwhile.
    pub(crate) fn remove(&self, written: &[(ServiceTokenId, Timestamp)]) {
        let mut uses = self.0.lock();
        for (id, at) in written {
            if uses.get(id) == Some(at) {
                uses.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jeton_core::access::TokenRevision;

    use super::*;

    fn token(revision: u64, last_used_at: Option<Timestamp>) -> ServiceToken {
        ServiceToken {
            id: ServiceTokenId::from_bytes([1; 16]),
            service: "bot1".parse().unwrap(),
            hash: TokenHash::of(b"1"),
            scopes: "read".parse().unwrap(),
            notes: None,
            created_at: Timestamp::default(),
            expires_at: None,
            revoked_at: None,
            successor: None,
            last_used_at,
            revision: TokenRevision(revision),
        }
    }

    #[test]
    fn an_older_revision_never_replaces_a_later_one() {
        let cache = TokenCache::default();
        let revoked = ServiceToken { revoked_at: Some(Timestamp::from_secs(5)), ..token(2, None) };
        cache.insert(revoked.clone());
        cache.insert(token(1, None));
        assert_eq!(cache.find(&revoked.hash).unwrap().token, revoked);
    }

    #[test]
    fn a_use_is_recorded_once_a_minute_also_when_the_row_changes() {
        let cache = TokenCache::default();
        let now = Timestamp::from_secs(1_795_249_800);
        let begin_use = |now| cache.find(&TokenHash::of(b"1")).unwrap().begin_use(now);
        cache.insert(token(1, None));
        assert!(begin_use(now));
        assert!(!begin_use(now + Duration::from_secs(59)));
        cache.insert(token(2, None));
        assert!(!begin_use(now + Duration::from_secs(59)));
        assert!(begin_use(now + Duration::from_mins(1)));
        cache.insert(token(3, Some(now + Duration::from_mins(5))));
        assert!(!begin_use(now + Duration::from_mins(5)), "another process recorded it");
    }

    #[test]
    fn a_use_that_came_while_an_earlier_one_was_written_stays_pending() {
        let uses = PendingUses::default();
        let (one, two) = (ServiceTokenId::from_bytes([1; 16]), ServiceTokenId::from_bytes([2; 16]));
        uses.add(one, Timestamp::from_secs(1));
        uses.add(two, Timestamp::from_secs(1));
        let written = uses.list();
        uses.add(one, Timestamp::from_secs(61));
        uses.remove(&written);
        assert_eq!(uses.list(), [(one, Timestamp::from_secs(61))]);
    }
}
