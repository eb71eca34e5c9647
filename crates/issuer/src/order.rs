//! Making, rotating and revoking service tokens. What is ordered here counts at once in this process.

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
use crate::error::OrderError;

/// The longest notes, in characters.
const LONGEST_NOTES: usize = 500;

/// How often an order is given before its error is passed on.
const ATTEMPTS: usize = 3;

/// How long between two of them.
const BETWEEN: Duration = Duration::from_millis(100);

/// A service token that is to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whom it names.
    pub service: ServiceName,
    /// What it grants.
    pub scopes: Scopes,
    /// What people note.
    pub notes: Option<String>,
    /// How long it lives; for good where it is absent.
    pub life: Option<Duration>,
    /// The hash of a raw token that its holder has already; one is made where it is absent.
    pub hash: Option<TokenHash>,
}

/// A service token that was made.
#[derive(Debug)]
pub struct Issued {
    /// Its row.
    pub token: ServiceToken,
    /// Its text, which nobody can ever see again; absent where its holder has it already.
    pub raw: Option<Secret>,
}

/// A service token that was rotated.
#[derive(Debug)]
pub struct Rotated {
    /// The token that was replaced; it counts until its `expires_at`.
    pub old: ServiceToken,
    /// The new one.
    pub new: Issued,
}

impl Access {
    /// Makes a service token, and puts on record who ordered it.
    ///
    /// # Errors
    /// The name is that of the API key, the notes are too long, a hash that was given is taken, or the store fails.
    pub async fn create(&self, new: NewToken, by: &Actor) -> Result<Issued, OrderError> {
        if new.service.as_str() == API_KEY_SERVICE {
            return Err(OrderError::Reserved);
        }
        if new.notes.as_ref().is_some_and(|notes| notes.chars().count() > LONGEST_NOTES) {
            return Err(OrderError::LongNotes { most: LONGEST_NOTES });
        }
        let (raw, hash) = if let Some(hash) = new.hash {
            (None, hash)
        } else {
            let (raw, hash) = raw::generate_service_token(&*self.shared.entropy);
            (Some(raw), hash)
        };
        let NewToken { service, scopes, notes, life, .. } = new;
        let by = by.clone();
        let create = Create { id: self.new_id(), service, hash, scopes, notes, life, by };
        match persist(|| self.shared.store.create_token(create.clone())).await? {
            CreateAnswer::Taken(id) => Err(OrderError::Taken { id }),
            CreateAnswer::Created(token) => {
                self.shared.mirror.learn((*token).clone());
                tracing::info!(service = %token.service, id = %token.id, scopes = %token.scopes, by = %create.by, "a service token was made");
                Ok(Issued { token: *token, raw })
            }
        }
    }

    /// Makes a token in place of another, which goes on counting for `overlap`. The new one lives for `life`, or as long as the
    /// old one was given.
    ///
    /// # Errors
    /// There is no such token, it has ended or was rotated before, or the store fails.
    pub async fn rotate(
        &self,
        of: ServiceTokenId,
        overlap: Duration,
        life: Option<Duration>,
        by: &Actor,
    ) -> Result<Rotated, OrderError> {
        let (raw, hash) = raw::generate_service_token(&*self.shared.entropy);
        let rotate = Rotate { of, id: self.new_id(), hash, overlap, life, by: by.clone() };
        match persist(|| self.shared.store.rotate_token(rotate.clone())).await? {
            RotateAnswer::Unknown => Err(OrderError::Unknown { id: of }),
            RotateAnswer::Refused(over) => Err(OrderError::Over { id: of, over }),
            RotateAnswer::Rotated { old, new } => {
                // The new one first: a caller that has it already must not be refused for a moment.
                self.shared.mirror.learn((*new).clone());
                self.shared.mirror.learn((*old).clone());
                tracing::info!(service = %new.service, id = %old.id, successor = %new.id, %by, "a service token was rotated");
                Ok(Rotated { old: *old, new: Issued { token: *new, raw: Some(raw) } })
            }
        }
    }

    /// Revokes a token for good; doing it again changes nothing.
    ///
    /// # Errors
    /// There is no such token, or the store fails: then it is not known whether it is revoked, and the order must be given again.
    pub async fn revoke(&self, id: ServiceTokenId, by: &Actor) -> Result<ServiceToken, OrderError> {
        let operation = OperationId::generate(self.shared.clock.now(), &*self.shared.entropy);
        let revoke = Revoke { id, operation, by: by.clone() };
        let revoked = persist(|| self.shared.store.revoke_token(revoke.clone())).await?;
        let token = revoked.ok_or(OrderError::Unknown { id })?;
        self.shared.mirror.learn(token.clone());
        tracing::info!(service = %token.service, id = %token.id, %by, "a service token is revoked");
        Ok(token)
    }

    /// Up to `limit` tokens after `after`, in the order in which they were made.
    ///
    /// # Errors
    /// The store fails.
    pub async fn tokens(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        self.shared.store.list_tokens(after, limit).await
    }

    /// Up to `limit` acts on record, newest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.shared.store.audit(filter, limit).await
    }

    /// The tokens of one service, the oldest first, as memory has them.
    pub fn tokens_of(&self, service: &ServiceName) -> Vec<ServiceToken> {
        self.shared.mirror.of(service)
    }

    fn new_id(&self) -> ServiceTokenId {
        ServiceTokenId::generate(self.shared.clock.now(), &*self.shared.entropy)
    }
}

/// Gives an order again when its outcome is not known: the store finds it by its id, and answers as it did. A rotation that was
/// carried out unheard would leave its service with a token that ends, and without the one that follows.
async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
    order: impl Fn() -> F,
) -> Result<T, StoreError> {
    for _ in 1..ATTEMPTS {
        match order().await {
            Err(error) if error.is_transient() => sleep(BETWEEN).await,
            answered => return answered,
        }
    }
    order().await
}
