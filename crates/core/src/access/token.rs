//! The row of a service token.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Scopes, ServiceName, ServiceTokenId, TokenHash};
use crate::audit::{Actor, AuditAction, AuditRow};
use crate::id::OperationId;
use crate::named_enum::named_enum;
use crate::time::Timestamp;

/// Counts the changes of the service tokens of a store, across all of them. Using a token changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRevision(pub u64);

/// A service token as a store keeps it. A service may have any number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceToken {
    /// Which.
    pub id: ServiceTokenId,
    /// Whom it names.
    pub service: ServiceName,
    /// The hash of its text. No two rows of a store have the same.
    pub hash: TokenHash,
    /// What it grants.
    pub scopes: Scopes,
    /// What people noted.
    pub notes: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// From when on it is refused; never where it is absent.
    pub expires_at: Option<Timestamp>,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// The token that was made in its place.
    pub successor: Option<ServiceTokenId>,
    /// When it was last used, known to a minute.
    pub last_used_at: Option<Timestamp>,
    /// Its last change.
    pub revision: TokenRevision,
}

named_enum! {
    /// Whether a service token is accepted.
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ServiceTokenStatus"))]
    TokenStatus {
        /// It is accepted.
        Live = "live",
        /// It has expired.
        Expired = "expired",
        /// It was revoked.
        Revoked = "revoked",
    }
}

/// Makes a service token. Its id is also the operation id.
#[derive(Clone, Debug)]
pub struct Create {
    /// The token.
    pub id: ServiceTokenId,
    /// Whom it names.
    pub service: ServiceName,
    /// The hash of its text.
    pub hash: TokenHash,
    /// What it grants.
    pub scopes: Scopes,
    /// What people note.
    pub notes: Option<String>,
    /// How long it lives; for good where it is absent.
    pub life: Option<Duration>,
    /// Who orders it.
    pub by: Actor,
}

/// Revokes a service token for good.
#[derive(Clone, Debug)]
pub struct Revoke {
    /// The token.
    pub id: ServiceTokenId,
    /// Under which the audit log names it.
    pub operation: OperationId,
    /// Who orders it.
    pub by: Actor,
}

/// Makes a token in place of another, which goes on counting for a while. The id of the new one is also the operation id.
#[derive(Clone, Debug)]
pub struct Rotate {
    /// The token that is replaced.
    pub of: ServiceTokenId,
    /// The new one.
    pub id: ServiceTokenId,
    /// The hash of the new one.
    pub hash: TokenHash,
    /// How long the old one still counts.
    pub overlap: Duration,
    /// How long the new one lives; as long as the old one was given where it is absent.
    pub life: Option<Duration>,
    /// Who orders it.
    pub by: Actor,
}

/// Why a token cannot be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotateRefusal {
    /// It no longer lets anybody in.
    Ended(TokenStatus),
    /// It has a successor already: that is the one to rotate.
    Rotated(ServiceTokenId),
}

impl ServiceToken {
    /// The token that is made at `now`. Its revision is for the store to set.
    pub fn new(create: Create, now: Timestamp) -> Self {
        Self {
            id: create.id,
            service: create.service,
            hash: create.hash,
            scopes: create.scopes,
            notes: create.notes,
            created_at: now,
            expires_at: create.life.map(|life| now + life),
            revoked_at: None,
            successor: None,
            last_used_at: None,
            revision: TokenRevision::default(),
        }
    }

    /// How it stands at `now`.
    pub fn status_at(&self, now: Timestamp) -> TokenStatus {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => TokenStatus::Revoked,
            (None, Some(end)) if end <= now => TokenStatus::Expired,
            _ => TokenStatus::Live,
        }
    }

    /// What rotating it makes of it, and the new token: same service, scopes and notes. Revisions are for the store to set.
    ///
    /// # Errors
    /// It has ended, or was rotated before.
    pub fn rotated(&self, rotate: &Rotate, now: Timestamp) -> Result<(Self, Self), RotateRefusal> {
        if let Some(successor) = self.successor {
            return Err(RotateRefusal::Rotated(successor));
        }
        if self.status_at(now) != TokenStatus::Live {
            return Err(RotateRefusal::Ended(self.status_at(now)));
        }
        let end = now + rotate.overlap;
        let given = self.expires_at.map(|until| until.since(self.created_at));
        let new = Self {
            id: rotate.id,
            hash: rotate.hash,
            created_at: now,
            expires_at: rotate.life.or(given).map(|life| now + life),
            last_used_at: None,
            ..self.clone()
        };
        let old = Self {
            expires_at: Some(self.expires_at.map_or(end, |until| until.min(end))),
            successor: Some(rotate.id),
            ..self.clone()
        };
        Ok((old, new))
    }
}

fn row(
    id: OperationId,
    at: Timestamp,
    actor: &Actor,
    action: AuditAction,
    token: &ServiceToken,
    details: Value,
) -> AuditRow {
    AuditRow { id, at, actor: actor.clone(), action, subject: token.service.to_string(), details }
}

/// The id of the new token is that of the operation.
fn operation(id: ServiceTokenId) -> OperationId {
    OperationId::from_bytes(*id.as_bytes())
}

