//! Commit is a compare-and-set; what comes too late is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, Generation, NodeId};
use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{SealedTokens, access_context, refresh_context};
use jeton_core::keep::ports::{Commit, CommitAnswer, OperatorCommand, StoreError};
use jeton_core::secret::Secret;
use jeton_core::time::Clock as _;
use jeton_emulator::Fault;
use jeton_keeper::{Connected, Settings, TokenError};
use jeton_store::sqlite::faults::{NoSqliteHooks, SqliteHooks};
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, confirming, graceful, short_settings};
use crate::process::Process;
use crate::stores::Database;

/// The machine sleeps while a redeem is under way, and its lease lapses.
async fn sleep_through_the_lease(fixture: &Fixture) {
    sleep(Duration::from_millis(800)).await;
    fixture.clock.advance(short_settings().lease);
}

#[tokio::test]
async fn a_lapsed_lease_does_not_refuse_a_commit() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(1_600))]);
    let other = fixture.process().await;
    let watch = async {
        sleep_through_the_lease(&fixture).await;
        assert!(matches!(other.token(ACME).await, Err(TokenError::Interrupted { .. })));
    };
    let (token, ()) = tokio::join!(process.token(ACME), watch);
    let token = token.unwrap();
    assert_eq!(other.token(ACME).await.unwrap().access, token.access);
    let row = process.row(ACME).await;
    assert_eq!((row.generation.0, row.open_attempt, row.orphans.len()), (2, None, 0));
    assert_eq!(process.last_attempt(ACME).await.status, AttemptStatus::Success);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_reply_that_a_recovery_has_overtaken_is_kept_as_an_orphan() {
    let emulator = jeton_emulator::Settings { reuse_grace: Duration::from_secs(10), ..Default::default() };
    let policy = graceful(Duration::from_secs(8));
    let fixture = Fixture::start(Options { emulator, policy, ..Options::default() }).await;
    let slow = fixture.process().await;
    let quick = fixture.process().await;
    slow.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(1_600))]);
    let recover = async {
        sleep_through_the_lease(&fixture).await;
        quick.token(ACME).await.unwrap()
    };
    let (late, recovered) = tokio::join!(slow.token(ACME), recover);
    assert_eq!(late.unwrap().access, recovered.access, "the loser gives what the winner stored");
    while slow.row(ACME).await.orphans.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    let row = slow.row(ACME).await;
    assert_eq!((row.generation.0, row.orphans.len()), (2, 1));
    assert_eq!(row.orphans[0].grant, row.grant);
    let attempts = slow.attempts(ACME).await;
    assert_eq!(attempts[0].code.as_deref(), Some("stray"));
    assert_eq!(row.orphans[0].attempt, attempts[0].id);
}

#[tokio::test]
async fn a_reply_for_a_grant_that_was_replaced_is_kept_and_never_used() {
    let policy = confirming(Duration::ZERO);
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(900))]);
    let second = fixture.expired_grant();
    let replace = async {
        fixture.until_accepted(1).await;
        process.connect(ACME, second.clone()).await;
    };
    let (token, ()) = tokio::join!(process.token(ACME), replace);
    let row = process.row(ACME).await;
    assert_eq!(row.orphans.len(), 1);
    assert_ne!(row.orphans[0].grant, row.grant);
    assert!(row.usable_orphan().is_none());
    let grants = fixture.emulator.grants();
    assert_eq!((grants[0].generation, grants[1].generation), (1, 1), "each token was spent once");
    assert!(fixture.emulator.accepts(token.unwrap().access.reveal()));

    // The second grant dies, and the reply for the first is still no answer.
    let held = fixture.held_refresh(&process, ACME).await.unwrap();
    assert!(fixture.emulator.revoke_grant(held.reveal()));
    assert!(matches!(process.force(ACME).await, Err(TokenError::Dead { .. })));
    assert_eq!(process.row(ACME).await.orphans.len(), 1);
}

#[tokio::test]
async fn a_reply_for_a_grant_that_was_given_up_revives_nothing() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(900))]);
    let give_up = async {
        fixture.until_accepted(1).await;
        process.administer(ACME, OperatorCommand::Disconnect).await.unwrap();
    };
    let (token, ()) = tokio::join!(process.token(ACME), give_up);
    assert!(matches!(token, Err(TokenError::NotConnected { .. })), "{token:?}");
    let row = process.row(ACME).await;
    assert!(row.tokens.is_none() && row.usable_orphan().is_none());
}

