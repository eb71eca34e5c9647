//! How a person's consent becomes a grant.

use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, ConsentId, Generation, GrantId, OperationId};
use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::consent::{
    AnsweredBy, CallbackRefusal, ClosedLink, ConsentOutcome, Progress, progress,
};
use jeton_core::keep::ports::{
    Callback, CallbackAction, CallbackAnswer, Connect, ConnectAnswer, ConsentKey, ConsentStart,
    ConsentStartAnswer, FailExchange, FailureEffect, FoundConsent, Invite, OperatorCommand, StoreError,
};
use jeton_core::seal::Fingerprint;

use super::fixture::{Fixture, LEASE, TestResult, failure, name, node, operator, provider};
use crate::Store;

const LIFE: Duration = Duration::from_mins(10);

fn print(kind: u8, number: u8) -> Fingerprint {
    let mut bytes = [number; 16];
    bytes[0] = kind;
    Fingerprint::from_bytes(bytes)
}

fn id(number: u8) -> ConsentId {
    ConsentId::from_bytes([number; 16])
}

pub(super) fn invitation(connection: &str, number: u8) -> Invite {
    Invite {
        id: id(number),
        connection: name(connection),
        provider: provider("strict"),
        ticket: print(1, number),
        life: LIFE,
        by: operator(),
    }
}

fn opening(number: u8) -> ConsentStart {
    ConsentStart {
        ticket: print(1, number),
        state: print(2, number),
        browser: Some(print(3, number)),
        verifier: vec![number; 40],
        life: LIFE,
    }
}

pub(super) fn exchange<S: Store + ?Sized>(fixture: &Fixture<S>) -> (AttemptId, CallbackAction) {
    let (attempt, grant) = (fixture.attempt_id(), fixture.grant_id());
    (attempt, CallbackAction::Exchange { attempt, grant, node: node(1), lease_ttl: LEASE })
}

pub(super) fn callback(number: u8, then: CallbackAction) -> Callback {
    Callback {
        state: print(2, number),
        answered_by: AnsweredBy::Browser(Some(print(3, number))),
        action: then,
    }
}

/// A link that was opened.
pub(super) async fn asked<S: Store + ?Sized>(fixture: &Fixture<S>, number: u8) -> Result<(), StoreError> {
    fixture.store.invite(invitation("acme", number)).await?;
    let answer = fixture.store.start_consent(opening(number)).await?;
    assert!(matches!(answer, ConsentStartAnswer::Started { .. }), "{answer:?}");
    Ok(())
}

async fn found(fixture: &Fixture, number: u8) -> Result<FoundConsent, StoreError> {
    Ok(fixture.store.find_consent(ConsentKey::Id(id(number))).await?.expect("the test has made it"))
}

async fn how_far(fixture: &Fixture, number: u8) -> Result<Progress, StoreError> {
    let found = found(fixture, number).await?;
    Ok(progress(&found.consent, found.attempt.as_ref(), fixture.now()))
}

/// A second opening would be another browser's.
pub async fn a_link_opens_once_and_in_time(fixture: &Fixture) -> TestResult {
    let until = fixture.store.invite(invitation("acme", 1)).await?;
    assert_eq!(until, fixture.now() + LIFE);
    assert_eq!(fixture.store.invite(invitation("acme", 1)).await?, until, "sent again");
    fixture.clock.step(LIFE.saturating_sub(Duration::from_secs(1)));
    let opened = ConsentStartAnswer::Started { until: fixture.now() + LIFE };
    assert_eq!(fixture.store.start_consent(opening(1)).await?, opened);
    fixture.clock.step(Duration::from_secs(5));
    assert_eq!(fixture.store.start_consent(opening(1)).await?, opened, "sent again");
    let another = ConsentStart { state: print(2, 9), ..opening(1) };
    assert_eq!(
        fixture.another_process().await.start_consent(another).await?,
        ConsentStartAnswer::Closed(ClosedLink::Used)
    );
    fixture.store.invite(invitation("acme", 2)).await?;
    fixture.clock.step(LIFE);
    assert_eq!(fixture.store.start_consent(opening(2)).await?, ConsentStartAnswer::Closed(ClosedLink::Late));
    assert_eq!(fixture.store.start_consent(opening(3)).await?, ConsentStartAnswer::Unknown);
    let asked = found(fixture, 1).await?.consent.authorization.expect("it was opened");
    assert_eq!((asked.state, asked.browser), (print(2, 1), Some(print(3, 1))));
    assert_eq!(asked.verifier, Some(vec![1; 40]));
    Ok(())
}

