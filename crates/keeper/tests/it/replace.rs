//! A grant in place of one that works: it is used once before it replaces that.

use std::time::Duration;

use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::ports::{AttemptFilter, OperatorCommand};
use jeton_core::secret::Secret;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Connected, Grant, Replaced, TokenError};
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, PATIENCE, confirming};
use crate::process::{Process, operator};

fn refresh_only(refresh: Secret) -> Grant {
    Grant { refresh: Some(refresh), ..Grant::default() }
}

async fn replace(process: &Process, grant: Grant) -> Result<Replaced, TokenError> {
    process.vault.replace(ACME, grant, &operator()).await
}

/// Why the old grant was kept, and whether the new one may be spent.
async fn kept(process: &Process, grant: Grant) -> (String, bool) {
    match replace(process, grant).await {
        Ok(Replaced::Kept { message, may_be_spent }) => (message, may_be_spent),
        other => panic!("{other:?}"),
    }
}

/// A fixture whose connection has a grant that gave a token.
async fn working() -> (Fixture, Process) {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    process.token(ACME).await.expect("the grant works");
    (fixture, process)
}

#[tokio::test]
async fn a_grant_that_gives_a_token_replaces_the_one_before() {
    let (fixture, process) = working().await;
    let replaced = replace(&process, refresh_only(fixture.emulator.mint(1).remove(0))).await.unwrap();
    assert!(
        matches!(replaced, Replaced::Tried { generation, expires_at: Some(_) } if generation.0 == 3),
        "{replaced:?}"
    );
    let token = process.token(ACME).await.unwrap();
    assert_eq!(token.generation.0, 3);
    assert!(fixture.emulator.accepts(token.access.reveal()));
    process.force(ACME).await.expect("the refresh token that it brought is the living one");
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_grant_that_the_provider_refuses_changes_nothing() {
    let (fixture, process) = working().await;
    let before = process.row(ACME).await;
    let (message, may_be_spent) = kept(&process, refresh_only(Secret::new("oops-the-wrong-line"))).await;
    assert!(message.contains("refused the new refresh token (invalid_grant)"), "{message}");
    assert!(!message.contains("oops") && !may_be_spent, "{message}");
    assert_eq!(process.row(ACME).await, before);
    process.force(ACME).await.expect("the grant before it lives");
    let filter = AttemptFilter { connection: Some(before.name.clone()), ..AttemptFilter::default() };
    let log = process.vault.attempts(&filter, 10).await.unwrap();
    let refused = log.iter().find(|attempt| attempt.status == AttemptStatus::Failed).unwrap();
    assert_eq!((refused.act, refused.code.as_deref()), (Act::Connect, Some("invalid_grant")));
    assert_eq!(refused.asked_by, Some(operator()));
    assert_eq!(fixture.emulator.stats().reuse_kills, 0);
}

#[tokio::test]
async fn a_grant_that_could_not_be_sent_may_be_tried_again() {
    let (fixture, process) = working().await;
    let refresh = fixture.emulator.mint(1).remove(0);
    fixture.emulator.enqueue([Fault::new(FaultKind::RateLimited { retry_after_secs: 1 })]);
    let (message, may_be_spent) = kept(&process, refresh_only(refresh.clone())).await;
    assert!(message.contains("brought no token") && !may_be_spent, "{message}");
    assert_eq!(process.row(ACME).await.generation.0, 2);
    let replaced = replace(&process, refresh_only(refresh)).await.unwrap();
    assert!(matches!(replaced, Replaced::Tried { .. }), "{replaced:?}");
}

#[tokio::test]
async fn a_grant_of_unknown_outcome_is_not_sent_again_and_the_one_before_stays() {
    let (fixture, process) = working().await;
    let refresh = fixture.emulator.mint(1).remove(0);
    for fault in [Fault::lose_reply(), Fault::new(FaultKind::FailAfter { status: 500 })] {
        let refresh = fixture.emulator.mint(1).remove(0);
        fixture.emulator.enqueue([fault]);
        let (message, may_be_spent) = kept(&process, refresh_only(refresh.clone())).await;
        assert!(message.contains("nobody knows whether the provider took it") && may_be_spent, "{message}");
        let again = replace(&process, refresh_only(refresh.clone())).await;
        assert!(matches!(again, Err(TokenError::GrantRefused { .. })), "{again:?}");
        let stored = process.try_connect(ACME, refresh_only(refresh)).await;
        assert!(matches!(stored, Err(TokenError::GrantRefused { .. })), "{stored:?}");
    }
    process.force(ACME).await.expect("the grant before it lives");
    replace(&process, refresh_only(refresh)).await.unwrap();
    fixture.assert_spent_once();
}

#[tokio::test]
async fn an_access_token_alone_does_not_replace_what_can_be_renewed() {
    let (fixture, process) = working().await;
    let before = process.row(ACME).await;
    let alone = Grant { access: Some(Secret::new("an-access-token")), ..Grant::default() };
    let (message, _) = kept(&process, alone.clone()).await;
    assert!(message.contains("has no refresh token"), "{message}");
    assert_eq!(process.row(ACME).await, before);
    assert_eq!(fixture.requests(), 1);
    process.administer(ACME, OperatorCommand::Disconnect).await.unwrap();
    let replaced = replace(&process, alone).await.unwrap();
    assert!(matches!(replaced, Replaced::Untried(Connected::Stored { .. })), "{replaced:?}");
}

#[tokio::test]
async fn a_grant_is_stored_untried_where_there_is_nothing_to_lose() {
    let policy = confirming(Duration::ZERO);
    let (fixture, process) = Fixture::with(Options { policy, ..Options::default() }).await;
    let replaced = replace(&process, fixture.expired_grant()).await.unwrap();
    assert!(matches!(replaced, Replaced::Untried(Connected::Stored { .. })), "{replaced:?}");
    assert_eq!(fixture.requests(), 0, "nothing was sent");
    let held = fixture.held_refresh(&process, ACME).await.unwrap();
    let same = replace(&process, refresh_only(held.clone())).await.unwrap();
    assert_eq!(same, Replaced::Untried(Connected::Unchanged));
    fixture.emulator.revoke_grant(held.reveal());
    assert!(process.token(ACME).await.is_err());
    let replaced = replace(&process, fixture.living_grant(Duration::from_mins(5))).await.unwrap();
    assert!(matches!(replaced, Replaced::Untried(Connected::Stored { .. })), "{replaced:?}");
    assert_eq!(process.token(ACME).await.unwrap().access.reveal(), "an-access-token-that-lives");
}

#[tokio::test]
async fn a_store_that_fails_after_the_first_use_does_not_lose_the_new_grant() {
    let (fixture, process) = working().await;
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_millis(300))]);
    let refresh = fixture.emulator.mint(1).remove(0);
    let outage = async {
        fixture.until_accepted(2).await;
        process.probe.set_out_of_reach(true);
        sleep(Duration::from_millis(1500)).await;
        process.probe.set_out_of_reach(false);
    };
    let (replaced, ()) = tokio::join!(replace(&process, refresh_only(refresh)), outage);
    let replaced = replaced.unwrap();
    assert!(matches!(replaced, Replaced::Tried { .. }), "{replaced:?}");
    process.force(ACME).await.expect("the refresh token that it brought is the living one");
    fixture.assert_spent_once();
}

/// Looks for the access token where this provider does not put it.
const MISTAKEN: &str = own_provider!(
    one_time_tokens,
    r#"
take = { access = "data.access_token" }
"#
);

#[tokio::test]
async fn a_reply_that_could_not_be_read_is_read_when_the_provider_file_is_mended() {
    let (mut fixture, mistaken) =
        Fixture::with(Options { provider: Some(MISTAKEN), ..Options::default() }).await;
    mistaken.connect(ACME, fixture.living_grant(Duration::from_mins(5))).await;
    let (message, may_be_spent) = kept(&mistaken, refresh_only(fixture.emulator.mint(1).remove(0))).await;
    assert!(message.contains("that answer is kept sealed") && may_be_spent, "{message}");
    fixture.options.provider = Some(MISTAKEN.replace("data.access_token", "access_token").leak());
    let mended = fixture.process().await;
    mended.vault.start().await.unwrap();
    mended.until_generation(ACME, 2).await;
    // Memory follows the store a moment later.
    let deadline = Instant::now() + PATIENCE;
    while !fixture.emulator.accepts(mended.token(ACME).await.unwrap().access.reveal()) {
        assert!(Instant::now() < deadline, "the new grant is not served");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fixture.requests(), 1, "it was spent once");
}
