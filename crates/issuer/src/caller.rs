//! A program whose credential is valid.

use std::fmt;
use std::sync::Arc;

use jeton_core::access::{Permission, Scopes, ServiceName, ServiceTokenId, TokenHash};
use jeton_core::suggest;

use crate::error::AccessError;

/// A program whose credential is valid, and what it may do. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller(Arc<CallerInner>);

#[derive(PartialEq, Eq)]
struct CallerInner {
    service: ServiceName,
    token: Option<ServiceTokenId>,
    hash: TokenHash,
    scopes: Scopes,
}

impl Caller {
    pub(crate) fn new(
        service: ServiceName,
        token: Option<ServiceTokenId>,
        hash: TokenHash,
        scopes: Scopes,
    ) -> Self {
        Self(Arc::new(CallerInner { service, token, hash, scopes }))
    }

    /// The hash of its credential.
    pub(crate) fn hash(&self) -> &TokenHash {
        &self.0.hash
    }

    /// Its name in logs and in the audit log.
    pub fn service(&self) -> &ServiceName {
        &self.0.service
    }

    /// Its service token; absent where its credential is one of the environment.
    pub fn token(&self) -> Option<ServiceTokenId> {
        self.0.token
    }

    /// Its scopes.
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// Checks that its scopes grant this permission.
    ///
    /// # Errors
    /// [`AccessError::Insufficient`], which names the missing scope.
    pub fn require(&self, permission: &Permission<'_>) -> Result<(), AccessError> {
        match self.0.scopes.missing(permission) {
            None => Ok(()),
            Some(missing) => Err(AccessError::Insufficient { service: self.0.service.clone(), missing }),
        }
    }

    /// Whether it may know that this connection exists.
    pub fn may_see(&self, connection: &str) -> bool {
        self.0.scopes.name(connection)
    }

    /// The name most similar to a wrong one, among those of `names` that it may see.
    pub fn suggest<'n>(&self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
        let visible = names.into_iter().filter(|name| self.may_see(name));
        suggest::nearest_name(wrong, visible).map(str::to_owned).into_iter().collect()
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({}: {})", self.0.service, self.0.scopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_caller_may_see_are_suggested() {
        let caller =
            Caller::new("bot1".parse().unwrap(), None, TokenHash::of(b"x"), "token:acme".parse().unwrap());
        assert_eq!(caller.suggest("acmee", ["acme", "acmex"]), ["acme"]);
        assert!(caller.suggest("bnak", ["acme", "bank"]).is_empty());
        let reader = Caller::new("bot2".parse().unwrap(), None, TokenHash::of(b"x"), "read".parse().unwrap());
        assert_eq!(reader.suggest("bnak", ["acme", "bank"]), ["bank"]);
    }

    #[test]
    fn the_error_names_the_missing_scope_and_the_service() {
        let caller =
            Caller::new("bot1".parse().unwrap(), None, TokenHash::of(b"x"), "token:acme".parse().unwrap());
        assert_eq!(caller.require(&Permission::Token("acme")), Ok(()));
        let problem = caller.require(&Permission::Admin).unwrap_err().problem();
        assert_eq!((problem.status, problem.code), (403, "SCOPE_INSUFFICIENT"));
        assert_eq!(problem.members["missing_scope"], "admin");
        assert!(problem.detail.contains("`bot1` lacks the scope admin"), "{}", problem.detail);
    }
}