/// Spends `refresh` at the provider as somebody does who keeps the reply to himself.
async fn redeem_elsewhere(fixture: &Fixture, refresh: Secret) -> (Secret, Secret) {
    let elsewhere = crate::fixture::Place {
        database: Database::new(fixture.home.path().join("elsewhere.db")).await,
        data_dir: fixture.home.path().join("elsewhere"),
        key: fixture.place().key,
    };
    let process = fixture
        .process_at(&elsewhere, short_settings(), Arc::new(NoSqliteHooks))
        .await
        .expect("the fixture is ready");
    let grant = jeton_keeper::Grant { refresh: Some(refresh), ..jeton_keeper::Grant::default() };
    process.connect(ACME, grant).await;
    let token = process.token(ACME).await.expect("the fixture is ready");
    (token.access, fixture.held_refresh(&process, ACME).await.expect("the fixture is ready"))
}

/// Tokens as the keeper seals them.
async fn sealed(
    fixture: &Fixture,
    process: &Process,
    access: &Secret,
    refresh: &Secret,
    life: Duration,
) -> SealedTokens {
    let sealer = fixture.sealer(process).await;
    let row = process.row(ACME).await;
    let generation: Generation = row.generation.next();
    let now = fixture.clock.now();
    let seal = |secret: &Secret, place| Some(sealer.seal(secret.reveal().as_bytes(), place, &SystemEntropy));
    SealedTokens {
        access: seal(access, access_context(&row.name, generation)),
        refresh: seal(refresh, refresh_context(&row.name, generation)),
        extras: None,
        access_fingerprint: Some(sealer.fingerprint(access)),
        refresh_fingerprint: Some(sealer.fingerprint(refresh)),
        obtained_at: now,
        access_expires_at: Some(now + life),
        refresh_expires_at: None,
        scope: None,
    }
}

async fn claim(fixture: &Fixture, process: &Process, recovers: Option<AttemptId>) -> AttemptId {
    let row = process.row(ACME).await;
    let attempt = AttemptId::generate(fixture.clock.now(), &SystemEntropy);
    let claim = Claim {
        connection: row.name.clone(),
        attempt,
        node: NodeId::generate(fixture.clock.now(), &SystemEntropy),
        trigger: Trigger::Automatic,
        asked_by: None,
        act: Act::Redeem,
        generation: row.generation,
        spends: row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
        lease_ttl: Duration::from_secs(2),
        through_cooldown: true,
        recovers,
    };
    let answer = process.store.claim(claim).await.expect("the fixture is ready");
    assert!(matches!(answer, ClaimAnswer::Won { .. }), "{answer:?}");
    attempt
}

#[tokio::test]
async fn an_orphan_of_the_same_grant_is_used_before_the_grant_is_declared_dead() {
    let (fixture, process) = Fixture::usual().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    let before = process.row(ACME).await;
    let replaces = before.tokens.as_ref().unwrap().refresh_fingerprint;

    // One process redeems and is slow to say so; another recovers it meanwhile, with a reply that is worth nothing.
    let slow = claim(&fixture, &process, None).await;
    let (access, refresh) = redeem_elsewhere(&fixture, grant.refresh.unwrap()).await;
    let late = sealed(&fixture, &process, &access, &refresh, Duration::from_mins(1)).await;
    let worthless = Secret::new("a-refresh-token-that-the-provider-does-not-know");
    let useless =
        sealed(&fixture, &process, &"useless-access".into(), &worthless, Duration::from_secs(1)).await;
    fixture.clock.advance(Duration::from_secs(5));
    let quick = claim(&fixture, &process, Some(slow)).await;
    let commit = |attempt, tokens| Commit {
        connection: before.name.clone(),
        attempt,
        generation: before.generation,
        replaces,
        tokens,
        due_at: None,
        orphan: None,
        message: None,
    };
    let first = process.store.commit(commit(quick, useless)).await.unwrap();
    assert_eq!(first, CommitAnswer::Committed { generation: Generation(2) });
    let second = process.store.commit(commit(slow, late)).await.unwrap();
    assert_eq!(second, CommitAnswer::Orphaned { generation: Generation(2) });

    let token = process.token(ACME).await.unwrap();
    assert_eq!(token.access, access);
    let row = process.row(ACME).await;
    assert!(row.orphans.is_empty());
    let attempts = process.attempts(ACME).await;
    assert_eq!(attempts.last().unwrap().act, Act::Orphan);
    // And the chain goes on from it.
    process.force(ACME).await.unwrap();
    assert_eq!(fixture.emulator.stats().reuse_kills, 0);
}

#[tokio::test]
async fn connecting_a_token_that_was_spent_is_refused_and_connecting_the_same_one_changes_nothing() {
    let (fixture, process) = Fixture::usual().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    assert_eq!(process.connect(ACME, grant.clone()).await, Connected::Unchanged);
    process.token(ACME).await.unwrap();
    let refused = process.try_connect(ACME, grant).await.unwrap_err();
    let attempt = process.last_attempt(ACME).await.id;
    assert!(
        matches!(&refused, TokenError::GrantRefused { message, .. } if message.contains(&attempt.to_string()))
    );
    assert!(process.token(ACME).await.is_ok());
    assert_eq!(process.row(ACME).await.generation.0, 2);
}

