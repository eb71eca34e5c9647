//! Attempts whose outcome nobody knows, and what follows.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, NodeId};
use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Condition;
use jeton_core::keep::due::LONGEST_CHAIN;
use jeton_core::keep::provider::{PolicyOverrides, Rotation};
use jeton_core::time::Clock as _;
use jeton_emulator::{Fault, FaultKind, RequestOutcome};
use jeton_keeper::{Installation, KeySource, RefreshMode, TokenError};
use jeton_store::sqlite::faults::NoSqliteHooks;
use jeton_testkit::OffsetClock;
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, graceful, holding, short_settings};
use crate::process::Process;

/// The hold where nothing else is said.
const USUAL_HOLD: Duration = Duration::from_mins(1);
/// How long after a refusal it is confirmed where the access token has expired, and nothing else is said.
const CONFIRMATION: Duration = Duration::from_mins(2);

pub(crate) fn assert_interrupted<T: std::fmt::Debug>(answer: &Result<T, TokenError>) {
    assert!(matches!(answer, Err(TokenError::Interrupted { .. })), "{answer:?}");
}

#[tokio::test]
async fn a_reply_lost_after_acceptance_is_held_then_sent_again_and_the_grant_dies_of_the_second_refusal() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    assert_interrupted(&process.token(ACME).await);
    let first = process.last_attempt(ACME).await;
    assert_eq!(first.status, AttemptStatus::Interrupted);
    assert_eq!(process.vault.status(ACME).await.unwrap().condition, Condition::Interrupted);

    fixture.clock.advance(USUAL_HOLD / 2);
    assert_interrupted(&process.token(ACME).await);
    assert_eq!(fixture.requests(), 1, "nothing is sent while it is held");

    fixture.clock.advance(USUAL_HOLD / 2 + Duration::from_secs(1));
    assert_refused_once(&process).await;
    assert_eq!(fixture.last_record().outcome, RequestOutcome::Reuse);
    let recovery = process.last_attempt(ACME).await;
    assert_eq!(recovery.recovers, Some(first.id));

    fixture.clock.advance(CONFIRMATION.saturating_sub(Duration::from_secs(5)));
    assert!(process.token(ACME).await.is_err());
    assert_eq!(fixture.requests(), 2, "the refusal is not confirmed at once");
    fixture.clock.advance(CONFIRMATION / 4 + Duration::from_secs(6));
    let dead = process.token(ACME).await;
    assert!(matches!(&dead, Err(TokenError::Dead { code, .. }) if code == "interrupted"), "{dead:?}");

    for _ in 0..3 {
        fixture.clock.advance(Duration::from_hours(1));
        assert!(matches!(process.token(ACME).await, Err(TokenError::Dead { .. })));
        assert!(process.vault.refresh(ACME, RefreshMode::IfDue, &crate::process::operator()).await.is_err());
    }
    assert_eq!(fixture.requests(), 3, "there is no fourth time");
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!((status.condition, status.code.as_deref()), (Condition::Dead, Some("interrupted")));
}

#[tokio::test]
async fn a_recovery_revives_a_grant_whose_token_was_not_accepted() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    assert_interrupted(&process.token(ACME).await);
    fixture.clock.advance(USUAL_HOLD + Duration::from_secs(1));
    assert!(process.token(ACME).await.is_ok());
    let attempts = process.attempts(ACME).await;
    assert_eq!(attempts[0].status, AttemptStatus::Interrupted);
    assert_eq!(attempts[1].status, AttemptStatus::Success);
    assert_eq!(attempts[1].recovers, Some(attempts[0].id));
    assert_eq!(attempts[1].fingerprint, attempts[0].fingerprint);
    assert_eq!(process.row(ACME).await.open_attempt, None);
}

#[tokio::test]
async fn whoever_forces_a_refresh_has_not_decided_about_the_outcome_of_that_very_attempt() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(10))).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    assert_interrupted(&process.force(ACME).await);
    assert_eq!(fixture.requests(), 1);
    // Asked again, now that the outcome is on record, a person does decide.
    process.force(ACME).await.unwrap();
    let attempts = process.attempts(ACME).await;
    assert_eq!(attempts[1].recovers, Some(attempts[0].id));
}