impl Create {
    /// The row of this order, which made that token.
    pub fn to_audit_row(&self, made: &ServiceToken) -> AuditRow {
        let details = json!({ "token": made.id, "scopes": made.scopes, "expires_at": made.expires_at });
        row(operation(self.id), made.created_at, &self.by, AuditAction::TokenCreated, made, details)
    }
}

impl Rotate {
    /// The row of this order, which made `new` in place of `old`.
    pub fn to_audit_row(&self, old: &ServiceToken, new: &ServiceToken) -> AuditRow {
        let details = json!({
            "token": new.id,
            "expires_at": new.expires_at,
            "replaces": old.id,
            "replaced_counts_until": old.expires_at,
        });
        row(operation(self.id), new.created_at, &self.by, AuditAction::TokenRotated, new, details)
    }
}

impl Revoke {
    /// The row of this order, which revoked that token at that instant.
    pub fn to_audit_row(&self, revoked: &ServiceToken, at: Timestamp) -> AuditRow {
        let details = json!({ "token": revoked.id });
        row(self.operation, at, &self.by, AuditAction::TokenRevoked, revoked, details)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CREATED: Timestamp = Timestamp::from_secs(1_795_249_800);

    fn id(number: u8) -> ServiceTokenId {
        ServiceTokenId::from_bytes([number; 16])
    }

    fn token(life: Option<u64>) -> ServiceToken {
        ServiceToken {
            id: id(1),
            service: "bot1".parse().unwrap(),
            hash: TokenHash::of(b"1"),
            scopes: "token:acme".parse().unwrap(),
            notes: Some("the bot".into()),
            created_at: CREATED,
            expires_at: life.map(|life| CREATED + Duration::from_secs(life)),
            revoked_at: None,
            successor: None,
            last_used_at: Some(CREATED),
            revision: TokenRevision(3),
        }
    }

    fn rotate(overlap: u64) -> Rotate {
        Rotate {
            of: id(1),
            id: id(2),
            hash: TokenHash::of(b"2"),
            overlap: Duration::from_secs(overlap),
            life: None,
            by: Actor::CommandLine("root@web-1".into()),
        }
    }

    #[test]
    fn a_token_lives_until_its_instant_and_revocation_comes_first() {
        let end = CREATED + Duration::from_secs(10);
        assert_eq!(token(Some(10)).status_at(end - Duration::from_micros(1)), TokenStatus::Live);
        assert_eq!(token(Some(10)).status_at(end), TokenStatus::Expired);
        assert_eq!(token(None).status_at(end), TokenStatus::Live);
        let revoked = ServiceToken { revoked_at: Some(CREATED), ..token(Some(10)) };
        assert_eq!(revoked.status_at(end), TokenStatus::Revoked);
    }

    #[test]
    fn a_rotation_keeps_whom_and_what_and_gives_the_same_life_again() {
        let now = CREATED + Duration::from_mins(1);
        let (old, new) = token(Some(100)).rotated(&rotate(10), now).unwrap();
        assert_eq!(
            (new.id, &new.service, &new.scopes, &new.notes),
            (id(2), &old.service, &old.scopes, &old.notes)
        );
        assert_eq!((new.created_at, new.expires_at), (now, Some(now + Duration::from_secs(100))));
        assert_eq!((new.last_used_at, new.successor), (None, None));
        assert_eq!((old.expires_at, old.successor), (Some(now + Duration::from_secs(10)), Some(id(2))));
        assert_eq!(token(None).rotated(&rotate(10), now).unwrap().1.expires_at, None);
    }

    #[test]
    fn what_has_ended_or_was_rotated_is_not_rotated() {
        let late = CREATED + Duration::from_secs(100);
        assert_eq!(
            token(Some(10)).rotated(&rotate(1), late),
            Err(RotateRefusal::Ended(TokenStatus::Expired))
        );
        let revoked = ServiceToken { revoked_at: Some(CREATED), ..token(None) };
        assert_eq!(revoked.rotated(&rotate(1), late), Err(RotateRefusal::Ended(TokenStatus::Revoked)));
        let (old, _) = token(None).rotated(&rotate(1_000), late).unwrap();
        assert_eq!(old.rotated(&rotate(1), late), Err(RotateRefusal::Rotated(id(2))));
    }

    proptest! {
        #[test]
        fn a_rotation_never_lengthens_the_old_token_and_one_of_both_always_counts(
            life in proptest::option::of(61_u64..1_000), overlap in 0_u64..1_000, at in 0_u64..60, look in 0_u64..1_000
        ) {
            let before = token(life);
            let now = CREATED + Duration::from_secs(at);
            let (old, new) = before.rotated(&rotate(overlap), now).unwrap();
            let later = now + Duration::from_secs(look);
            if before.status_at(later) != TokenStatus::Live {
                prop_assert_ne!(old.status_at(later), TokenStatus::Live);
            }
            let lives = old.status_at(later) == TokenStatus::Live || new.status_at(later) == TokenStatus::Live;
            prop_assert!(lives || before.status_at(later) != TokenStatus::Live);
            prop_assert_eq!(old.status_at(now) == TokenStatus::Live, overlap > 0);
        }
    }
}
