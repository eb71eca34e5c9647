//! What is listed, what is due, and how changes are noticed.
#![expect(
    clippy::missing_panics_doc,
    reason = "a chapter panics where the store breaks a rule: that is its purpose"
)]

use std::time::Duration;

use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::connection::Generation;
use jeton_core::keep::ports::{Connect, OperatorCommand, name_of};

use super::stand::{Stand, Told, name, operator};

/// A change that is not noticed after this long is not noticed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lists are bounded; the last name leads on.
pub async fn connections_are_listed_by_name_page_by_page(stand: &Stand) -> Told {
    for (number, label) in (1..).zip(["c", "a", "e", "b", "d"]) {
        stand.connected(label, number).await?;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = stand.store.list(after.as_ref(), 2).await?;
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
pub async fn what_is_due_comes_longest_first_and_page_by_page(stand: &Stand) -> Told {
    for (number, (label, due_in)) in (1..).zip([("c", 20), ("a", 10), ("d", 10), ("b", 10), ("far", 900)]) {
        let due_at = stand.now() + Duration::from_secs(due_in);
        stand.store.connect(Connect { due_at, ..stand.connect(label, number, Generation(0)) }).await?;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (now, page) = stand.store.due(Duration::from_mins(1), after.as_ref(), 2).await?;
        assert_eq!(now, stand.now());
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
pub async fn what_is_leased_or_paused_or_far_away_is_not_due(stand: &Stand) -> Told {
    let leased = stand.connected("leased", 1).await?;
    stand.won(stand.claim(&leased)).await?;
    let paused = stand.connected("paused", 2).await?;
    stand.store.administer(&paused.name, OperatorCommand::Pause, stand.operation_id(), &operator()).await?;
    let row = stand.connected("later", 3).await?;
    let due_in = row.due_at.expect("connecting sets it").since(stand.now());
    assert!(stand.store.due(due_in.saturating_sub(Duration::from_micros(1)), None, 10).await?.1.is_empty());
    let (_, due) = stand.store.due(due_in, None, 10).await?;
    assert_eq!(due.iter().map(|due| due.connection.as_str()).collect::<Vec<_>>(), ["later"]);
    Ok(())
}

/// Whoever loads what is above the last revision seen misses nothing.
pub async fn every_change_gets_a_higher_revision_and_shows_in_the_feed(stand: &Stand) -> Told {
    let start = stand.store.revision().await?;
    let first = stand.connected("acme", 1).await?;
    let second = stand.connected("other", 2).await?;
    assert!(start < first.revision && first.revision < second.revision);
    let claim = stand.won(stand.claim(&first)).await?;
    stand.store.commit(stand.commit(&claim, 3)).await?;
    let last = stand.find("acme").await?.revision;
    assert!(last > second.revision);
    assert_eq!(stand.store.revision().await?, last);
    let changed = stand.store.changed_since(start, 10).await?;
    let changed: Vec<_> = changed.into_iter().map(|row| row.expect("it can be read")).collect();
    let names: Vec<_> = changed.iter().map(|row| (row.name.as_str(), row.revision)).collect();
    assert_eq!(names, [("other", second.revision), ("acme", last)]);
    assert_eq!(changed[1], stand.find("acme").await?);
    assert_eq!(stand.store.changed_since(start, 1).await?.len(), 1);
    assert!(stand.store.changed_since(last, 10).await?.is_empty());
    Ok(())
}

/// Else every lost race would wake every process.
pub async fn an_answer_that_changes_nothing_makes_no_revision(stand: &Stand) -> Told {
    let row = stand.connected("acme", 1).await?;
    stand.won(stand.claim(&row)).await?;
    let revision = stand.store.revision().await?;
    assert!(matches!(stand.store.claim(stand.claim(&row)).await?, ClaimAnswer::Held { .. }));
    stand.store.connect(stand.connect("acme", 1, row.generation)).await?;
    stand
        .store
        .administer(&name("nobody"), OperatorCommand::Pause, stand.operation_id(), &operator())
        .await?;
    assert_eq!(stand.store.revision().await?, revision);
    Ok(())
}

/// Waiters of this process are woken by its own commits.
pub async fn waiting_ends_when_this_process_changes_something(stand: &Stand) -> Told {
    let seen = stand.store.revision().await?;
    let waiting = tokio::time::timeout(PATIENCE, stand.store.wait_for_change(seen));
    let (woken, changed) = tokio::join!(waiting, stand.connected("acme", 1));
    woken.expect("the change is noticed");
    assert!(changed?.revision > seen);
    Ok(())
}

/// The command line works beside a running server.
pub async fn waiting_ends_when_another_process_changes_something(stand: &Stand) -> Told {
    let elsewhere = stand.another_process().await;
    for number in 1..4 {
        let seen = stand.store.revision().await?;
        let waiting = tokio::time::timeout(PATIENCE, stand.store.wait_for_change(seen));
        let label = format!("acme-{number}");
        let (woken, changed) =
            tokio::join!(waiting, elsewhere.connect(stand.connect(&label, number, Generation(0))));
        changed?;
        woken.expect("the change is noticed");
        let rows = stand.store.changed_since(seen, 10).await?;
        assert_eq!(rows.iter().map(|row| name_of(row).as_str()).collect::<Vec<_>>(), [label]);
    }
    Ok(())
}

/// A change between reading the revision and beginning to wait is not missed.
pub async fn waiting_for_what_has_happened_ends_at_once(stand: &Stand) -> Told {
    let seen = stand.store.revision().await?;
    stand.connected("acme", 1).await?;
    let waiting = tokio::time::timeout(PATIENCE, stand.store.wait_for_change(seen));
    waiting.await.expect("the change is noticed");
    Ok(())
}
