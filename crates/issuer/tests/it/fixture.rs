//! One database and any number of processes on it, each with a store that can fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use async_trait::async_trait;
use jeton_core::access::{
    Create, CreateAnswer, Revoke, Rotate, RotateAnswer, ServiceToken, ServiceTokenId, ServiceTokenStore,
    TokenHash, TokenRevision,
};
use jeton_core::audit::{Actor, AuditFilter, AuditLog, AuditRow};
use jeton_core::entropy::SystemEntropy;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::Timestamp;
use jeton_issuer::{Access, Environment, Issued, NewToken, SYNC_PERIOD, Settings};
use jeton_store::ServerStore;
use jeton_store::sqlite::faults::NoSqliteHooks;
use jeton_testkit::OffsetClock;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use crate::stores::{Database, Kept};

pub(crate) const API_KEY: &str = "the-api-key";

/// A store that counts its reads, and can be down, hang, and lose answers.
pub(crate) struct FlakyStore {
    store: Kept,
    pub(crate) down: AtomicBool,
    /// Writes never end.
    pub(crate) hangs: AtomicBool,
    /// The answers of so many commands to come are lost after they were carried out.
    pub(crate) lost_answers: AtomicU32,
    pub(crate) reads: AtomicUsize,
}

impl FlakyStore {
    fn reachable(&self) -> Result<&dyn ServerStore, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the store is down".into()));
        }
        Ok(&*self.store)
    }

    fn deliver<T>(&self, answer: T) -> Result<T, StoreError> {
        match self.lost_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(StoreError::Unavailable("the answer was lost".into())),
            Err(_) => Ok(answer),
        }
    }
}

#[async_trait]
impl AuditLog for FlakyStore {
    async fn list_audit_rows(&self, filter: AuditFilter, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.reachable()?.list_audit_rows(filter, limit).await
    }
}

#[async_trait]
impl ServiceTokenStore for FlakyStore {
    async fn create_token(&self, create: Create) -> Result<CreateAnswer, StoreError> {
        self.deliver(self.reachable()?.create_token(create).await?)
    }

    async fn rotate_token(&self, rotate: Rotate) -> Result<RotateAnswer, StoreError> {
        self.deliver(self.reachable()?.rotate_token(rotate).await?)
    }

    async fn revoke_token(&self, revoke: Revoke) -> Result<Option<ServiceToken>, StoreError> {
        self.deliver(self.reachable()?.revoke_token(revoke).await?)
    }

    async fn list_tokens(
        &self,
        after: Option<ServiceTokenId>,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        self.reachable()?.list_tokens(after, limit).await
    }

    async fn tokens_changed_since(
        &self,
        seen: TokenRevision,
        limit: usize,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.reachable()?.tokens_changed_since(seen, limit).await
    }

    async fn touch_tokens(&self, used: Vec<(ServiceTokenId, Timestamp)>) -> Result<(), StoreError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.reachable()?.touch_tokens(used).await
    }
}

/// One database and its clock.
pub(crate) struct Fixture {
    pub(crate) clock: Arc<OffsetClock>,
    database: Database,
    _folder: tempfile::TempDir,
}

/// One process on it.
pub(crate) struct Process {
    pub(crate) access: Access,
    pub(crate) store: Arc<FlakyStore>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(folder.path().join("jeton.sqlite")).await;
        Self { clock: Arc::default(), database, _folder: folder }
    }

    /// A database, and a process on it.
    pub(crate) async fn with_process() -> (Self, Process) {
        let fixture = Self::new().await;
        let process = fixture.process().await;
        (fixture, process)
    }

    /// A database, and two processes on it.
    pub(crate) async fn with_processes() -> (Self, Process, Process) {
        let (fixture, one) = Self::with_process().await;
        let two = fixture.process().await;
        (fixture, one, two)
    }

    pub(crate) async fn process(&self) -> Process {
        let store = self.database.open(self.clock.clone(), Arc::new(NoSqliteHooks)).await;
        let (down, hangs, lost_answers, reads) = Default::default();
        let store = Arc::new(FlakyStore { store, down, hangs, lost_answers, reads });
        let (clock, entropy) = (self.clock.clone(), Arc::new(SystemEntropy));
        let access =
            Access::open(store.clone(), environment(), Settings::default(), clock, entropy).await.unwrap();
        Process { access, store }
    }
}

/// The API key, and `bot9` by the hash of `nine`.
fn environment() -> Environment {
    let scopes = "read".parse().unwrap();
    Environment::with_api_key(TokenHash::of(API_KEY.as_bytes())).with_service(
        "bot9".parse().unwrap(),
        TokenHash::of(b"nine"),
        scopes,
    )
}

pub(crate) fn operator() -> Actor {
    Actor::CommandLine("operator@test".into())
}

pub(crate) fn new_token(name: &str) -> NewToken {
    NewToken {
        service: name.parse().unwrap(),
        scopes: Some("token:*".parse().unwrap()),
        notes: None,
        life: None,
        hash: None,
    }
}

impl Process {
    /// Creates a token; answers its row and its text.
    pub(crate) async fn create(&self, new: NewToken) -> (ServiceToken, String) {
        let Issued { token, raw } = self.access.create(new, &operator()).await.unwrap();
        (token, raw.map_or(String::new(), |raw| raw.reveal().to_owned()))
    }

    /// The service of a credential, or the code of the refusal.
    pub(crate) async fn service_of(&self, raw: &str) -> Result<String, &'static str> {
        match self.access.verify(raw.as_bytes()).await {
            Ok(caller) => Ok(caller.service().to_string()),
            Err(error) => Err(error.code()),
        }
    }

    pub(crate) fn reads(&self) -> usize {
        self.store.reads.load(Ordering::SeqCst)
    }
}

/// Syncs again and again, as a server does.
pub(crate) fn start_sync(access: &Access) {
    let access = access.clone();
    TaskTracker::new().spawn(async move {
        loop {
            // A failed sync is tried again.
            let _ = access.sync().await;
            sleep(SYNC_PERIOD).await;
        }
    });
}