#[tokio::test]
async fn a_recovery_that_was_refused_or_could_not_be_sent_leaves_the_outcome_unknown() {
    let (mut fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture
        .emulator
        .enqueue([Fault::lose_reply(), Fault::new(FaultKind::RateLimited { retry_after_secs: 1 })]);
    assert_interrupted(&process.token(ACME).await);
    let first = process.last_attempt(ACME).await.id;
    fixture.clock.advance(USUAL_HOLD + Duration::from_secs(1));
    assert!(matches!(process.token(ACME).await, Err(TokenError::Failed { .. })));
    assert_eq!(process.row(ACME).await.open_attempt, Some(first));
    fixture.clock.advance(Duration::from_secs(2));
    fixture.emulator.refuse_connections().await;
    assert!(matches!(process.token(ACME).await, Err(TokenError::Failed { .. })));
    assert_eq!(process.row(ACME).await.open_attempt, Some(first));
    fixture.emulator.accept_connections().await.unwrap();
    fixture.clock.advance(Duration::from_secs(2));
    // The loss is named what it is, however many recoveries did not come through.
    assert_refused_once(&process).await;
    fixture.clock.advance(CONFIRMATION * 5 / 4 + Duration::from_secs(1));
    let dead = process.token(ACME).await;
    assert!(matches!(&dead, Err(TokenError::Dead { code, .. }) if code == "interrupted"), "{dead:?}");
}

#[tokio::test]
async fn a_recovery_whose_outcome_is_not_known_either_is_sent_again_after_a_longer_pause() {
    // The provider answers another connection meanwhile: it is not down as a whole.
    let names = vec![ACME.to_owned(), "other".to_owned()];
    let (fixture, process) = Fixture::with(Options { names, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.connect("other", fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    assert_interrupted(&process.token(ACME).await);
    for (sent, pause) in (1..).zip([USUAL_HOLD, USUAL_HOLD * 2, USUAL_HOLD * 4]) {
        fixture.clock.advance(pause.saturating_sub(Duration::from_secs(1)));
        let held = process.token(ACME).await;
        assert!(matches!(held, Err(TokenError::Interrupted { until: Some(_), .. })), "{held:?}");
        process.force("other").await.unwrap();
        assert_eq!(fixture.requests(), 2 * sent, "nothing is sent before the pause is over");
        fixture.clock.advance(Duration::from_secs(2));
        if sent < 3 {
            fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
        }
        assert_eq!(process.token(ACME).await.is_ok(), sent == 3, "{sent}");
    }
    let stats = fixture.emulator.stats();
    assert_eq!((fixture.requests(), stats.rotations, stats.overlaps), (7, 4, 0));
}

#[tokio::test]
async fn a_provider_that_names_a_pause_while_an_outcome_is_unknown_gets_it() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let unavailable = Fault::new(FaultKind::FrontEnd { status: 504, retry_after_secs: Some(600) });
    fixture.emulator.enqueue([unavailable]);
    assert!(process.token(ACME).await.is_err());
    fixture.clock.advance(USUAL_HOLD * 5);
    assert!(process.token(ACME).await.is_err());
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(USUAL_HOLD * 5 + USUAL_HOLD * 10 / 4 + Duration::from_secs(1));
    process.token(ACME).await.unwrap();
}

#[tokio::test]
async fn a_bare_refusal_of_a_recovery_is_confirmed_once_and_then_ends_the_grant() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    let bare = || Fault::new(FaultKind::Bare { status: 400 });
    fixture.emulator.enqueue([Fault::lose_reply(), bare(), bare()]);
    assert_interrupted(&process.token(ACME).await);
    fixture.clock.advance(USUAL_HOLD + Duration::from_secs(1));
    assert_refused_once(&process).await;
    fixture.clock.advance(CONFIRMATION * 5 / 4 + Duration::from_secs(1));
    let dead = process.token(ACME).await;
    assert!(matches!(&dead, Err(TokenError::Dead { code, .. }) if code == "interrupted"), "{dead:?}");
    for _ in 0..20 {
        fixture.clock.advance(Duration::from_mins(10));
        assert!(process.token(ACME).await.is_err());
    }
    assert_eq!(fixture.requests(), 3, "the chain of recoveries never starts anew");
}

#[tokio::test]
async fn inside_the_reuse_grace_a_lost_reply_is_asked_for_again_at_once_and_nobody_notices() {
    let emulator = jeton_emulator::Settings { reuse_grace: Duration::from_secs(10), ..Default::default() };
    let policy = graceful(Duration::from_secs(8));
    let (fixture, process) = Fixture::with(Options { emulator, policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::lose_reply(), Fault::lose_reply()]);
    let started = Instant::now();
    let token = process.token(ACME).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(fixture.emulator.accepts(token.access.reveal()));
    let attempts = process.attempts(ACME).await;
    assert_eq!(attempts.len(), 3);
    assert_eq!(attempts[1].recovers, Some(attempts[0].id));
    assert_eq!(attempts[2].recovers, Some(attempts[1].id));
    let stats = fixture.emulator.stats();
    assert_eq!((stats.rotations, stats.replays, stats.reuse_kills, stats.overlaps), (1, 2, 0, 0));
    // The chain goes on from the successor.
    process.force(ACME).await.unwrap();
    assert_eq!(fixture.emulator.stats().rotations, 2);
}

#[tokio::test]
async fn a_pair_that_is_given_a_second_time_after_its_end_is_not_taken_for_immortal() {
    let emulator = jeton_emulator::Settings {
        reuse_grace: Duration::from_mins(1),
        access_ttl: Duration::from_secs(4),
        ..Default::default()
    };
    let policy = graceful(Duration::from_secs(50));
    let (fixture, process) = Fixture::with(Options { emulator, policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    let late = async {
        while process.attempts(ACME).await.last().is_none_or(|it| it.status != AttemptStatus::Interrupted) {
            sleep(Duration::from_millis(5)).await;
        }
        fixture.clock.advance(Duration::from_secs(6));
    };
    let (token, ()) = tokio::join!(process.token(ACME), late);
    let token = token.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()), "the caller gets a token that lives");
    assert!(token.expires_at.is_some());
    let stats = fixture.emulator.stats();
    assert_eq!((stats.rotations, stats.replays, stats.reuse_kills), (2, 1, 0));
}

#[tokio::test]
async fn where_refresh_tokens_last_a_lost_reply_is_a_passing_failure() {
    let emulator = jeton_emulator::Settings { rotation: Rotation::None, ..Default::default() };
    let policy = PolicyOverrides { rotation: Some(Rotation::None), ..PolicyOverrides::default() };
    let (fixture, process) = Fixture::with(Options { emulator, policy, ..Options::default() }).await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    for ending in [FaultKind::LoseReply, FaultKind::FailAfter { status: 503 }, FaultKind::Garbage] {
        fixture.emulator.enqueue([Fault::new(ending)]);
        let failed = process.token(ACME).await;
        assert!(matches!(failed, Err(TokenError::Failed { .. })), "{ending:?}: {failed:?}");
        fixture.clock.advance(Duration::from_secs(10));
    }
    process.token(ACME).await.unwrap();
    process.force(ACME).await.unwrap();
    assert_eq!(fixture.held_refresh(&process, ACME).await, grant.refresh);
    assert!(process.attempts(ACME).await.iter().all(|attempt| attempt.fingerprint.is_none()));
    assert_eq!((fixture.requests(), fixture.emulator.stats().invalid_grant), (5, 0));
}

#[tokio::test]
async fn after_the_reuse_grace_a_chain_of_resends_is_held_like_any_other() {
    let policy = graceful(Duration::from_secs(5));
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore), Fault::new(FaultKind::CutBefore)]);
    let wait = Duration::from_millis(800);
    // The grace of the policy is over before the second resend is made.
    let ask = async {
        while fixture.requests() < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        fixture.clock.advance(Duration::from_secs(6));
    };
    let (_, ()) = tokio::join!(process.token_within(ACME, wait), ask);
    sleep(Duration::from_millis(600)).await;
    assert_interrupted(&process.token(ACME).await);
    assert_eq!(fixture.requests(), 2);
    fixture.clock.advance(USUAL_HOLD * 2);
    process.token(ACME).await.unwrap();
    assert_eq!(fixture.requests(), 3);
}

