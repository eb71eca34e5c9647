//! One database, any number of processes on it, and a line to it that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jeton_core::access::{
    Create, CreateAnswer, Revoke, Rotate, RotateAnswer, ServiceToken, ServiceTokenId, ServiceTokenStore,
    TokenHash, TokenRevision,
};
use jeton_core::audit::{Actor, AuditFilter, AuditLog, AuditRow};
use jeton_core::entropy::SystemEntropy;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_issuer::{Access, Environment, Issued, NewToken, Settings};
use jeton_store::ServerStore;
use jeton_store::sqlite::faults::NoSqliteHooks;

use crate::stores::{Database, Kept};

pub(crate) const API_KEY: &str = "the-key-of-this-house";

/// A clock that can be moved ahead.
#[derive(Debug, Default)]
pub(crate) struct Ahead(AtomicU64);

impl Ahead {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    fn ahead(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.ahead()
    }

    fn uptime(&self) -> Duration {
        SystemClock.uptime() + self.ahead()
    }
}

/// The way to a store. It counts what goes over it, can be cut, can hang, and can lose answers.
pub(crate) struct Line {
    store: Kept,
    pub(crate) cut: AtomicBool,
    /// Writing never ends.
    pub(crate) stuck: AtomicBool,
    /// Of so many orders to come the store carries out each, and nobody hears of it.
    pub(crate) unheard: AtomicU32,
    pub(crate) looks: AtomicUsize,
}

impl Line {
    fn pass(&self) -> Result<&dyn ServerStore, StoreError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the line is cut".into()));
        }
        Ok(&*self.store)
    }

    fn answered<T>(&self, answer: T) -> Result<T, StoreError> {
        match self.unheard.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(StoreError::Unavailable("the answer was lost".into())),
            Err(_) => Ok(answer),
        }
    }
}

#[async_trait]
impl AuditLog for Line {
    async fn audit(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.pass()?.audit(filter, limit).await
    }
}

#[async_trait]
impl ServiceTokenStore for Line {
    async fn create_token(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        self.answered(self.pass()?.create_token(create).await?)
    }

    async fn rotate_token(&self, rotate: Rotate) -> Result<RotateAnswer, StoreError> {
        self.answered(self.pass()?.rotate_token(rotate).await?)
    }

    async fn revoke_token(&self, revoke: Revoke) -> Result<Option<ServiceToken>, StoreError> {
        self.answered(self.pass()?.revoke_token(revoke).await?)
    }

    async fn list_tokens(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        self.pass()?.list_tokens(after, limit).await
    }

    async fn tokens_changed_since(
        &self,
        seen: TokenRevision,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.pass()?.tokens_changed_since(seen, limit).await
    }

    async fn touch_tokens(&self, used: Vec<(ServiceTokenId, Timestamp)>) -> Result<(), StoreError> {
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.pass()?.touch_tokens(used).await
    }
}

/// One database and its clock.
pub(crate) struct Scene {
    pub(crate) clock: Arc<Ahead>,
    database: Database,
    _folder: tempfile::TempDir,
}

/// One process on it.
pub(crate) struct Process {
    pub(crate) access: Access,
    pub(crate) line: Arc<Line>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(folder.path().join("jeton.sqlite")).await;
        Self { clock: Arc::default(), database, _folder: folder }
    }

    pub(crate) async fn process(&self) -> Process {
        let store = self.database.open(self.clock.clone(), Arc::new(NoSqliteHooks)).await;
        let (cut, stuck, unheard, looks) = Default::default();
        let line = Arc::new(Line { store, cut, stuck, unheard, looks });
        let (clock, entropy) = (self.clock.clone(), Arc::new(SystemEntropy));
        let access =
            Access::open(line.clone(), environment(), Settings::default(), clock, entropy).await.unwrap();
        Process { access, line }
    }
}

/// What lets in the API key, and `bot9` by the hash of `nine`.
fn environment() -> Environment {
    let scopes = "read".parse().unwrap();
    Environment::with_api_key(TokenHash::of(API_KEY.as_bytes())).and(
        "bot9".parse().unwrap(),
        TokenHash::of(b"nine"),
        scopes,
    )
}

/// Who orders what tests order.
pub(crate) fn operator() -> Actor {
    Actor::CommandLine("operator@test".into())
}

pub(crate) fn wanted(name: &str) -> NewToken {
    NewToken {
        service: name.parse().unwrap(),
        scopes: "token:*".parse().unwrap(),
        notes: None,
        life: None,
        hash: None,
    }
}

impl Process {
    /// Makes a token; gives its row and its text.
    pub(crate) async fn create(&self, new: NewToken) -> (ServiceToken, String) {
        let Issued { token, raw } = self.access.create(new, &operator()).await.unwrap();
        (token, raw.map_or(String::new(), |raw| raw.reveal().to_owned()))
    }

    /// Whom a credential lets in, or the code of the refusal.
    pub(crate) async fn admits(&self, raw: &str) -> Result<String, &'static str> {
        match self.access.verify(raw.as_bytes()).await {
            Ok(caller) => Ok(caller.service().to_string()),
            Err(error) => Err(error.code()),
        }
    }

    pub(crate) fn looks(&self) -> usize {
        self.line.looks.load(Ordering::SeqCst)
    }
}
