//! Refusals by the token endpoint: which of them end a grant, and when.

use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::connection::{Condition, GrantState};
use jeton_core::keep::provider::{DurationText, ErrorClass, PolicyOverrides};
use jeton_core::time::Clock as _;
use jeton_emulator::{Behaviour, Fault, FaultKind};
use jeton_keeper::{RefreshMode, TokenError};
use jeton_testkit::CapturedLog;
use tokio::time::sleep;
use tracing::Level;

use crate::fixture::{ACME, Fixture, Options, assert_spread, confirming, eventually, names};
use crate::process::Process;
use crate::recovery::assert_interrupted;

/// The shortest pause before a refusal is confirmed where nothing else is said, and that pause lengthened as far as it can be.
const PAUSE: Duration = Duration::from_mins(2);
const PAUSE_OVER: Duration = Duration::from_secs(151);

/// The longest pause between two tries that are refused for a reason that nothing explains.
const LONGEST: Duration = Duration::from_mins(15);

/// A provider that says when a refusal is its last word, and when it is none at all.
const OUTSPOKEN: &str = own_provider!(
    one_time_tokens,
    r#"
[[errors]]
when = { path = "error_description", regex = "being processed" }
class = "too_early"
[[errors]]
when = { path = "error_description", regex = "is revoked" }
class = "dead_grant"
final = true
"#
);

fn refuse() -> Fault {
    Fault::new(FaultKind::RefuseGrant)
}

fn bare() -> Fault {
    Fault::new(FaultKind::Bare { status: 400 })
}

/// The class of a refresh that failed, and for how long nothing is tried now.
#[track_caller]
fn failure<T: std::fmt::Debug>(answer: Result<T, TokenError>) -> (ErrorClass, Duration) {
    match answer {
        Err(TokenError::Failed { class, retry_after: Some(pause), .. }) => (class, pause),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_dead<T: std::fmt::Debug>(answer: &Result<T, TokenError>, because: &str) {
    assert!(matches!(answer, Err(TokenError::Dead { code, .. }) if code == because), "{answer:?}");
}

/// An expired token whose refresh was refused once, as that of a dead grant.
async fn refused_once(options: Options) -> (Fixture, Process) {
    let (fixture, process) = Fixture::with(options).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([refuse()]);
    assert_eq!(failure(process.token(ACME).await).0, ErrorClass::DeadGrant);
    (fixture, process)
}

#[tokio::test]
async fn a_grant_is_not_given_up_on_one_refusal() {
    let (fixture, process) = refused_once(Options::default()).await;
    let (row, now) = (process.row(ACME).await, fixture.clock.now());
    assert_eq!((row.state, row.refused(), row.open_attempt), (GrantState::Live, Some("invalid_grant"), None));
    assert_eq!(row.due_at, row.cooling_until, "the keeper tries again by itself, and nobody before");
    let pause = row.due_at.unwrap().since(now);
    assert!(pause + Duration::from_secs(5) > PAUSE && pause < PAUSE_OVER, "{pause:?}");
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!((status.condition, status.code.as_deref()), (Condition::Failing, Some("invalid_grant")));
    let attempt = process.last_attempt(ACME).await;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Failed, Some("invalid_grant")));
    assert!(attempt.message.unwrap().ends_with("is sent once more before the grant is taken for dead"));

    // Callers who ask meanwhile cause no send.
    for _ in 0..11 {
        fixture.clock.advance(Duration::from_secs(10));
        let cooling = process.token(ACME).await;
        assert!(matches!(cooling, Err(TokenError::CoolingDown { .. })), "{cooling:?}");
    }
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(PAUSE_OVER.saturating_sub(PAUSE) + Duration::from_secs(10));
    process.token(ACME).await.unwrap();
    let row = process.row(ACME).await;
    assert_eq!((row.refused(), row.failures, row.last_error.as_deref()), (None, 0, None));
}

#[tokio::test]
async fn a_second_refusal_after_the_pause_ends_the_grant() {
    let (fixture, process) = refused_once(Options::default()).await;
    fixture.emulator.enqueue([refuse()]);
    fixture.clock.advance(PAUSE_OVER);
    assert_dead(&process.token(ACME).await, "invalid_grant");
    fixture.clock.advance(Duration::from_hours(1));
    assert_dead(&process.token(ACME).await, "invalid_grant");
    assert_eq!(fixture.requests(), 2);
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!((status.condition, status.due_at), (Condition::Dead, None));
}

#[tokio::test]
async fn the_keeper_confirms_a_refusal_by_itself() {
    let policy = confirming(Duration::from_millis(300));
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.vault.start().await.unwrap();
    fixture.emulator.enqueue([refuse()]);
    process.connect(ACME, fixture.expired_grant()).await;
    process.until_generation(ACME, 2).await;
    assert_eq!(fixture.requests(), 2);
    process.vault.drain().await;
}