/// Asks for a token, and has the provider's first refusal of a recovery.
async fn assert_refused_once(process: &Process) {
    let refused = process.token(ACME).await;
    assert!(matches!(&refused, Err(TokenError::Failed { .. })), "{refused:?}");
    let row = process.row(ACME).await;
    let last = process.last_attempt(ACME).await;
    assert_eq!((last.code.as_deref(), row.open_attempt), (Some("recovery_refused"), Some(last.id)));
}

/// Claims as a process does that is killed before it says how its attempt ended.
pub(crate) async fn claim_and_die(fixture: &Fixture, process: &Process, lease: Duration) -> AttemptId {
    let row = process.row(ACME).await;
    let now = fixture.clock.now();
    let attempt = AttemptId::generate(now, &SystemEntropy);
    let claim = Claim {
        connection: row.name.clone(),
        attempt,
        node: NodeId::generate(now, &SystemEntropy),
        trigger: Trigger::Automatic,
        asked_by: None,
        act: Act::Redeem,
        generation: row.generation,
        spends: row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
        lease_ttl: lease,
        through_cooldown: false,
        recovers: row.open_attempt,
    };
    let answer = process.store.claim(claim).await.expect("the fixture is ready");
    assert!(matches!(answer, ClaimAnswer::Won { .. }), "{answer:?}");
    attempt
}

