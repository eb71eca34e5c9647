//! What people ordered is in the audit log, with who and when.

use std::time::Duration;

use jeton_core::audit::{Actor, AuditAction, AuditFilter, AuditRow};
use jeton_core::id::{ConsentId, Generation, OperationId};
use jeton_core::keep::ports::{Connect, ConnectAnswer, Invite, OperatorCommand, StoreError};
use jeton_core::time::Timestamp;
use serde_json::json;

use super::consents::{asked, callback, exchange, invitation};
use super::fixture::{
    ServerFixture, TestResult, access_print, name, node, operator, provider, refresh_print,
};

async fn all(fixture: &ServerFixture) -> Result<Vec<AuditRow>, StoreError> {
    fixture.store.list_audit_rows(AuditFilter::default(), 100).await
}

async fn deeds(fixture: &ServerFixture) -> Result<Vec<AuditAction>, StoreError> {
    Ok(all(fixture).await?.into_iter().map(|row| row.action).collect())
}

fn someone() -> Actor {
    Actor::CommandLine("root@web-1".to_owned())
}

/// The row of an order that has nothing more to say.
fn plain(id: OperationId, at: Timestamp, actor: &Actor, action: AuditAction) -> AuditRow {
    AuditRow { id, at, actor: actor.clone(), action, subject: "acme".to_owned(), details: json!({}) }
}

/// Also where an order is sent again, by another process too; the newest is the first.
pub async fn who_paused_resumed_and_disconnected_is_in_the_audit_log_once(
    fixture: &ServerFixture,
) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let mut expected = all(fixture).await?;
    let orders = [
        (OperatorCommand::Pause, operator(), AuditAction::Paused),
        (OperatorCommand::Resume, someone(), AuditAction::Resumed),
        (OperatorCommand::Disconnect, operator(), AuditAction::Disconnected),
    ];
    for (act, by, action) in orders {
        fixture.clock.step(Duration::from_mins(1));
        let operation = fixture.operation_id();
        assert!(fixture.store.administer(&row.name, act, operation, &by).await?);
        expected.insert(0, plain(operation, fixture.now(), &by, action));
        fixture.clock.step(Duration::from_secs(1));
        assert!(
            fixture.another_process().await.administer(&row.name, act, operation, &by).await?,
            "sent again"
        );
        assert_eq!(all(fixture).await?, expected);
    }
    Ok(())
}

/// Nobody did anything.
pub async fn an_order_that_changed_nothing_is_not_in_the_audit_log(fixture: &ServerFixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    for _ in 0..3 {
        fixture
            .store
            .administer(&row.name, OperatorCommand::Pause, fixture.operation_id(), &operator())
            .await?;
    }
    fixture
        .store
        .administer(&name("nobody"), OperatorCommand::Pause, fixture.operation_id(), &operator())
        .await?;
    assert_eq!(deeds(fixture).await?, [AuditAction::Paused, AuditAction::Connected]);
    Ok(())
}

/// Under the id of its row in the refresh log, and with nothing that the grant holds.
pub async fn who_put_a_grant_in_is_in_the_audit_log_once_and_whether_it_replaced_another(
    fixture: &ServerFixture,
) -> TestResult {
    let mut expected = Vec::new();
    let by_itself = Actor::Node(node(1));
    for (by, generation, replaced) in
        [(Some(someone()), 0, false), (Some(operator()), 1, true), (None, 2, true)]
    {
        fixture.clock.step(Duration::from_mins(1));
        let number = u8::try_from(generation).expect("it is small") + 1;
        let order = Connect { by: by.clone(), ..fixture.connect("acme", number, Generation(generation)) };
        for _ in 0..2 {
            let connected = ConnectAnswer::Connected { generation: Generation(generation + 1) };
            assert_eq!(fixture.store.connect(order.clone()).await?, connected);
        }
        let details = json!({
            "attempt": order.attempt,
            "provider": "strict",
            "generation": generation + 1,
            "replaced": replaced,
        });
        let id = OperationId::from_bytes(*order.attempt.as_bytes());
        let actor = by.unwrap_or(by_itself.clone());
        expected.insert(0, AuditRow { details, ..plain(id, fixture.now(), &actor, AuditAction::Connected) });
        assert_eq!(all(fixture).await?, expected);
    }
    fixture
        .store
        .administer(&name("acme"), OperatorCommand::Disconnect, fixture.operation_id(), &operator())
        .await?;
    fixture.store.connect(fixture.connect("acme", 4, Generation(4))).await?;
    let rows = all(fixture).await?;
    assert_eq!(rows[0].details["replaced"], false, "what was given up is not replaced");
    let told = serde_json::to_string(&rows).expect("rows are JSON");
    for number in 1..=4 {
        for print in [access_print(number), refresh_print(number)] {
            assert!(!told.contains(&print.to_string()), "{told}");
        }
    }
    Ok(())
}

