//! How a grant comes into a connection.

use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::attempt::{Act, AttemptStatus};
use jeton_core::keep::claim::Claim;
use jeton_core::keep::connection::GrantState;
use jeton_core::keep::ports::{
    BeginConnect, BeginConnectAnswer, CommitAnswer, Connect, ConnectAnswer, FailExchange, FailureEffect,
    OperatorCommand,
};

use super::fixture::{COOLDOWN, Fixture, TestResult, failure, name, operator, provider};

/// The first row of a connection.
pub async fn connecting_makes_the_row_with_its_first_generation(fixture: &Fixture) -> TestResult {
    assert_eq!(fixture.store.find(&name("acme")).await?, None);
    let connect = fixture.connect("acme", 1, Generation(0));
    let answer = fixture.store.connect(connect.clone()).await?;
    assert_eq!(answer, ConnectAnswer::Connected { generation: Generation(1) });
    let row = fixture.find("acme").await?;
    assert_eq!((row.generation, row.state), (Generation(1), GrantState::Live));
    assert_eq!((row.grant, &row.provider), (connect.grant.after(None, fixture.now()), &connect.provider));
    assert_eq!((row.due_at, row.created_at), (Some(connect.due_at), fixture.now()));
    assert_eq!(row.tokens, connect.tokens);
    let attempt = fixture.attempt(connect.attempt).await?;
    assert_eq!((attempt.act, attempt.status), (Act::Connect, AttemptStatus::Success));
    assert_eq!(attempt.new_generation, Some(Generation(1)));
    Ok(())
}

/// Trouble with the old grant is no trouble of the new one.
pub async fn connecting_again_replaces_the_grant_and_never_goes_back(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let connect = fixture.connect("acme", 2, row.generation);
    let answer = fixture.store.connect(connect.clone()).await?;
    assert_eq!(answer, ConnectAnswer::Connected { generation: Generation(2) });
    let fresh = fixture.find("acme").await?;
    assert!(fresh.grant > row.grant);
    assert_eq!((fresh.state, fresh.state_code), (GrantState::Live, None));
    assert_eq!((fresh.failures, fresh.last_error, fresh.cooling_until), (0, None, None));
    assert_eq!((fresh.due_at, fresh.created_at), (Some(connect.due_at), row.created_at));
    assert_eq!(fresh.tokens, connect.tokens);
    Ok(())
}

/// After a COMMIT of unknown outcome.
pub async fn a_connect_that_is_sent_again_gets_the_first_answer(fixture: &Fixture) -> TestResult {
    let connect = fixture.connect("acme", 1, Generation(0));
    let first = fixture.store.connect(connect.clone()).await?;
    let row = fixture.find("acme").await?;
    assert_eq!(fixture.store.connect(connect.clone()).await?, first);
    assert_eq!(fixture.find("acme").await?, row);
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    assert_eq!(fixture.store.connect(connect).await?, first, "whatever happened since");
    Ok(())
}

/// Tokens are sealed for the generation after the one that was seen.
pub async fn connecting_over_a_generation_that_moved_changes_nothing(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let moved = ConnectAnswer::Moved { generation: Generation(1) };
    assert_eq!(fixture.store.connect(fixture.connect("acme", 2, Generation(0))).await?, moved);
    let late = fixture.connect("nobody", 2, Generation(4));
    assert_eq!(fixture.store.connect(late).await?, ConnectAnswer::Moved { generation: Generation(0) });
    assert_eq!(fixture.find("acme").await?, row);
    assert_eq!(fixture.store.find(&name("nobody")).await?, None);
    Ok(())
}

/// Taking over the same grant twice does no harm.
pub async fn the_refresh_token_that_is_held_already_changes_nothing(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let again = fixture.connect("acme", 1, row.generation);
    assert_eq!(fixture.store.connect(again.clone()).await?, ConnectAnswer::Unchanged);
    assert_eq!(fixture.find("acme").await?, row);
    assert_eq!(fixture.store.find_attempt(again.attempt).await?, None);
    Ok(())
}