#[tokio::test]
async fn a_refusal_while_the_access_token_lives_is_confirmed_when_it_has_expired() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(5))).await;
    fixture.emulator.enqueue([refuse()]);
    let (_, pause) = failure(process.force(ACME).await);
    // Some of its life has passed, and a pause is told in whole seconds.
    let (slack, life) = (Duration::from_secs(2), Duration::from_mins(5));
    assert!(pause + slack >= life && pause <= life / 4 * 5 + slack, "{pause:?}");
    // It is served for as long as it lives.
    fixture.clock.advance(Duration::from_secs(290));
    assert_eq!(process.token(ACME).await.unwrap().access.reveal(), "an-access-token-that-lives");
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(pause);
    process.token(ACME).await.unwrap();
    assert_eq!(fixture.requests(), 2);

    process.connect(ACME, fixture.living_grant(Duration::from_hours(10))).await;
    fixture.emulator.enqueue([refuse()]);
    assert_spread(failure(process.force(ACME).await).1, LONGEST);
}

#[tokio::test]
async fn a_person_may_confirm_a_refusal_at_once() {
    let (fixture, process) = refused_once(Options::default()).await;
    fixture.emulator.enqueue([refuse()]);
    assert_dead(&process.force(ACME).await, "invalid_grant");
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_person_may_have_the_token_of_a_dead_grant_sent_once_more_and_it_lives_if_that_succeeds() {
    let (fixture, process) = refused_once(Options::default()).await;
    fixture.emulator.enqueue([refuse(), refuse()]);
    assert_dead(&process.force(ACME).await, "invalid_grant");
    assert_dead(&process.force(ACME).await, "invalid_grant");
    assert_eq!(fixture.requests(), 3, "once, and not twice");
    for _ in 0..3 {
        fixture.clock.advance(Duration::from_hours(1));
        assert_dead(&process.token(ACME).await, "invalid_grant");
        assert_dead(
            &process.vault.refresh(ACME, RefreshMode::IfDue, &crate::process::operator()).await,
            "invalid_grant",
        );
    }
    assert_eq!(fixture.requests(), 3);
    process.force(ACME).await.unwrap();
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!((status.condition, status.code), (Condition::Live, None));
    // What cannot be sent leaves it in doubt, and the keeper tries again.
    let (mut fixture, process) = refused_once(Options::default()).await;
    fixture.emulator.enqueue([refuse()]);
    assert_dead(&process.force(ACME).await, "invalid_grant");
    fixture.emulator.refuse_connections().await;
    assert_eq!(failure(process.force(ACME).await).0, ErrorClass::Transient);
    let row = process.row(ACME).await;
    assert_eq!((row.state, row.refused()), (GrantState::Live, Some("invalid_grant")));
    assert!(row.due_at.is_some());
}

#[tokio::test]
async fn a_service_that_forces_refreshes_neither_confirms_a_refusal_nor_has_the_token_of_a_dead_grant_sent() {
    let (fixture, process) = refused_once(Options::default()).await;
    for _ in 0..3 {
        let cooling = process.vault.refresh(ACME, RefreshMode::Forced, &crate::process::operator()).await;
        assert!(matches!(cooling, Err(TokenError::CoolingDown { .. })), "{cooling:?}");
    }
    fixture.emulator.enqueue([refuse()]);
    assert_dead(&process.force(ACME).await, "invalid_grant");
    for _ in 0..3 {
        assert_dead(
            &process.vault.refresh(ACME, RefreshMode::Forced, &crate::process::operator()).await,
            "invalid_grant",
        );
    }
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_failure_in_the_pause_does_not_end_the_pause() {
    let (mut fixture, process) = refused_once(Options::default()).await;
    let until = process.row(ACME).await.cooling_until;
    fixture.emulator.refuse_connections().await;
    assert_eq!(failure(process.force(ACME).await).0, ErrorClass::Transient);
    fixture.emulator.accept_connections().await.unwrap();
    let row = process.row(ACME).await;
    assert_eq!((row.cooling_until, row.due_at, row.refused()), (until, until, Some("invalid_grant")));
    fixture.clock.advance(PAUSE.saturating_sub(Duration::from_secs(10)));
    assert!(matches!(process.token(ACME).await, Err(TokenError::CoolingDown { .. })));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn an_answer_that_is_final_by_the_provider_file_ends_the_grant_at_once() {
    let (fixture, process) = Fixture::with(Options { provider: Some(OUTSPOKEN), ..Options::default() }).await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    fixture.emulator.revoke_grant(grant.refresh.unwrap().reveal());
    assert_dead(&process.token(ACME).await, "invalid_grant");
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn an_answer_that_means_too_early_never_ends_a_grant_wherever_it_comes() {
    let (fixture, process) = Fixture::with(Options { provider: Some(OUTSPOKEN), ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    // First and again and again; after a refusal; and to a recovery.
    for _ in 0..3 {
        fixture.emulator.enqueue([refuse()]);
        let (class, pause) = failure(process.token(ACME).await);
        assert_eq!(class, ErrorClass::TooEarly);
        fixture.clock.advance(pause);
    }
    fixture.emulator.enqueue([bare(), Fault::new(FaultKind::CutBefore)]);
    fixture.clock.advance(failure(process.token(ACME).await).1);
    assert_interrupted(&process.token(ACME).await);
    for _ in 0..4 {
        fixture.emulator.enqueue([refuse()]);
        fixture.clock.advance(Duration::from_hours(1));
        assert_eq!(failure(process.token(ACME).await).0, ErrorClass::TooEarly);
        assert_eq!(process.row(ACME).await.state, GrantState::Live);
    }
    fixture.clock.advance(Duration::from_hours(1));
    process.token(ACME).await.unwrap();
    assert_eq!(fixture.emulator.stats().rotations, 1);
}

#[tokio::test]
async fn a_send_of_unknown_outcome_between_two_refusals_makes_the_second_no_less_the_second() {
    let cut = || Fault::new(FaultKind::CutBefore);
    // Refused as a grant, then interrupted.
    let (fixture, process) = refused_once(Options::default()).await;
    fixture.emulator.enqueue([cut(), refuse()]);
    fixture.clock.advance(PAUSE_OVER);
    assert_interrupted(&process.token(ACME).await);
    fixture.clock.advance(Duration::from_secs(61));
    assert_dead(&process.token(ACME).await, "interrupted");
    assert_eq!(fixture.requests(), 3);

    // Interrupted, refused as a recovery, then interrupted again.
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([cut(), bare(), cut(), cut(), bare()]);
    assert_interrupted(&process.token(ACME).await);
    fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(failure(process.token(ACME).await).0, ErrorClass::Unknown);
    fixture.clock.advance(PAUSE_OVER);
    assert_interrupted(&process.token(ACME).await);
    fixture.clock.advance(LONGEST);
    assert_interrupted(&process.token(ACME).await);
    fixture.clock.advance(LONGEST);
    assert_dead(&process.token(ACME).await, "interrupted");
    assert_eq!(fixture.requests(), 5);
}

#[tokio::test]
async fn a_person_who_forces_a_recovery_does_not_end_the_grant_by_its_first_refusal() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::CutBefore), refuse(), refuse()]);
    assert_interrupted(&process.token(ACME).await);
    assert_eq!(failure(process.force(ACME).await).0, ErrorClass::DeadGrant);
    assert_eq!(process.row(ACME).await.state, GrantState::Live);
    assert_dead(&process.force(ACME).await, "interrupted");
    assert_eq!(fixture.requests(), 3);
}

#[tokio::test]
async fn an_access_token_that_its_api_refuses_is_given_to_nobody_once_its_grant_is_refused_too() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.living_grant(Duration::from_hours(1))).await;
    let token = process.token(ACME).await.unwrap();
    fixture.emulator.enqueue([refuse()]);
    let (_, pause) = failure(process.reject(ACME, &token).await);
    assert_spread(pause, PAUSE);
    assert!(matches!(process.token(ACME).await, Err(TokenError::CoolingDown { .. })));
    fixture.clock.advance(PAUSE_OVER);
    assert_ne!(process.token(ACME).await.unwrap().access, token.access);
}