/// the attempt is in the refresh log before the code is sent, and the verifier is gone.
pub async fn an_answer_is_taken_once_and_opens_its_attempt(fixture: &Fixture) -> TestResult {
    asked(fixture, 1).await?;
    let (attempt, then) = exchange(fixture);
    let order = callback(1, then);
    let at = fixture.now();
    let taken = CallbackAnswer::Taken { at };
    assert_eq!(fixture.store.record_callback(order.clone()).await?, taken);
    fixture.clock.step(Duration::from_secs(1));
    assert_eq!(fixture.store.record_callback(order).await?, taken, "sent again");
    let open = fixture.attempt(attempt).await?;
    assert_eq!((open.act, open.status), (Act::Connect, AttemptStatus::Running));
    assert_eq!((open.started_at, open.lease_until), (at, Some(at + LEASE)));
    let consent = found(fixture, 1).await?.consent;
    assert_eq!(consent.outcome, Some(ConsentOutcome::Exchange(attempt)));
    assert_eq!(consent.authorization.expect("it was opened").verifier, None);
    assert_eq!(how_far(fixture, 1).await?, Progress::Exchanging);
    let replayed = callback(1, exchange(fixture).1);
    assert_eq!(
        fixture.another_process().await.record_callback(replayed).await?,
        CallbackAnswer::Refused(CallbackRefusal::Used)
    );
    assert_eq!(fixture.store.find(&name("acme")).await?, None, "no connection is made yet");
    fixture.clock.step(LEASE);
    assert_eq!(how_far(fixture, 1).await?, Progress::Unknown, "its process died");
    Ok(())
}

/// What does not fit changes nothing, so that the right browser may still come.
pub async fn an_answer_that_does_not_fit_changes_nothing(fixture: &Fixture) -> TestResult {
    asked(fixture, 1).await?;
    let unknown = callback(2, exchange(fixture).1);
    assert_eq!(fixture.store.record_callback(unknown).await?, CallbackAnswer::Unknown);
    for bearer in [AnsweredBy::Browser(None), AnsweredBy::Browser(Some(print(3, 9))), AnsweredBy::Terminal] {
        let stranger = Callback { answered_by: bearer, ..callback(1, exchange(fixture).1) };
        let refusal = CallbackAnswer::Refused(CallbackRefusal::AnotherBrowser);
        assert_eq!(fixture.store.record_callback(stranger).await?, refusal);
    }
    assert_eq!(found(fixture, 1).await?.consent.outcome, None);
    fixture.clock.step(LIFE);
    let late = callback(1, exchange(fixture).1);
    assert_eq!(fixture.store.record_callback(late).await?, CallbackAnswer::Refused(CallbackRefusal::Late));
    assert_eq!(how_far(fixture, 1).await?, Progress::Expired);
    Ok(())
}