/// It is spent at the provider before it is stored, and its attempt is in the refresh log before that.
pub async fn a_grant_that_is_used_first_opens_its_attempt_and_leaves_the_row_alone(
    fixture: &Fixture,
) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let begin = fixture.begin_connect("acme", 2);
    let answer = BeginConnectAnswer::Begun { at: fixture.now() };
    assert_eq!(fixture.store.begin_connect(begin.clone()).await?, answer);
    fixture.clock.step(Duration::from_secs(1));
    assert_eq!(fixture.store.begin_connect(begin.clone()).await?, answer, "sent again");
    assert_eq!(fixture.find("acme").await?, row);
    let open = fixture.attempt(begin.attempt).await?;
    assert_eq!((open.act, open.status), (Act::Connect, AttemptStatus::Running));
    assert_eq!((open.fingerprint, open.asked_by), (Some(begin.refresh), Some(begin.by.clone())));
    // Another process may not send it too, for this connection or another.
    for connection in ["acme", "other"] {
        let again = fixture.begin_connect(connection, 2);
        let answer = fixture.another_process().await.begin_connect(again).await?;
        assert_eq!(answer, BeginConnectAnswer::Spent { attempt: begin.attempt });
    }
    // The token set that it brought replaces the grant, whatever the row has become.
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 3)).await?;
    let connect =
        Connect { attempt: begin.attempt, grant: begin.grant, ..fixture.connect("acme", 4, Generation(2)) };
    let answer = fixture.store.connect(connect.clone()).await?;
    assert_eq!(answer, ConnectAnswer::Connected { generation: Generation(3) });
    let done = fixture.attempt(begin.attempt).await?;
    assert_eq!((done.status, done.fingerprint), (AttemptStatus::Success, Some(begin.refresh)));
    assert_eq!(fixture.find("acme").await?.tokens, connect.tokens);
    Ok(())
}

/// What cannot be used is said before anything is sent.
pub async fn a_grant_that_is_held_already_is_not_used_first(fixture: &Fixture) -> TestResult {
    fixture.connected("acme", 1).await?;
    fixture.connected("other", 2).await?;
    let own = fixture.begin_connect("acme", 1);
    assert_eq!(fixture.store.begin_connect(own.clone()).await?, BeginConnectAnswer::Unchanged);
    let held = BeginConnectAnswer::HeldBy { connection: name("other") };
    assert_eq!(fixture.store.begin_connect(fixture.begin_connect("acme", 2)).await?, held);
    assert_eq!(fixture.store.find_attempt(own.attempt).await?, None);
    let shared = BeginConnect { single_use: false, ..fixture.begin_connect("acme", 2) };
    let answer = fixture.store.begin_connect(shared).await?;
    assert!(matches!(answer, BeginConnectAnswer::Begun { .. }), "{answer:?}");
    Ok(())
}

/// The refresh token may be tried again, and nothing else has changed.
pub async fn a_grant_that_was_refused_when_it_was_used_first_leaves_the_row_alone(
    fixture: &Fixture,
) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let begin = fixture.begin_connect("acme", 2);
    fixture.store.begin_connect(begin.clone()).await?;
    let fail = FailExchange {
        connection: name("acme"),
        attempt: begin.attempt,
        unknown: false,
        code: "invalid_grant".to_owned(),
        http_status: Some(400),
        message: "The provider refused.".to_owned(),
        provider_message: None,
        kept_reply: None,
    };
    fixture.store.fail_exchange(fail).await?;
    assert_eq!(fixture.find("acme").await?, row);
    assert_eq!(fixture.attempt(begin.attempt).await?.status, AttemptStatus::Failed);
    let answer = fixture.store.begin_connect(fixture.begin_connect("acme", 2)).await?;
    assert!(matches!(answer, BeginConnectAnswer::Begun { .. }), "{answer:?}");
    Ok(())
}

/// Promise 1: what may have been accepted is not sent again, whoever brings it.
pub async fn a_single_use_refresh_token_that_was_spent_is_refused_everywhere(
    fixture: &Fixture,
) -> TestResult {
    let (_, claim) = fixture.claimed().await?;
    let spent = ConnectAnswer::Spent { attempt: claim.attempt };
    let other = fixture.connect("other", 1, Generation(0));
    assert_eq!(fixture.store.connect(other.clone()).await?, spent, "while it is under way");
    fixture.store.fail(failure(&claim, FailureEffect::Unknown, "ambiguous")).await?;
    assert_eq!(fixture.store.connect(other.clone()).await?, spent, "while nobody knows");
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    assert_eq!(fixture.store.connect(other.clone()).await?, spent, "once it is known");
    assert_eq!(fixture.store.connect(fixture.connect("acme", 1, Generation(2))).await?, spent);
    assert_eq!(fixture.store.find(&name("other")).await?, None);
    let reusable = Connect { single_use: false, ..other };
    assert!(matches!(fixture.store.connect(reusable).await?, ConnectAnswer::Connected { .. }));
    Ok(())
}

/// Two owners of one single-use token would spend it twice.
pub async fn a_single_use_refresh_token_that_another_connection_holds_is_refused(
    fixture: &Fixture,
) -> TestResult {
    fixture.connected("acme", 1).await?;
    let other = fixture.connect("other", 1, Generation(0));
    let held = ConnectAnswer::HeldBy { connection: name("acme") };
    assert_eq!(fixture.store.connect(other.clone()).await?, held);
    assert_eq!(fixture.store.find(&name("other")).await?, None);
    let operation = fixture.operation_id();
    fixture.store.administer(&name("acme"), OperatorCommand::Disconnect, operation, &operator()).await?;
    assert!(matches!(fixture.store.connect(other).await?, ConnectAnswer::Connected { .. }));
    Ok(())
}

