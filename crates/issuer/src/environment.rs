//! What the environment lets in besides the store: the API key, and services by the hash of their token.

use jeton_core::access::{API_KEY_SERVICE, Scopes, ServiceName, TokenHash};

use crate::caller::Caller;

/// What the environment lets in. It counts while the store is away, and yields to a row of the store with the same hash:
/// at once in the process where that row was made, elsewhere as soon as the store was read again, which is as soon as a
/// revocation is noticed. While the store is away there is no bound, for nobody but the environment can say who comes in.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(TokenHash, Caller)>);

impl Environment {
    /// Lets in nobody but the API key, as the service [`API_KEY_SERVICE`], with every scope but `admin`.
    ///
    /// # Panics
    /// Never: the name of that service is one.
    pub fn with_api_key(key: TokenHash) -> Self {
        let name = API_KEY_SERVICE.parse().expect("it is a name");
        Self::default().and(name, key, Scopes::all_but_admin())
    }

    /// Lets in a service besides.
    #[must_use]
    pub fn and(mut self, service: ServiceName, hash: TokenHash, scopes: Scopes) -> Self {
        self.0.push((hash, Caller::new(service, None, hash, scopes)));
        self
    }

    /// Whose hash this is. All are compared, each in constant time.
    pub(crate) fn find(&self, hash: &TokenHash) -> Option<&Caller> {
        self.0.iter().fold(None, |found, (known, caller)| {
            let same = known == hash;
            found.or(same.then_some(caller))
        })
    }
}