#[tokio::test]
async fn a_chain_of_very_many_recoveries_is_not_read_to_its_beginning_and_has_no_grace_left() {
    let policy = graceful(Duration::from_hours(24 * 30));
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let lease = Duration::from_secs(1);
    for _ in 0..LONGEST_CHAIN {
        claim_and_die(&fixture, &process, lease).await;
        fixture.clock.advance(lease);
    }
    assert_interrupted(&process.token(ACME).await);
    assert_eq!(fixture.requests(), 0, "the grace that is left is not known, so it is none");
    fixture.clock.advance(Duration::from_mins(15));
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
}

#[tokio::test]
async fn an_attempt_of_a_process_that_died_is_found_interrupted_by_whoever_looks_after_its_lease() {
    let (fixture, process) =
        Fixture::with(Options { policy: holding(USUAL_HOLD), ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let attempt = claim_and_die(&fixture, &process, Duration::from_millis(300)).await;
    assert_eq!(
        process.last_attempt(ACME).await.status,
        AttemptStatus::Running,
        "its lease runs: nobody judges it"
    );
    let asked = process.token(ACME).await;
    assert!(
        matches!(asked, Err(TokenError::Interrupted { attempt: found, .. }) if found == attempt),
        "{asked:?}"
    );
    assert_eq!(process.last_attempt(ACME).await.status, AttemptStatus::Interrupted);
    assert_eq!(fixture.requests(), 0);
    fixture.clock.advance(USUAL_HOLD + Duration::from_secs(1));
    process.token(ACME).await.unwrap();
    assert_eq!(process.last_attempt(ACME).await.recovers, Some(attempt));
    fixture.assert_spent_once();
}

#[tokio::test]
async fn the_living_token_goes_on_being_served_while_an_outcome_is_unknown() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(10))).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    assert_interrupted(&process.force(ACME).await);
    let started = Instant::now();
    let token = process.token(ACME).await.unwrap();
    assert_eq!(token.access.reveal(), "an-access-token-that-lives");
    assert!(started.elapsed() < Duration::from_secs(3));
    // The same after a restart.
    let other = fixture.process().await;
    assert_eq!(other.token(ACME).await.unwrap().access, token.access);
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn the_keeper_recovers_by_itself_after_the_hold() {
    let policy = holding(Duration::from_millis(300));
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.vault.start().await.unwrap();
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    process.connect(ACME, fixture.expired_grant()).await;
    process.until_generation(ACME, 2).await;
    assert_eq!(fixture.requests(), 2);
    process.vault.drain().await;
}

#[tokio::test]
async fn an_interrupted_attempt_on_a_token_that_is_not_due_is_recovered_too_and_not_looked_at_all_the_time() {
    let policy = holding(Duration::from_millis(1_500));
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(10))).await;
    process.vault.start().await.unwrap();
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    assert_interrupted(&process.force(ACME).await);
    let before = process.probe.calls();
    process.until_generation(ACME, 2).await;
    let calls = process.probe.calls() - before;
    assert!(calls < 60, "{calls} calls of the store for one recovery");
    process.vault.drain().await;
}

#[tokio::test]
async fn holds_are_judged_by_the_clock_of_the_store_and_not_by_that_of_a_node() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore)]);
    assert_interrupted(&process.token(ACME).await);

    let ahead = Arc::new(OffsetClock::default());
    ahead.advance(Duration::from_mins(5));
    let place = fixture.place();
    let store = fixture.store_at(&place, Arc::new(NoSqliteHooks)).await;
    let key = KeySource::File(place.key.clone());
    let installation = Installation::open(&*store, &place.data_dir, &key, &*ahead, &SystemEntropy).await;
    let fast = fixture.process_by(store, installation.unwrap(), short_settings(), ahead).await;
    assert_interrupted(&fast.token(ACME).await);
    assert_eq!(fixture.requests(), 1, "by the clock of the store it is held");
    fixture.clock.advance(USUAL_HOLD + Duration::from_secs(1));
    fast.token(ACME).await.unwrap();
    assert_eq!(fixture.requests(), 2);
}