#[tokio::test]
async fn a_token_of_unknown_outcome_cannot_be_connected_again() {
    let (fixture, process) = Fixture::usual().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    assert!(process.token(ACME).await.is_err());
    let again = process.try_connect(ACME, grant).await;
    assert!(matches!(again, Ok(Connected::Unchanged) | Err(TokenError::GrantRefused { .. })), "{again:?}");
    assert!(matches!(process.token(ACME).await, Err(TokenError::Interrupted { .. })));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn expiry_counts_from_the_instant_before_the_request_was_sent() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(700))]);
    let before = fixture.clock.now();
    let token = process.token(ACME).await.unwrap();
    let life = token.expires_at.unwrap().since(before);
    assert!(life < Duration::from_millis(60_500), "{life:?}");
    assert!(token.expires_in.unwrap() < Duration::from_millis(59_350), "{token:?}");
}

/// Says of the next COMMIT, once armed, that nobody knows whether it was done.
#[derive(Debug, Default)]
struct UnknownCommit {
    armed: AtomicBool,
}

impl SqliteHooks for UnknownCommit {
    fn after_commit(&self) -> Result<(), StoreError> {
        if self.armed.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the answer to COMMIT was lost".to_owned()));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_finds_its_own_work_and_not_a_rivals() {
    let fixture = Fixture::start(Options::default()).await;
    let hooks = Arc::new(UnknownCommit::default());
    let process = fixture.process_with(short_settings(), Arc::clone(&hooks) as _).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(300))]);
    let arm = async {
        fixture.until_accepted(1).await;
        hooks.armed.store(true, Ordering::SeqCst);
    };
    let (token, ()) = tokio::join!(process.token(ACME), arm);
    assert!(fixture.emulator.accepts(token.unwrap().access.reveal()));
    let row = process.row(ACME).await;
    assert_eq!((row.generation.0, row.orphans.len(), row.lease), (2, 0, None));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn a_claim_of_unknown_outcome_finds_its_own_lease_and_not_a_rivals() {
    let fixture = Fixture::start(Options::default()).await;
    let hooks = Arc::new(UnknownCommit::default());
    let process = fixture.process_with(short_settings(), Arc::clone(&hooks) as _).await;
    process.connect(ACME, fixture.expired_grant()).await;
    hooks.armed.store(true, Ordering::SeqCst);
    assert!(process.token(ACME).await.is_ok());
    assert_eq!(process.attempts(ACME).await.len(), 1);
    fixture.assert_spent_once();
}

/// Loses every answer to COMMIT while it is on, whether the COMMIT was done or not.
#[derive(Debug, Default)]
struct LostAnswers {
    on: AtomicBool,
    before_it_is_done: bool,
}

impl LostAnswers {
    fn lose(&self, done: bool) -> Result<(), StoreError> {
        if self.on.load(Ordering::SeqCst) && self.before_it_is_done != done {
            return Err(StoreError::Unavailable("the answer to COMMIT was lost".to_owned()));
        }
        Ok(())
    }
}

impl SqliteHooks for LostAnswers {
    fn before_commit(&self) -> Result<(), StoreError> {
        self.lose(false)
    }

    fn after_commit(&self) -> Result<(), StoreError> {
        self.lose(true)
    }
}

#[tokio::test]
async fn a_claim_whose_outcome_stays_unknown_is_taken_back_for_nothing_was_sent() {
    for before_it_is_done in [false, true] {
        let settings = Settings { claim_wait: Duration::from_millis(300), ..short_settings() };
        let fixture = Fixture::start(Options { settings, ..Options::default() }).await;
        let hooks = Arc::new(LostAnswers { before_it_is_done, ..LostAnswers::default() });
        let process = fixture.process_with(fixture.options.settings.clone(), Arc::clone(&hooks) as _).await;
        process.connect(ACME, fixture.expired_grant()).await;
        hooks.on.store(true, Ordering::SeqCst);
        // PostgreSQL is asked again and again before its silence counts.
        let unanswered = process.token_within(ACME, Duration::from_mins(1)).await;
        assert!(matches!(unanswered, Err(TokenError::Store { .. })), "{unanswered:?}");
        assert_eq!(fixture.requests(), 0);
        hooks.on.store(false, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(30);
        while process.row(ACME).await.open_attempt.is_some() {
            assert!(Instant::now() < deadline, "the claim stands: {:?}", process.row(ACME).await);
            sleep(Duration::from_millis(20)).await;
        }
        let codes: Vec<_> = process.attempts(ACME).await.into_iter().map(|attempt| attempt.code).collect();
        let expected = if before_it_is_done { vec![] } else { vec![Some("not_sent".to_owned())] };
        assert_eq!(codes, expected);
        assert!(process.token(ACME).await.is_ok());
        fixture.assert_spent_once();
    }
}
