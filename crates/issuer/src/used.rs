//! Uses that wait to be written.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jeton_core::access::ServiceTokenId;
use jeton_core::time::Timestamp;

/// The last use of each token that is not yet in the store. There are never more than there are tokens.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<HashMap<ServiceTokenId, Timestamp>>);

impl Uses {
    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceTokenId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, id: ServiceTokenId, at: Timestamp) {
        let mut uses = self.lock();
        let noted = uses.entry(id).or_insert(at);
        *noted = at.max(*noted);
    }

    /// Takes all of them out, to be written.
    pub(crate) fn take(&self) -> Vec<(ServiceTokenId, Timestamp)> {
        self.lock().drain().collect()
    }
}