/// It is known that such a token was not accepted; a person may try it again.
pub async fn a_refresh_token_of_a_failed_attempt_may_be_connected_again(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    let again = fixture.connect("acme", 1, row.generation);
    let answer = fixture.store.connect(again).await?;
    assert_eq!(answer, ConnectAnswer::Connected { generation: Generation(2) });
    assert_eq!(fixture.find("acme").await?.state, GrantState::Live);
    Ok(())
}

/// The lease was on the old grant.
pub async fn connecting_supersedes_the_attempt_under_way(fixture: &Fixture) -> TestResult {
    let (row, claim) = fixture.claimed().await?;
    fixture.store.connect(fixture.connect("acme", 2, row.generation)).await?;
    let fresh = fixture.find("acme").await?;
    assert_eq!((fresh.lease, fresh.open_attempt), (None, None));
    let attempt = fixture.attempt(claim.attempt).await?;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Interrupted, Some("superseded")));
    assert_eq!(attempt.completed_at, Some(fixture.now()));
    fixture.won(fixture.claim(&fresh)).await?;
    Ok(())
}

/// For a provider that acquires, nothing more is needed than the row.
pub async fn connecting_without_tokens_waits_for_the_first_acquire(fixture: &Fixture) -> TestResult {
    let connect = Connect { tokens: None, ..fixture.connect("acme", 1, Generation(0)) };
    let answer = fixture.store.connect(connect.clone()).await?;
    assert_eq!(answer, ConnectAnswer::Connected { generation: Generation(0) });
    assert_eq!(fixture.store.connect(connect).await?, answer, "sent again");
    let row = fixture.find("acme").await?;
    assert_eq!((row.state, row.generation, &row.tokens), (GrantState::None, Generation(0), &None));
    assert_eq!(row.due_at, Some(fixture.now()));
    let claim = fixture.won(Claim { act: Act::Acquire, ..fixture.claim(&row) }).await?;
    let answer = fixture.store.commit(fixture.commit(&claim, 1)).await?;
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(1) });
    assert_eq!(fixture.find("acme").await?.state, GrantState::Live);
    Ok(())
}

/// Two processes that start at once, or one that starts after a person has disconnected.
pub async fn a_process_that_begins_by_itself_makes_the_row_and_changes_none(fixture: &Fixture) -> TestResult {
    let begin = |seed| Connect {
        tokens: None,
        by: None,
        due_at: fixture.now(),
        ..fixture.connect("acme", seed, Generation(0))
    };
    let answer = fixture.store.connect(begin(1)).await?;
    assert_eq!(answer, ConnectAnswer::Connected { generation: Generation(0) });
    let row = fixture.find("acme").await?;
    assert_eq!((row.state, row.due_at), (GrantState::None, Some(fixture.now())));
    fixture.won(Claim { act: Act::Acquire, ..fixture.claim(&row) }).await?;
    let claimed = fixture.find("acme").await?;
    assert_eq!(fixture.store.connect(begin(2)).await?, ConnectAnswer::Unchanged);
    assert_eq!(fixture.find("acme").await?, claimed, "the attempt of the other process goes on");
    let disconnect = OperatorCommand::Disconnect;
    assert!(fixture.store.administer(&row.name, disconnect, fixture.operation_id(), &operator()).await?);
    let given_up = fixture.find("acme").await?;
    assert!(given_up.is_given_up());
    let late = Connect { generation: given_up.generation, ..begin(3) };
    assert_eq!(fixture.store.connect(late).await?, ConnectAnswer::Unchanged);
    assert_eq!(fixture.find("acme").await?, given_up);
    Ok(())
}

/// There is nothing to replace it with yet.
pub async fn connecting_without_tokens_leaves_a_working_grant_alone(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let connect = Connect { tokens: None, ..fixture.connect("acme", 1, row.generation) };
    assert_eq!(fixture.store.connect(connect.clone()).await?, ConnectAnswer::Unchanged);
    assert_eq!(fixture.find("acme").await?, row);
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.fail(failure(&claim, FailureEffect::State(GrantState::Dead), "invalid_grant")).await?;
    fixture.clock.step(COOLDOWN);
    fixture.store.connect(connect).await?;
    let row = fixture.find("acme").await?;
    assert_eq!((row.state, row.due_at, row.tokens), (GrantState::None, Some(fixture.now()), None));
    Ok(())
}

/// The tokens of one provider are never handed out as those of another.
pub async fn connecting_without_tokens_to_another_provider_gives_the_old_tokens_up(
    fixture: &Fixture,
) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let another = provider("other");
    let connect =
        Connect { tokens: None, provider: another.clone(), ..fixture.connect("acme", 1, row.generation) };
    fixture.store.connect(connect).await?;
    let moved = fixture.find("acme").await?;
    assert_eq!((moved.provider, moved.tokens, moved.generation), (another, None, Generation(2)));
    Ok(())
}