/// It is held already, somebody else was quicker, another connection has it, or it was spent.
pub async fn a_grant_that_was_not_put_in_is_not_in_the_audit_log(fixture: &ServerFixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let before = all(fixture).await?;
    let same = fixture.connect("acme", 1, row.generation);
    assert_eq!(fixture.store.connect(same).await?, ConnectAnswer::Unchanged);
    let stale = fixture.connect("acme", 2, Generation(0));
    assert_eq!(fixture.store.connect(stale).await?, ConnectAnswer::Moved { generation: row.generation });
    let held = fixture.connect("other", 1, Generation(0));
    assert_eq!(fixture.store.connect(held).await?, ConnectAnswer::HeldBy { connection: row.name.clone() });
    let claim = fixture.won(fixture.claim(&row)).await?;
    let spent = fixture.connect("other", 1, Generation(0));
    assert_eq!(fixture.store.connect(spent).await?, ConnectAnswer::Spent { attempt: claim.attempt });
    assert_eq!(all(fixture).await?, before);
    Ok(())
}

/// Whoever has the link can give the grant: who made it counts as well.
pub async fn who_made_a_link_is_in_the_audit_log_and_so_is_the_consent_that_it_led_to(
    fixture: &ServerFixture,
) -> TestResult {
    let invite = Invite { by: someone(), ..invitation("acme", 1) };
    let made_at = fixture.now();
    for _ in 0..2 {
        fixture.store.invite(invite.clone()).await?;
        fixture.clock.step(Duration::from_secs(1));
    }
    let id = OperationId::from_bytes([1; 16]);
    let details = json!({ "consent": invite.id, "provider": "strict" });
    let invited = AuditRow { details, ..plain(id, made_at, &someone(), AuditAction::Invited) };
    assert_eq!(all(fixture).await?, std::slice::from_ref(&invited));

    asked(fixture, 1).await?;
    let (attempt, then) = exchange(fixture);
    fixture.store.record_callback(callback(1, then)).await?;
    assert_eq!(all(fixture).await?, std::slice::from_ref(&invited), "nothing is connected yet");
    let by = Some(Actor::Consent(ConsentId::from_bytes([1; 16])));
    let order = Connect { attempt, by: by.clone(), ..fixture.connect("acme", 1, Generation(0)) };
    for _ in 0..2 {
        fixture.store.connect(order.clone()).await?;
    }
    let rows = all(fixture).await?;
    let connected = rows.iter().find(|row| row.action == AuditAction::Connected).expect("it is in the log");
    assert_eq!((rows.len(), Some(&connected.actor)), (2, by.as_ref()));
    let told = serde_json::to_string(&rows).expect("rows are JSON");
    assert!(!told.contains(&invite.ticket.to_string()), "{told}");
    Ok(())
}

/// The refresh log has those, and there are very many.
pub async fn a_refresh_is_not_in_the_audit_log(fixture: &ServerFixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    let before = all(fixture).await?;
    let claim = fixture.won(fixture.claim(&row)).await?;
    fixture.store.commit(fixture.commit(&claim, 2)).await?;
    assert_eq!(all(fixture).await?, before);
    Ok(())
}

/// By their ids, which sort by time.
pub async fn the_rows_of_one_subject_are_read_page_by_page_the_newest_first(
    fixture: &ServerFixture,
) -> TestResult {
    for (connection, number) in [("acme", 1), ("beta", 2)] {
        let first =
            Connect { provider: provider("other"), ..fixture.connect(connection, number, Generation(0)) };
        fixture.store.connect(first).await?;
    }
    for act in [OperatorCommand::Pause, OperatorCommand::Resume, OperatorCommand::Disconnect] {
        for connection in ["acme", "beta"] {
            fixture.store.administer(&name(connection), act, fixture.operation_id(), &operator()).await?;
        }
    }
    for subject in [Some("acme"), None] {
        let (mut read, mut before) = (Vec::new(), None);
        loop {
            let filter = AuditFilter { before, subject: subject.map(str::to_owned) };
            let page = fixture.store.list_audit_rows(filter, 3).await?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            read.extend(page);
        }
        assert!(read.is_sorted_by(|newer, older| newer.id > older.id), "{read:?}");
        assert!(subject.is_none_or(|subject| read.iter().all(|row| row.subject == subject)), "{read:?}");
        assert_eq!(read.len(), if subject.is_some() { 4 } else { 8 }, "{read:?}");
    }
    let nobody = AuditFilter { before: None, subject: Some("gamma".to_owned()) };
    assert_eq!(fixture.store.list_audit_rows(nobody, 10).await?, []);
    Ok(())
}