/// A refusal uses the state up, and no attempt is made.
pub async fn a_refusal_ends_the_consent(fixture: &Fixture) -> TestResult {
    asked(fixture, 1).await?;
    let attempt = fixture.attempt_id();
    let refuse = CallbackAction::Refuse {
        attempt,
        grant: fixture.grant_id(),
        node: node(1),
        code: "access_denied".into(),
        message: "The person said no.".into(),
        provider_message: Some("Not today.".into()),
    };
    for sent in ["once", "again after an unknown COMMIT"] {
        let answer = fixture.store.record_callback(callback(1, refuse.clone())).await?;
        assert_eq!(answer, CallbackAnswer::Taken { at: fixture.now() }, "{sent}");
    }
    let logged = fixture.attempt(attempt).await?;
    assert_eq!((logged.act, logged.status), (Act::Connect, AttemptStatus::Failed));
    assert_eq!(logged.code.as_deref(), Some("access_denied"), "it is in the log");
    assert_eq!(logged.provider_message.as_deref(), Some("Not today."));
    assert!(matches!(logged.asked_by, Some(Actor::Consent(_))), "{logged:?}");
    let refused = Progress::Refused {
        code: "access_denied".into(),
        message: "The person said no.".into(),
        provider_message: Some("Not today.".into()),
    };
    assert_eq!(how_far(fixture, 1).await?, refused);
    let late = callback(1, exchange(fixture).1);
    assert_eq!(fixture.store.record_callback(late).await?, CallbackAnswer::Refused(CallbackRefusal::Used));
    Ok(())
}

/// The grant takes its place under the attempt that was opened, whatever is known of its refresh token.
pub async fn an_exchange_that_succeeds_connects_under_its_attempt(fixture: &Fixture) -> TestResult {
    asked(fixture, 1).await?;
    let (attempt, then) = exchange(fixture);
    fixture.store.record_callback(callback(1, then)).await?;
    let connect = Connect { attempt, ..fixture.connect("acme", 1, Generation(0)) };
    let connected = ConnectAnswer::Connected { generation: Generation(1) };
    fixture.clock.step(LEASE);
    assert_eq!(fixture.store.connect(connect.clone()).await?, connected, "a lapsed lease does not refuse it");
    assert_eq!(fixture.store.connect(connect).await?, connected, "sent again");
    assert_eq!(how_far(fixture, 1).await?, Progress::Done { generation: Generation(1) });
    let row = fixture.find("acme").await?;
    assert_eq!(row.tokens.as_ref().and_then(|tokens| tokens.access.clone()), Some(vec![1, 1]));

    // Some providers give the same refresh token again: the token set is new all the same.
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 1)).await?;
    asked(fixture, 2).await?;
    let (attempt, then) = exchange(fixture);
    fixture.store.record_callback(callback(2, then)).await?;
    let again = Connect { attempt, ..fixture.connect("acme", 1, Generation(2)) };
    let connected = ConnectAnswer::Connected { generation: Generation(3) };
    assert_eq!(fixture.store.connect(again).await?, connected);

    // Two owners would spend it twice.
    fixture.store.invite(invitation("other", 3)).await?;
    fixture.store.start_consent(opening(3)).await?;
    let (attempt, then) = exchange(fixture);
    fixture.store.record_callback(callback(3, then)).await?;
    let twice = Connect { attempt, ..fixture.connect("other", 1, Generation(0)) };
    assert_eq!(fixture.store.connect(twice).await?, ConnectAnswer::HeldBy { connection: name("acme") });
    Ok(())
}

