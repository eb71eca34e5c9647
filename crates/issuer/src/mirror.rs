//! Every service token of the store, in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jeton_core::access::ports::USES_APART;
use jeton_core::access::{ServiceName, ServiceToken, TokenHash, TokenRevision};
use jeton_core::time::Timestamp;

use crate::caller::Caller;

/// One token, with what is made of it once so that checking makes nothing.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) token: ServiceToken,
    pub(crate) caller: Caller,
    /// When its last use was noted, in microseconds.
    noted: AtomicI64,
}

impl Entry {
    fn new(token: ServiceToken, noted: i64) -> Self {
        let caller = Caller::new(token.service.clone(), Some(token.id), token.hash, token.scopes.clone());
        Self { token, caller, noted: AtomicI64::new(noted) }
    }

    /// Whether a use at `now` is to be noted: the first one in a minute is, for one of all who ask at once.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let noted = self.noted.load(Ordering::Relaxed);
        let due = noted == i64::MIN || now.since(Timestamp::from_micros(noted)) >= USES_APART;
        due && self
            .noted
            .compare_exchange(noted, now.as_micros(), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// All of them by hash, as far as the store was read.
#[derive(Debug, Default)]
pub(crate) struct Mirror(RwLock<HashMap<TokenHash, Arc<Entry>>>);

impl Mirror {
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<Arc<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// Takes a row in, unless a later state of it is known.
    pub(crate) fn learn(&self, token: ServiceToken) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let known = entries.get(&token.hash);
        if known.is_some_and(|known| known.token.revision >= token.revision) {
            return;
        }
        let stored = token.last_used_at.map_or(i64::MIN, Timestamp::as_micros);
        let noted = known.map_or(stored, |known| known.noted.load(Ordering::Relaxed).max(stored));
        entries.insert(token.hash, Arc::new(Entry::new(token, noted)));
    }

    /// The tokens of one service, the oldest first.
    pub(crate) fn of(&self, service: &ServiceName) -> Vec<ServiceToken> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut tokens: Vec<_> = entries
            .values()
            .map(|entry| &entry.token)
            .filter(|token| token.service == *service)
            .cloned()
            .collect();
        tokens.sort_by_key(|token| (token.created_at, token.id));
        tokens
    }
}

/// The newest revision among rows.
pub(crate) fn newest(rows: &[ServiceToken]) -> Option<TokenRevision> {
    rows.iter().map(|row| row.revision).max()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jeton_core::access::ServiceTokenId;

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
    fn a_row_that_comes_late_never_hides_a_later_state() {
        let mirror = Mirror::default();
        let revoked = ServiceToken { revoked_at: Some(Timestamp::from_secs(5)), ..token(2, None) };
        mirror.learn(revoked.clone());
        mirror.learn(token(1, None));
        assert_eq!(mirror.find(&revoked.hash).unwrap().token, revoked);
    }

    #[test]
    fn a_use_is_noted_once_a_minute_and_a_change_of_the_row_forgets_none() {
        let mirror = Mirror::default();
        let now = Timestamp::from_secs(1_795_249_800);
        mirror.learn(token(1, None));
        let hash = TokenHash::of(b"1");
        assert!(mirror.find(&hash).unwrap().is_due(now));
        assert!(!mirror.find(&hash).unwrap().is_due(now + Duration::from_secs(59)));
        mirror.learn(token(2, None));
        assert!(!mirror.find(&hash).unwrap().is_due(now + Duration::from_secs(59)));
        assert!(mirror.find(&hash).unwrap().is_due(now + Duration::from_mins(1)));
        mirror.learn(token(3, Some(now + Duration::from_mins(5))));
        assert!(
            !mirror.find(&hash).unwrap().is_due(now + Duration::from_mins(5)),
            "another process noted it"
        );
    }
}
