//! One database, any number of processes on it, and a line to it that can be cut.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
use jeton_store::{SqliteOptions, SqliteStore};

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

/// The way to a store. It counts what goes over it, can be cut, and can hang.
pub(crate) struct Line {
    pub(crate) store: SqliteStore,
    pub(crate) cut: AtomicBool,
    /// Writing never ends.
    pub(crate) stuck: AtomicBool,
    pub(crate) looks: AtomicUsize,
}

impl Line {
    fn pass(&self) -> Result<&SqliteStore, StoreError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the line is cut".into()));
        }
        Ok(&self.store)
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
        self.pass()?.create_token(create).await
    }

    async fn rotate_token(&self, rotate: Rotate) -> Result<RotateAnswer, StoreError> {
        self.pass()?.rotate_token(rotate).await
    }

    async fn revoke_token(&self, revoke: Revoke) -> Result<Option<ServiceToken>, StoreError> {
        self.pass()?.revoke_token(revoke).await
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
    path: PathBuf,
    _folder: tempfile::TempDir,
}

/// One process on it.
pub(crate) struct Process {
    pub(crate) access: Access,
    pub(crate) line: Arc<Line>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { clock: Arc::default(), path: folder.path().join("jeton.sqlite"), _folder: folder }
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        SqliteOptions::new(self.clock.clone())
    }

    pub(crate) async fn process(&self) -> Process {
        self.process_with(environment(), self.options()).await
    }

    pub(crate) async fn process_with(&self, environment: Environment, options: SqliteOptions) -> Process {
        let store = SqliteStore::open(&self.path, options).unwrap();
        let (cut, stuck, looks) = Default::default();
        let line = Arc::new(Line { store, cut, stuck, looks });
        let (clock, entropy) = (self.clock.clone(), Arc::new(SystemEntropy));
        let access =
            Access::open(line.clone(), environment, Settings::default(), clock, entropy).await.unwrap();
        Process { access, line }
    }
}

/// What lets in the API key, and `bot9` by the hash of `nine`.
pub(crate) fn environment() -> Environment {
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
