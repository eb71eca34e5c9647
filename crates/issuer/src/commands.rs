//! Creates, rotates and revokes service tokens. A change takes effect in this process at once.

use std::time::Duration;

use jeton_core::access::{
    API_KEY_SERVICE, Create, CreateAnswer, Revoke, Rotate, RotateAnswer, Scopes, ServiceName, ServiceToken,
    ServiceTokenId, TokenHash, raw,
};
use jeton_core::audit::{Actor, AuditFilter, AuditRow};
use jeton_core::id::OperationId;
use jeton_core::keep::ports::StoreError;
use jeton_core::secret::Secret;
use tokio::time::sleep;

use crate::access::Access;
use crate::error::TokenCommandError;

/// The longest notes, in characters.
const MAX_NOTES: usize = 500;

/// How often a command is sent to the store before its error is passed on.
const ATTEMPTS: usize = 3;

/// How long between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// A service token to create.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The service that it names.
    pub service: ServiceName,
    /// What it grants. Where it is absent: what the environment grants the service with this `hash`, else nothing.
    pub scopes: Option<Scopes>,
    /// Notes for people, of at most 500 characters.
    pub notes: Option<String>,
    /// How long it lives; without end where it is absent.
    pub life: Option<Duration>,
    /// The hash of a raw token that its holder has already; a raw token is generated where it is absent.
    pub hash: Option<TokenHash>,
}

/// A service token that was created.
#[derive(Debug)]
pub struct Issued {
    /// Its row.
    pub token: ServiceToken,
    /// Its text, which is stored nowhere; absent where its holder has it already.
    pub raw: Option<Secret>,
}

/// A service token that was rotated.
#[derive(Debug)]
pub struct Rotated {
    /// The replaced token, which is accepted until its `expires_at`.
    pub old: ServiceToken,
    /// The new one.
    pub new: Issued,
}

impl Access {
    /// Creates a service token, with a row in the audit log.
    ///
    /// # Errors
    /// The name is that of the API key, the notes are too long, the hash is taken, or the store fails.
    pub async fn create(&self, new: NewToken, by: &Actor) -> Result<Issued, TokenCommandError> {
        if new.service.as_str() == API_KEY_SERVICE {
            return Err(TokenCommandError::ReservedName);
        }
        if new.notes.as_ref().is_some_and(|notes| notes.chars().count() > MAX_NOTES) {
            return Err(TokenCommandError::NotesTooLong { max: MAX_NOTES });
        }
        let (raw, hash) = if let Some(hash) = new.hash {
            (None, hash)
        } else {
            let (raw, hash) = raw::generate_service_token(&*self.shared.entropy);
            (Some(raw), hash)
        };
        let NewToken { service, scopes, notes, life, .. } = new;
        let scopes = scopes.unwrap_or_else(|| self.shared.environment.scopes_of(&hash));
        let by = by.clone();
        let create = Create { id: self.new_id(), service, hash, scopes, notes, life, by };
        match with_retries(|| self.shared.store.create_token(create.clone())).await? {
            CreateAnswer::Taken(id) => Err(TokenCommandError::HashTaken { id }),
            CreateAnswer::Created(token) => {
                self.shared.cache.insert((*token).clone());
                tracing::info!(service = %token.service, id = %token.id, scopes = %token.scopes, by = %create.by, "a service token was created");
                Ok(Issued { token: *token, raw })
            }
        }
    }

    /// Creates a token in place of another, which is accepted for `overlap` more. The new one lives for `life`, or as long as the
    /// old one lived.
    ///
    /// # Errors
    /// There is no such token, it has ended or was rotated before, or the store fails.
    pub async fn rotate(
        &self,
        of: ServiceTokenId,
        overlap: Duration,
        life: Option<Duration>,
        by: &Actor,
    ) -> Result<Rotated, TokenCommandError> {
        let (raw, hash) = raw::generate_service_token(&*self.shared.entropy);
        let rotate = Rotate { of, id: self.new_id(), hash, overlap, life, by: by.clone() };
        match with_retries(|| self.shared.store.rotate_token(rotate.clone())).await? {
            RotateAnswer::Unknown => Err(TokenCommandError::Unknown { id: of }),
            RotateAnswer::Refused(refusal) => Err(TokenCommandError::NotRotatable { id: of, refusal }),
            RotateAnswer::Rotated { old, new } => {
                // The new one first: a caller that uses it already must never be refused.
                self.shared.cache.insert((*new).clone());
                self.shared.cache.insert((*old).clone());
                tracing::info!(service = %new.service, id = %old.id, successor = %new.id, %by, "a service token was rotated");
                Ok(Rotated { old: *old, new: Issued { token: *new, raw: Some(raw) } })
            }
        }
    }

    /// Revokes a token for good; doing it again changes nothing.
    ///
    /// # Errors
    /// There is no such token, or the store fails: then it is not known whether the token is revoked; repeat the command.
    pub async fn revoke(&self, id: ServiceTokenId, by: &Actor) -> Result<ServiceToken, TokenCommandError> {
        let operation = OperationId::generate(self.shared.clock.now(), &*self.shared.entropy);
        let revoke = Revoke { id, operation, by: by.clone() };
        let revoked = with_retries(|| self.shared.store.revoke_token(revoke.clone())).await?;
        let token = revoked.ok_or(TokenCommandError::Unknown { id })?;
        self.shared.cache.insert(token.clone());
        tracing::info!(service = %token.service, id = %token.id, %by, "a service token was revoked");
        Ok(token)
    }

    /// Up to `limit` tokens after `after`, the oldest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        self.shared.store.list_tokens(after, limit).await
    }

    /// Up to `limit` rows of the audit log, newest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list_audit_rows(
        &self,
        filter: AuditFilter,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        self.shared.store.list_audit_rows(filter, limit).await
    }

    /// The tokens of one service, the oldest first, from the cache.
    pub fn list_of(&self, service: &ServiceName) -> Vec<ServiceToken> {
        self.shared.cache.list_of(service)
    }

    fn new_id(&self) -> ServiceTokenId {
        ServiceTokenId::generate(self.shared.clock.now(), &*self.shared.entropy)
    }
}

/// Sends a command again while its outcome is not known: the store finds it by its id and repeats its first answer. A rotation
/// whose answer was lost would otherwise leave the service with a token that ends and without its successor.
async fn with_retries<T, F: Future<Output = Result<T, StoreError>>>(
    send: impl Fn() -> F,
) -> Result<T, StoreError> {
    for _ in 1..ATTEMPTS {
        match send().await {
            Err(error) if error.is_transient() => sleep(RETRY_DELAY).await,
            answer => return answer,
        }
    }
    send().await
}