/// What callers cause who ask every 10 s for this long; the longest time between two requests at the provider, and how many.
async fn ask_for(fixture: &Fixture, process: &Process, span: Duration) -> (Duration, usize) {
    let (began, before) = (fixture.clock.now(), fixture.requests());
    let (mut last, mut longest) = (began, Duration::ZERO);
    let mut requests = before;
    while fixture.clock.now().since(began) < span {
        assert!(process.token(ACME).await.is_err());
        if fixture.requests() > requests {
            requests = fixture.requests();
            longest = longest.max(fixture.clock.now().since(last));
            last = fixture.clock.now();
        }
        fixture.clock.advance(Duration::from_secs(10));
    }
    (longest, requests - before)
}

#[tokio::test]
async fn a_refusal_that_nothing_explains_is_repeated_ever_more_rarely_and_told_once_after_an_hour() {
    let (log, _guard) = CapturedLog::of_this_thread(Level::WARN);
    let settings =
        jeton_keeper::Settings { cooldown: Duration::from_secs(5), ..crate::fixture::short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.set_behaviour(Behaviour::faultless().with_chance(1.0, bare()));
    let told = || log.text().matches("CRITICAL").count();
    let (_, requests) = ask_for(&fixture, &process, Duration::from_mins(55)).await;
    assert!((8..=11).contains(&requests), "{requests} requests in an hour");
    assert_eq!(told(), 0, "{}", log.text());
    let (longest, requests) = ask_for(&fixture, &process, Duration::from_hours(3)).await;
    assert!(longest >= LONGEST && longest < LONGEST * 5 / 4 + Duration::from_secs(20), "{longest:?}");
    assert!((8..=13).contains(&requests), "{requests} requests in three hours");
    assert_eq!(told(), 1, "{}", log.text());
    assert!(log.text().contains("goes on refusing the refresh token"));
    let row = process.row(ACME).await;
    assert_eq!((row.state, row.last_error.as_deref()), (GrantState::Live, Some("http_400")));
    // It is not given up: what was a fault of the provider is over when it ends.
    fixture.emulator.set_behaviour(Behaviour::faultless());
    fixture.clock.advance(LONGEST * 5 / 4);
    process.token(ACME).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_cannot_answer_is_not_asked_every_few_seconds_because_callers_ask() {
    let settings =
        jeton_keeper::Settings { cooldown: Duration::from_secs(5), ..crate::fixture::short_settings() };
    let (fixture, process) = Fixture::with(Options { settings, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let unavailable = Fault::new(FaultKind::FrontEnd { status: 503, retry_after_secs: None });
    fixture.emulator.set_behaviour(Behaviour::faultless().with_chance(1.0, unavailable));
    let (longest, requests) = ask_for(&fixture, &process, Duration::from_mins(30)).await;
    // Tries of a provider that is down are 45 to 60 seconds apart, after the first few.
    assert!((20..=45).contains(&requests), "{requests} requests in half an hour");
    // Whoever waits has it back within a minute, and the quarter that spreads connections.
    assert!(longest <= Duration::from_secs(85), "{longest:?}");
}

#[tokio::test]
async fn connections_that_fail_together_do_not_try_again_together() {
    let (fixture, process) = Fixture::with(Options { names: names(6), ..Options::default() }).await;
    let mut pauses = Vec::new();
    for name in names(6) {
        process.connect(&name, fixture.expired_grant()).await;
        fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 60 })]);
        let (_, pause) = failure(process.token(&name).await);
        assert_spread(pause, Duration::from_mins(1));
        pauses.push(pause);
    }
    pauses.sort();
    pauses.dedup();
    assert_eq!(pauses.len(), 6, "{pauses:?}");
}

