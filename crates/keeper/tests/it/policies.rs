//! What the policy and the errors of a provider file make of a connection.

use std::time::Duration;

use futures_util::future::join;
use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::keep::connection::{Condition, GrantState};
use jeton_core::keep::provider::{Budget, BudgetPer, DurationText, ErrorClass, PolicyOverrides};
use jeton_core::time::Clock as _;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Grant, RefreshMode, Refreshed, Settings, TokenError};
use tokio::time::sleep;

use crate::fixture::{ACME, Fixture, Options, assert_spread, eventually, names, short_settings};
use crate::process::Process;

/// Redeems, and finds words of its own for what a reply says.
const OUTSPOKEN: &str = own_provider!(
    one_time_tokens,
    r#"
take = { refresh_expires = { path = "expires_in", as = "epoch_s" } }
[[errors]]
when = { status = 401 }
class = "suspended"
code = "account_closed"
[[errors]]
when = { status = 429 }
class = "too_early"
code = "not_yet"
"#
);

/// Client credentials alone, whose refusal reads like that of a grant.
const MACHINE: &str = own_provider!(
    r#"
[acquire]
url = "${token_url}"
form = { grant_type = "client_credentials" }
[[errors]]
when = { status = 401 }
class = "dead_grant"
code = "no_grant"
"#
);

fn outspoken() -> Options {
    Options { provider: Some(OUTSPOKEN), ..Options::default() }
}

/// The class, the code and the wait of a refresh that failed.
fn failure<T: std::fmt::Debug>(answer: Result<T, TokenError>) -> (ErrorClass, String, Duration) {
    match answer {
        Err(TokenError::Failed { class, code, retry_after: Some(after), .. }) => (class, code, after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_account_that_is_suspended_is_asked_for_again_by_callers_after_a_minute_and_by_the_keeper_after_an_hour()
 {
    let (fixture, process) = Fixture::with(outspoken()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    let (class, code, after) = failure(process.token(ACME).await);
    assert_eq!((class, code.as_str()), (ErrorClass::Suspended, "account_closed"));
    assert_spread(after, Duration::from_mins(1));

    let (row, now) = (process.row(ACME).await, fixture.clock.now());
    assert_eq!((row.state, row.state_code.as_deref()), (GrantState::Suspended, Some("account_closed")));
    assert_eq!((row.open_attempt, process.last_attempt(ACME).await.status), (None, AttemptStatus::Failed));
    let due_in = row.due_at.unwrap().since(now);
    assert_spread(due_in + Duration::from_secs(5), Duration::from_hours(1));
    assert_eq!(process.vault.status(ACME).await.unwrap().condition, Condition::Suspended);

    let cooling = process.token(ACME).await;
    assert!(matches!(&cooling, Err(TokenError::CoolingDown { code, .. }) if code == "account_closed"));
    assert_eq!(fixture.requests(), 1);
    fixture.clock.advance(Duration::from_secs(76));
    process.token(ACME).await.unwrap();
    assert_eq!(process.row(ACME).await.state, GrantState::Live);
    assert_eq!(process.vault.status(ACME).await.unwrap().code, None);
}

#[tokio::test]
async fn the_token_of_a_suspended_account_is_served_as_long_as_it_lives() {
    let (fixture, process) = Fixture::with(outspoken()).await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(10))).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    assert_eq!(failure(process.force(ACME).await).0, ErrorClass::Suspended);
    assert_eq!(process.token(ACME).await.unwrap().access.reveal(), "an-access-token-that-lives");
    fixture.clock.advance(Duration::from_mins(10));
    process.token(ACME).await.unwrap();
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_provider_that_was_asked_too_early_is_asked_again_when_it_says_and_the_grant_stays_as_it_is() {
    let (fixture, process) = Fixture::with(outspoken()).await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(10))).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 20 })]);
    let (class, code, after) = failure(process.force(ACME).await);
    assert_eq!((class, code.as_str()), (ErrorClass::TooEarly, "not_yet"));
    assert_spread(after, Duration::from_secs(20));
    let (row, now) = (process.row(ACME).await, fixture.clock.now());
    assert_eq!((row.state, row.open_attempt), (GrantState::Live, None));
    let due_in = row.due_at.unwrap().since(now);
    assert!(due_in > Duration::from_secs(18) && due_in <= Duration::from_secs(25), "{due_in:?}");
    assert_eq!(process.vault.status(ACME).await.unwrap().condition, Condition::Failing);

    let longer = process.token_for(ACME, Duration::from_hours(2)).await.unwrap();
    assert_eq!(longer.access.reveal(), "an-access-token-that-lives", "the caller has what there is");
    fixture.clock.advance(Duration::from_secs(26));
    process.vault.refresh(ACME, RefreshMode::ForcedByPerson, &crate::process::operator()).await.unwrap();
    assert_eq!((fixture.requests(), process.row(ACME).await.generation.0), (2, 2));
}