/// Whoever connects anew, or gives the connection up, after an exchange has begun, has the last word; one that began later
/// replaces what came before it, also where that came in first.
pub async fn what_began_later_has_the_last_word(fixture: &Fixture) -> TestResult {
    let begun = async |number| -> Result<_, StoreError> {
        asked(fixture, number).await?;
        let (attempt, then) = exchange(fixture);
        let CallbackAction::Exchange { grant, .. } = then else { unreachable!("it is one") };
        fixture.store.record_callback(callback(number, then)).await?;
        Ok((attempt, grant))
    };
    let connect = |(attempt, grant), number, generation| Connect {
        attempt,
        grant,
        ..fixture.connect("acme", number, Generation(generation))
    };
    let (first, second) = (begun(1).await?, begun(2).await?);
    let connected = |generation| ConnectAnswer::Connected { generation: Generation(generation) };
    assert_eq!(fixture.store.connect(connect(first, 1, 0)).await?, connected(1));
    assert_eq!(fixture.store.connect(connect(second, 2, 1)).await?, connected(2), "it began later");

    let (third, fourth) = (begun(3).await?, begun(4).await?);
    assert_eq!(fixture.store.connect(connect(fourth, 4, 2)).await?, connected(3));
    assert_eq!(fixture.store.connect(connect(third, 3, 2)).await?, ConnectAnswer::Superseded);
    assert_eq!(fixture.store.connect(connect(third, 3, 3)).await?, ConnectAnswer::Superseded);

    let fifth = begun(5).await?;
    fixture
        .store
        .administer(&name("acme"), OperatorCommand::Disconnect, fixture.operation_id(), &operator())
        .await?;
    let row = fixture.find("acme").await?;
    let late = connect(fifth, 5, row.generation.0);
    assert_eq!(fixture.store.connect(late).await?, ConnectAnswer::Superseded, "it was given up since");
    assert_eq!(fixture.find("acme").await?, row);
    Ok(())
}

/// What is connected or given up while a clock is wrong, that of the store or that of the node which made the ids, does not put
/// the consents that begin once it is right in the past.
pub async fn a_clock_that_was_a_day_ahead_does_not_decide_which_consent_began_later(
    fixture: &Fixture,
) -> TestResult {
    const DAY: i64 = 86_400;
    let ahead = || fixture.now() + Duration::from_secs(DAY.unsigned_abs());
    let consent = async |number, generation| {
        asked(fixture, number).await?;
        let (attempt, then) = exchange(fixture);
        fixture.store.record_callback(callback(number, then)).await?;
        fixture
            .store
            .connect(Connect { attempt, ..fixture.connect("acme", number, Generation(generation)) })
            .await
    };
    let connected = |generation| ConnectAnswer::Connected { generation: Generation(generation) };
    // The clock of the store.
    fixture.clock.set(DAY);
    fixture.connected("acme", 1).await?;
    fixture.clock.set(-DAY);
    assert_eq!(consent(2, 1).await?, connected(2));
    // Those of nodes.
    let grant = GrantId::generate(ahead(), &SystemEntropy);
    let taken_over = Connect { grant, ..fixture.connect("acme", 3, Generation(2)) };
    assert_eq!(fixture.store.connect(taken_over).await?, connected(3));
    assert_eq!(consent(4, 3).await?, connected(4));
    let operation = OperationId::generate(ahead(), &SystemEntropy);
    let (acme, by) = (name("acme"), operator());
    fixture.store.administer(&acme, OperatorCommand::Disconnect, operation, &by).await?;
    assert_eq!(consent(6, 5).await?, connected(6));
    Ok(())
}

/// Some providers give the refresh token again that they gave before. While that one is being sent, nobody else may.
pub async fn a_grant_whose_refresh_token_is_being_sent_leaves_the_lease_alone(
    fixture: &Fixture,
) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    asked(fixture, 1).await?;
    let (attempt, then) = exchange(fixture);
    fixture.store.record_callback(callback(1, then)).await?;
    let same = Connect { attempt, ..fixture.connect("acme", 1, Generation(1)) };
    let connected = ConnectAnswer::Connected { generation: Generation(2) };
    assert_eq!(fixture.store.connect(same).await?, connected);
    let row = fixture.find("acme").await?;
    assert_eq!(row.lease.map(|lease| lease.attempt), Some(claim.attempt));
    let rival = fixture.store.claim(fixture.claim(&row)).await?;
    assert!(matches!(rival, ClaimAnswer::Held { .. }), "{rival:?}");
    fixture.store.fail(failure(&claim, FailureEffect::Retry, "not_sent")).await?;
    let row = fixture.find("acme").await?;
    assert_eq!((row.lease, row.open_attempt), (None, None), "what was sent is over");
    fixture.won(fixture.claim(&row)).await?;
    Ok(())
}

