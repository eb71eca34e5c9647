//! What a test works on: a store, a clock that is moved by hand, and the shortest way to say each call.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, ConnectionName, Generation, GrantId, NodeId, OperationId, ProviderName};
use jeton_core::keep::attempt::{Act, Attempt, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Connection, SealedTokens};
use jeton_core::keep::ports::{BeginConnect, Commit, Connect, Fail, FailureEffect, StoreError};
use jeton_core::seal::Fingerprint;
use jeton_core::time::{Clock, Timestamp};

use crate::{ServerStore, Store};

/// What a test comes to: it panics where a rule is broken, and passes on what the store could not do.
pub type TestResult = Result<(), StoreError>;

/// How long the leases of the tests run.
pub(super) const LEASE: Duration = Duration::from_secs(45);

/// How long the connections of the tests cool down.
pub(super) const COOLDOWN: Duration = Duration::from_secs(5);

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct SteppedClock {
    civil: AtomicI64,
    /// How far the civil clock was set, in all.
    set: AtomicI64,
}

impl SteppedClock {
    /// Moves the clock forward: time passes.
    pub fn step(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        self.civil.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the civil clock: it shows so many seconds more, and no time passes.
    pub fn set(&self, secs: i64) {
        let micros = secs.saturating_mul(1_000_000);
        self.civil.fetch_add(micros, Ordering::SeqCst);
        self.set.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Default for SteppedClock {
    /// Some day in November 2026.
    fn default() -> Self {
        Self {
            civil: AtomicI64::new(Timestamp::from_secs(1_795_249_800).as_micros()),
            set: AtomicI64::new(0),
        }
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.civil.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Duration {
        let counted = self.civil.load(Ordering::SeqCst) - self.set.load(Ordering::SeqCst);
        Duration::from_micros(counted.unsigned_abs())
    }
}

/// A store that was empty when the test began.
pub struct Fixture<S: ?Sized + 'static = dyn Store> {
    /// The store.
    pub store: Arc<S>,
    /// Its clock.
    pub clock: Arc<SteppedClock>,
    open_again: Box<dyn Fn() -> BoxFuture<'static, Arc<S>> + Send + Sync>,
    ids: AtomicU64,
    _holds: Box<dyn Any + Send + Sync>,
}

/// One that keeps service tokens and the audit log too.
pub type ServerFixture = Fixture<dyn ServerStore>;

impl<S: ?Sized> fmt::Debug for Fixture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl<S: Store + ?Sized> Fixture<S> {
    /// `open` opens the database, and again as another process would; `holds` is kept until the end, such as the folder
    /// that the database stands in.
    pub async fn open<F: Future<Output = Arc<S>> + Send + 'static>(
        clock: Arc<SteppedClock>,
        open: impl Fn() -> F + Send + Sync + 'static,
        holds: impl Any + Send + Sync,
    ) -> Self {
        Self {
            store: open().await,
            clock,
            open_again: Box::new(move || Box::pin(open())),
            ids: AtomicU64::new(1),
            _holds: Box::new(holds),
        }
    }

    /// The same database, opened by another process.
    pub(super) async fn another_process(&self) -> Arc<S> {
        (self.open_again)().await
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn next_id(&self) -> [u8; 16] {
        u128::from(self.ids.fetch_add(1, Ordering::SeqCst)).to_be_bytes()
    }

    pub(super) fn attempt_id(&self) -> AttemptId {
        AttemptId::from_bytes(self.next_id())
    }

    pub(super) fn operation_id(&self) -> OperationId {
        OperationId::from_bytes(self.next_id())
    }

    pub(super) fn grant_id(&self) -> GrantId {
        GrantId::from_bytes(self.next_id())
    }

    /// A token set that is told from others by its number.
    pub(super) fn tokens(&self, number: u8) -> SealedTokens {
        SealedTokens {
            access: Some(vec![number, 1]),
            refresh: Some(vec![number, 2]),
            extras: None,
            access_fingerprint: Some(access_print(number)),
            refresh_fingerprint: Some(refresh_print(number)),
            obtained_at: self.now(),
            access_expires_at: Some(self.now() + Duration::from_hours(1)),
            refresh_expires_at: None,
            scope: Some(format!("read write-{number}")),
        }
    }

    /// A connect of the name that puts in token set `number`.
    pub(super) fn connect(&self, connection: &str, number: u8, generation: Generation) -> Connect {
        Connect {
            connection: name(connection),
            provider: provider("strict"),
            grant: self.grant_id(),
            generation,
            tokens: Some(self.tokens(number)),
            single_use: true,
            due_at: self.now() + Duration::from_mins(50),
            attempt: self.attempt_id(),
            node: node(1),
            by: Some(operator()),
        }
    }

    /// The beginning of a connect that spends the refresh token of token set `number` first.
    pub(super) fn begin_connect(&self, connection: &str, number: u8) -> BeginConnect {
        BeginConnect {
            connection: name(connection),
            provider: provider("strict"),
            attempt: self.attempt_id(),
            grant: self.grant_id(),
            node: node(1),
            refresh: refresh_print(number),
            single_use: true,
            lease_ttl: LEASE,
            by: operator(),
        }
    }

    /// A connection that is there and live, with token set `number` in generation 1.
    pub(super) async fn connected(&self, connection: &str, number: u8) -> Result<Connection, StoreError> {
        self.store.connect(self.connect(connection, number, Generation(0))).await?;
        self.find(connection).await
    }

    pub(super) async fn find(&self, connection: &str) -> Result<Connection, StoreError> {
        Ok(self.store.find(&name(connection)).await?.expect("the test has connected it"))
    }

    pub(super) async fn attempt(&self, id: AttemptId) -> Result<Attempt, StoreError> {
        Ok(self.store.find_attempt(id).await?.expect("the test has made this attempt"))
    }

    /// A claim that redeems what the row holds.
    pub(super) fn claim(&self, row: &Connection) -> Claim {
        Claim {
            connection: row.name.clone(),
            attempt: self.attempt_id(),
            node: node(1),
            trigger: Trigger::Automatic,
            asked_by: None,
            act: Act::Redeem,
            generation: row.generation,
            spends: row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
            lease_ttl: LEASE,
            through_cooldown: false,
            recovers: None,
        }
    }

    /// Makes a claim that must win.
    pub(super) async fn won(&self, claim: Claim) -> Result<Claim, StoreError> {
        let answer = self.store.claim(claim.clone()).await?;
        assert!(matches!(answer, ClaimAnswer::Won { .. }), "{answer:?}");
        Ok(claim)
    }

    /// The connection `acme` with token set 1, and the claim that holds it.
    pub(super) async fn claimed(&self) -> Result<(Connection, Claim), StoreError> {
        let row = self.connected("acme", 1).await?;
        let claim = self.won(self.claim(&row)).await?;
        Ok((row, claim))
    }

    /// The commit of what a claim brought.
    pub(super) fn commit(&self, claim: &Claim, number: u8) -> Commit {
        Commit {
            connection: claim.connection.clone(),
            attempt: claim.attempt,
            generation: claim.generation,
            replaces: claim.spends,
            tokens: self.tokens(number),
            due_at: Some(self.now() + Duration::from_mins(50)),
            orphan: None,
            message: None,
        }
    }
}

/// The failure of a claim.
pub(super) fn failure(claim: &Claim, effect: FailureEffect, code: &str) -> Fail {
    Fail {
        connection: claim.connection.clone(),
        attempt: claim.attempt,
        generation: claim.generation,
        effect,
        code: code.to_owned(),
        http_status: Some(400),
        message: "The provider refused.".into(),
        provider_message: Some("the account is closed".into()),
        cooldown: COOLDOWN,
        due_in: Some(Duration::from_secs(30)),
        kept_reply: None,
    }
}

pub(super) fn name(name: &str) -> ConnectionName {
    name.parse().expect("the names of the tests are valid")
}

pub(super) fn provider(name: &str) -> ProviderName {
    name.parse().expect("the names of the tests are valid")
}

/// Who orders what people order.
pub(super) fn operator() -> Actor {
    Actor::parse("service:operator").expect("it is a name")
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// Names the access token of a token set.
pub(super) fn access_print(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
}

/// Names the refresh token of a token set.
pub(super) fn refresh_print(number: u8) -> Fingerprint {
    Fingerprint::from_bytes([number, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
}
