//! The credentials that the environment defines besides the store: the API key, and services by the hash of their token.

use jeton_core::access::{API_KEY_SERVICE, Scopes, ServiceName, TokenHash};

use crate::caller::Caller;

/// The credentials of the environment. They are accepted while the store is down too, without a time limit.
///
/// A row of the store with the same hash takes precedence: at once in the process that created it, elsewhere with the next
/// reload of the cache.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(TokenHash, Caller)>);

impl Environment {
    /// The API key alone, as the service [`API_KEY_SERVICE`] with every scope but `admin`.
    ///
    /// # Panics
    /// Never: `api-key` is a valid name.
    pub fn with_api_key(key: TokenHash) -> Self {
        let name = API_KEY_SERVICE.parse().expect("`api-key` keeps the rules of names");
        Self::default().with_service(name, key, Scopes::all_but_admin())
    }

    /// Adds a service.
    #[must_use]
    pub fn with_service(mut self, service: ServiceName, hash: TokenHash, scopes: Scopes) -> Self {
        self.0.push((hash, Caller::new(service, None, hash, scopes)));
        self
    }

    /// What the service with that hash may do; nothing where there is none.
    pub(crate) fn scopes_of(&self, hash: &TokenHash) -> Scopes {
        self.find(hash).map(|caller| caller.scopes().clone()).unwrap_or_default()
    }

    /// The caller of that hash. Every entry is compared, each in constant time.
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<&Caller> {
        self.0.iter().fold(None, |found, (known, caller)| {
            let same = known == hash;
            found.or(same.then_some(caller))
        })
    }
}
