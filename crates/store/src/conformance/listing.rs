//! What is listed, what is due, and how changes are noticed.

use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::{Connect, OperatorCommand, name_of};

use super::fixture::{Fixture, TestResult, name, operator};

/// A change that is not noticed after this long is not noticed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lists are bounded; the last name leads on.
pub async fn connections_are_listed_by_name_page_by_page(fixture: &Fixture) -> TestResult {
    for (number, label) in (1..).zip(["c", "a", "e", "b", "d"]) {
        fixture.connected(label, number).await?;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = fixture.store.list(after.as_ref(), 2).await?;
        let Some(last) = page.last() else { break };
        after = Some(name_of(last).clone());
        for row in page {
            let row = row.expect("it can be read");
            seen.push((row.name.to_string(), row.tokens.is_some()));
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"].map(|label| (label.to_owned(), true)));
    Ok(())
}

/// Two that became due in the same instant are told apart by name, across pages.
pub async fn what_is_due_comes_longest_first_and_page_by_page(fixture: &Fixture) -> TestResult {
    for (number, (label, due_in)) in (1..).zip([("c", 20), ("a", 10), ("d", 10), ("b", 10), ("far", 900)]) {
        let due_at = fixture.now() + Duration::from_secs(due_in);
        fixture.store.connect(Connect { due_at, ..fixture.connect(label, number, Generation(0)) }).await?;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (now, page) = fixture.store.due(Duration::from_mins(1), after.as_ref(), 2).await?;
        assert_eq!(now, fixture.now());
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(
            page.into_iter().map(|due| (due.connection.to_string(), due.due_at.since(now).as_secs())),
        );
    }
    let expected = [("a", 10), ("b", 10), ("d", 10), ("c", 20)];
    assert_eq!(seen, expected.map(|(label, due_in)| (label.to_owned(), due_in)));
    Ok(())
}

/// The reconciler gets only what it may work on.
pub async fn what_is_leased_or_paused_or_far_away_is_not_due(fixture: &Fixture) -> TestResult {
    let leased = fixture.connected("leased", 1).await?;
    fixture.won(fixture.claim(&leased)).await?;
    let paused = fixture.connected("paused", 2).await?;
    fixture
        .store
        .administer(&paused.name, OperatorCommand::Pause, fixture.operation_id(), &operator())
        .await?;
    let row = fixture.connected("later", 3).await?;
    let due_in = row.due_at.expect("connecting sets it").since(fixture.now());
    assert!(fixture.store.due(due_in.saturating_sub(Duration::from_micros(1)), None, 10).await?.1.is_empty());
    let (_, due) = fixture.store.due(due_in, None, 10).await?;
    assert_eq!(due.iter().map(|due| due.connection.as_str()).collect::<Vec<_>>(), ["later"]);
    Ok(())
}

/// Whoever loads what is above the last revision seen misses nothing.
pub async fn every_change_gets_a_higher_revision_and_shows_in_the_feed(fixture: &Fixture) -> TestResult {
    let start = fixture.store.revision().await?;
    let first = fixture.connected("acme", 1).await?;
    let second = fixture.connected("other", 2).await?;
    assert!(start < first.revision && first.revision < second.revision);
    let claim = fixture.won(fixture.claim(&first)).await?;
    fixture.store.commit(fixture.commit(&claim, 3)).await?;
    let last = fixture.find("acme").await?.revision;
    assert!(last > second.revision);
    assert_eq!(fixture.store.revision().await?, last);
    let changed = fixture.store.changed_since(start, 10).await?;
    let changed: Vec<_> = changed.into_iter().map(|row| row.expect("it can be read")).collect();
    let names: Vec<_> = changed.iter().map(|row| (row.name.as_str(), row.revision)).collect();
    assert_eq!(names, [("other", second.revision), ("acme", last)]);
    assert_eq!(changed[1], fixture.find("acme").await?);
    assert_eq!(fixture.store.changed_since(start, 1).await?.len(), 1);
    assert!(fixture.store.changed_since(last, 10).await?.is_empty());
    Ok(())
}

/// Else every lost race would wake every process.
pub async fn an_answer_that_changes_nothing_makes_no_revision(fixture: &Fixture) -> TestResult {
    let row = fixture.connected("acme", 1).await?;
    fixture.won(fixture.claim(&row)).await?;
    let revision = fixture.store.revision().await?;
    assert!(matches!(fixture.store.claim(fixture.claim(&row)).await?, ClaimAnswer::Held { .. }));
    fixture.store.connect(fixture.connect("acme", 1, row.generation)).await?;
    fixture
        .store
        .administer(&name("nobody"), OperatorCommand::Pause, fixture.operation_id(), &operator())
        .await?;
    assert_eq!(fixture.store.revision().await?, revision);
    Ok(())
}

/// Waiters of this process are woken by its own commits.
pub async fn waiting_ends_when_this_process_changes_something(fixture: &Fixture) -> TestResult {
    let seen = fixture.store.revision().await?;
    let waiting = tokio::time::timeout(PATIENCE, fixture.store.wait_for_change(seen));
    let (woken, changed) = tokio::join!(waiting, fixture.connected("acme", 1));
    woken.expect("the change is noticed");
    assert!(changed?.revision > seen);
    Ok(())
}

/// The command line works beside a running server.
pub async fn waiting_ends_when_another_process_changes_something(fixture: &Fixture) -> TestResult {
    let other_process = fixture.another_process().await;
    for number in 1..4 {
        let seen = fixture.store.revision().await?;
        let waiting = tokio::time::timeout(PATIENCE, fixture.store.wait_for_change(seen));
        let label = format!("acme-{number}");
        let (woken, changed) =
            tokio::join!(waiting, other_process.connect(fixture.connect(&label, number, Generation(0))));
        changed?;
        woken.expect("the change is noticed");
        let rows = fixture.store.changed_since(seen, 10).await?;
        assert_eq!(rows.iter().map(|row| name_of(row).as_str()).collect::<Vec<_>>(), [label]);
    }
    Ok(())
}

/// A change between reading the revision and beginning to wait is not missed.
pub async fn waiting_for_what_has_happened_ends_at_once(fixture: &Fixture) -> TestResult {
    let seen = fixture.store.revision().await?;
    fixture.connected("acme", 1).await?;
    let waiting = tokio::time::timeout(PATIENCE, fixture.store.wait_for_change(seen));
    waiting.await.expect("the change is noticed");
    Ok(())
}