/// A failure stands in the log and touches no connection.
pub async fn an_exchange_that_fails_leaves_the_connection_alone(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    for (number, unknown) in [(1, false), (2, true)] {
        asked(fixture, number).await?;
        let (attempt, then) = exchange(fixture);
        fixture.store.record_callback(callback(number, then)).await?;
        let kept_reply = unknown.then(|| vec![7; 40]);
        let fail = FailExchange {
            connection: name("acme"),
            attempt,
            unknown,
            code: "invalid_grant".into(),
            http_status: Some(400),
            message: "The provider refused the code.".into(),
            provider_message: Some("The code is over.".into()),
            kept_reply: kept_reply.clone(),
        };
        fixture.store.fail_exchange(fail.clone()).await?;
        let again = FailExchange { code: "again".into(), kept_reply: Some(vec![8]), ..fail };
        fixture.store.fail_exchange(again).await?;
        assert_eq!(fixture.store.find_kept_reply(attempt).await?, kept_reply);
        let logged = fixture.attempt(attempt).await?;
        assert_eq!((logged.code.as_deref(), logged.http_status), (Some("invalid_grant"), Some(400)));
        let expected = if unknown {
            Progress::Unknown
        } else {
            Progress::Failed {
                code: "invalid_grant".into(),
                message: "The provider refused the code.".into(),
                provider_message: Some("The code is over.".into()),
            }
        };
        assert_eq!(how_far(fixture, number).await?, expected);
    }
    assert_eq!(fixture.find("acme").await?, row);
    Ok(())
}

/// A reply that could not be read is read after all, when the provider file is mended.
pub async fn a_kept_reply_of_an_exchange_is_wiped_once_its_grant_is_stored(fixture: &Fixture) -> TestResult {
    asked(fixture, 1).await?;
    let (attempt, then) = exchange(fixture);
    fixture.store.record_callback(callback(1, then)).await?;
    let fail = FailExchange {
        connection: name("acme"),
        attempt,
        unknown: true,
        code: "no_access_token".into(),
        http_status: Some(200),
        message: "The reply could not be read.".into(),
        provider_message: None,
        kept_reply: Some(vec![7; 40]),
    };
    fixture.store.fail_exchange(fail).await?;
    let connect = Connect { attempt, ..fixture.connect("acme", 1, Generation(0)) };
    let connected = ConnectAnswer::Connected { generation: Generation(1) };
    assert_eq!(fixture.store.connect(connect).await?, connected);
    assert_eq!(how_far(fixture, 1).await?, Progress::Done { generation: Generation(1) });
    assert_eq!(fixture.store.find_kept_reply(attempt).await?, None);
    Ok(())
}

/// For the page that shows how everything stands.
pub async fn the_latest_consent_of_each_connection_is_listed_and_old_ones_are_forgotten(
    fixture: &Fixture,
) -> TestResult {
    for (connection, number) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
        fixture.store.invite(invitation(connection, number)).await?;
    }
    let listed = async |after: Option<&str>, limit| -> Result<Vec<ConsentId>, StoreError> {
        let after = after.map(name);
        let found = fixture.store.list_latest_consents(after.as_ref(), limit).await?;
        Ok(found.into_iter().map(|found| found.consent.id).collect())
    };
    assert_eq!(listed(None, 10).await?, [id(3), id(2), id(4)]);
    assert_eq!(listed(Some("a"), 1).await?, [id(2)]);
    fixture.clock.step(Duration::from_hours(8 * 24));
    fixture.store.invite(invitation("d", 5)).await?;
    assert_eq!(listed(None, 10).await?, [id(5)]);
    Ok(())
}
