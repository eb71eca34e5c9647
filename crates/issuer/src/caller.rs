//! A program that was let in.

use std::fmt;
use std::sync::Arc;

use jeton_core::access::{Permission, Scopes, ServiceName, ServiceTokenId, TokenHash};
use jeton_core::suggest;

use crate::error::AccessError;

/// A program that was let in, and what it may do. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller(Arc<Known>);

#[derive(PartialEq, Eq)]
struct Known {
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
        Self(Arc::new(Known { service, token, hash, scopes }))
    }

    /// The hash of what it presented.
    pub(crate) fn hash(&self) -> &TokenHash {
        &self.0.hash
    }

    /// The name it goes by in logs and audits.
    pub fn service(&self) -> &ServiceName {
        &self.0.service
    }

    /// The service token of the store by which it came in; none where the environment let it in.
    pub fn token(&self) -> Option<ServiceTokenId> {
        self.0.token
    }

    /// Everything it may do.
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// Whether it may do this.
    ///
    /// # Errors
    /// [`AccessError::Insufficient`], which names the scope that is missing.
    pub fn require(&self, need: &Permission<'_>) -> Result<(), AccessError> {
        match self.0.scopes.missing(need) {
            None => Ok(()),
            Some(missing) => Err(AccessError::Insufficient { service: self.0.service.clone(), missing }),
        }
    }

    /// Whether it may be told of this connection.
    pub fn sees(&self, connection: &str) -> bool {
        self.0.scopes.name(connection)
    }

    /// The name that a wrong one is most probably meant to be, among those of `names` that it may be told of.
    pub fn near<'n>(&self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<String> {
        let seen = names.into_iter().filter(|name| self.sees(name));
        suggest::nearest_name(wrong, seen).map(str::to_owned).into_iter().collect()
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
    fn only_names_that_it_may_be_told_of_are_suggested() {
        let caller =
            Caller::new("bot1".parse().unwrap(), None, TokenHash::of(b"x"), "token:acme".parse().unwrap());
        assert_eq!(caller.near("acmee", ["acme", "acmex"]), ["acme"]);
        assert!(caller.near("bnak", ["acme", "bank"]).is_empty());
        let reader = Caller::new("bot2".parse().unwrap(), None, TokenHash::of(b"x"), "read".parse().unwrap());
        assert_eq!(reader.near("bnak", ["acme", "bank"]), ["bank"]);
    }

    #[test]
    fn what_is_missing_is_named_with_who_lacks_it() {
        let caller =
            Caller::new("bot1".parse().unwrap(), None, TokenHash::of(b"x"), "token:acme".parse().unwrap());
        assert_eq!(caller.require(&Permission::Token("acme")), Ok(()));
        let problem = caller.require(&Permission::Admin).unwrap_err().problem();
        assert_eq!((problem.status, problem.code), (403, "SCOPE_INSUFFICIENT"));
        assert_eq!(problem.members["missing_scope"], "admin");
        assert!(problem.detail.contains("`bot1` lacks the scope admin"), "{}", problem.detail);
    }
}