#[tokio::test]
async fn client_credentials_that_are_refused_are_left_alone_for_a_minute_and_not_sent_in_a_loop() {
    let (fixture, process) = Fixture::with(Options { provider: Some(MACHINE), ..Options::default() }).await;
    process.connect(ACME, Grant::default()).await;
    fixture.emulator.enqueue([Fault::new(FaultKind::WrongClient); 40]);
    let (class, code, after) = failure(process.token(ACME).await);
    assert_eq!((class, code.as_str()), (ErrorClass::DeadGrant, "no_grant"));
    assert_spread(after, Duration::from_mins(1));
    for _ in 0..5 {
        assert!(matches!(process.token(ACME).await, Err(TokenError::CoolingDown { .. })));
        fixture.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(fixture.requests(), 1);
    assert_ne!(process.row(ACME).await.state, GrantState::Dead, "nothing was granted that could be dead");
    fixture.clock.advance(Duration::from_secs(26));
    assert_eq!(failure(process.token(ACME).await).0, ErrorClass::DeadGrant);
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_budget_is_looked_at_when_the_turn_has_come_and_not_before_the_queue() {
    let budget = Budget { per: BudgetPer::Client, max: 2, within: DurationText(Duration::from_mins(10)) };
    let policy = PolicyOverrides { budget: Some(vec![budget]), ..PolicyOverrides::default() };
    let settings = Settings { provider_concurrency: 1, ..short_settings() };
    let (fixture, process) =
        Fixture::with(Options { policy, settings, names: names(3), ..Options::default() }).await;
    for name in names(3) {
        process.connect(&name, fixture.expired_grant()).await;
    }
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(600))]);
    let queued = async {
        fixture.until_accepted(1).await;
        // Both wait for their turn while the budget still has room for one.
        join(process.token("c1"), process.token("c2")).await
    };
    let (first, (second, third)) = join(process.token("c0"), queued).await;
    first.unwrap();
    let refused: Vec<_> = [second, third].into_iter().filter(Result::is_err).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    for answer in refused {
        let (class, code, _) = failure(answer);
        assert_eq!((class, code.as_str()), (ErrorClass::RateLimited, "budget"));
    }
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn an_expiry_of_the_refresh_token_that_was_over_before_it_came_is_ignored() {
    // This file takes `expires_in` for seconds since 1970.
    let (fixture, process) = Fixture::with(outspoken()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    let status = process.vault.status(ACME).await.unwrap();
    assert_eq!(status.refresh_expires_at, None);
    let due_in = status.due_at.unwrap().since(status.obtained_at.unwrap());
    assert!(due_in > Duration::from_secs(40) && due_in < Duration::from_mins(1), "{due_in:?}");

    // The same where a person says so of a grant that is taken over.
    let past = fixture.clock.now() - Duration::from_hours(1);
    let grant = Grant { refresh_expires_at: Some(past), ..fixture.living_grant(Duration::from_hours(1)) };
    process.connect(ACME, grant).await;
    let taken_over = process.token(ACME).await.unwrap();
    assert_ne!(taken_over.access, token.access);
    fixture.clock.advance(Duration::from_mins(1));
    let not_due = process.vault.refresh(ACME, RefreshMode::IfDue, &crate::process::operator()).await;
    assert!(matches!(not_due, Ok(Refreshed::NotDue { .. })), "{not_due:?}");
    assert_eq!(fixture.requests(), 1);
}

/// Whether a look finds it due.
async fn is_due(process: &Process) -> bool {
    match process
        .vault
        .refresh(ACME, RefreshMode::IfDue, &crate::process::operator())
        .await
        .expect("the fixture is ready")
    {
        Refreshed::Done { .. } => true,
        Refreshed::NotDue { .. } => false,
    }
}

#[tokio::test]
async fn a_provider_that_refreshes_only_late_is_not_asked_before_that_by_anybody() {
    let earliest = Some(DurationText(Duration::from_secs(5)));
    let policy = PolicyOverrides { earliest, ..PolicyOverrides::default() };
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    let row = process.row(ACME).await;
    assert_eq!(row.due_at.unwrap() + Duration::from_secs(5), token.expires_at.unwrap());
    fixture.clock.advance(Duration::from_secs(53));
    assert_eq!(process.token(ACME).await.unwrap().access, token.access);
    assert!(!is_due(&process).await);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(fixture.requests(), 1, "a caller's need is no reason while the token lives");
    fixture.clock.advance(Duration::from_secs(3));
    process.token(ACME).await.unwrap();
    eventually("it is refreshed behind the caller's back", || fixture.requests() == 2).await;
    process.until_generation(ACME, 3).await;
}

#[tokio::test]
async fn a_grant_that_must_not_lie_idle_is_refreshed_though_its_access_token_lives_on() {
    let idle_keepalive = Some(DurationText(Duration::from_mins(10)));
    let policy = PolicyOverrides { idle_keepalive, ..PolicyOverrides::default() };
    let emulator = jeton_emulator::Settings { access_ttl: Duration::from_hours(5), ..Default::default() };
    let (fixture, process) = Fixture::with(Options { emulator, policy, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.unwrap();
    let row = process.row(ACME).await;
    assert!(row.due_at.unwrap() <= row.tokens.unwrap().obtained_at + Duration::from_mins(10));
    fixture.clock.advance(Duration::from_mins(8));
    assert!(!is_due(&process).await);
    fixture.clock.advance(Duration::from_mins(2));
    assert!(is_due(&process).await);
    fixture.assert_spent_once();
}