#[tokio::test]
async fn nothing_is_sent_before_the_time_that_a_provider_sets_whoever_asks() {
    let policy = PolicyOverrides {
        earliest: Some(DurationText(Duration::from_secs(2))),
        ..PolicyOverrides::default()
    };
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_mins(1), ..Default::default() };
    let (fixture, process) = Fixture::with(Options { emulator, policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    for _ in 0..11 {
        fixture.clock.advance(Duration::from_secs(5));
        for ttl in [0, 1, 5, 48, 90] {
            let same = process.token_for(ACME, Duration::from_secs(ttl)).await.unwrap();
            assert_eq!(same.access, token.access);
            let left = same.expires_in.unwrap();
            assert_eq!(same.warning.is_some(), left <= Duration::from_secs(ttl), "{ttl} s of {left:?}");
        }
        let manual = process.vault.refresh(ACME, RefreshMode::IfDue, &crate::process::operator()).await;
        assert!(matches!(manual, Ok(jeton_keeper::Refreshed::NotDue { .. })), "{manual:?}");
    }
    // Whoever says nothing gets it too, and learns that it will not last.
    let last = process.token(ACME).await.unwrap();
    assert!(last.access == token.access && last.warning.is_some_and(|it| it.contains("expires in a moment")));
    // A caller whose API refused the token gets no other one before the time.
    let rejected = process.reject(ACME, &token).await;
    assert!(matches!(&rejected, Err(TokenError::Failed { class: ErrorClass::TooEarly, .. })), "{rejected:?}");
    sleep(Duration::from_millis(50)).await;
    let tried = process.attempts(ACME).await.iter().filter(|attempt| attempt.act == Act::Redeem).count();
    assert_eq!((fixture.requests(), tried), (1, 1), "nothing was tried");
    fixture.clock.advance(Duration::from_secs(3));
    process.token(ACME).await.unwrap();
    eventually("it is refreshed when its time has come", || fixture.requests() == 2).await;
    // A person may have it sent before: files are wrong at times.
    process.until_generation(ACME, 3).await;
    process.force(ACME).await.unwrap();
    assert_eq!(fixture.requests(), 3);
}
