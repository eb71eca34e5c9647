//! Many at once, in several processes.

use futures_util::future::try_join_all;
use jeton_core::id::Generation;
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::ports::CommitAnswer;

use super::fixture::{Fixture, TestResult, node};

/// Promise 1, as the store keeps it.
pub async fn of_many_claims_in_two_processes_exactly_one_wins_each_generation(
    fixture: &Fixture,
) -> TestResult {
    let other_process = fixture.another_process().await;
    let mut row = fixture.connected("acme", 1).await?;
    for round in 2..=12 {
        let claims = (0..64).map(|number| {
            let store = if number % 2 == 0 { &fixture.store } else { &other_process };
            let claim = Claim { node: node(number), ..fixture.claim(&row) };
            async move { store.claim(claim.clone()).await.map(|answer| (claim, answer)) }
        });
        let answers = try_join_all(claims).await?;
        let won: Vec<_> =
            answers.iter().filter(|(_, answer)| matches!(answer, ClaimAnswer::Won { .. })).collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert!(
            answers
                .iter()
                .all(|(_, answer)| { matches!(answer, ClaimAnswer::Won { .. } | ClaimAnswer::Held { .. }) })
        );
        let store = if round % 2 == 0 { &other_process } else { &fixture.store };
        let answer = store.commit(fixture.commit(&won[0].0, round)).await?;
        assert_eq!(answer, CommitAnswer::Committed { generation: Generation(u64::from(round)) });
        row = fixture.find("acme").await?;
    }
    Ok(())
}

/// One batch holds calls of many connections; each gets its own answer.
pub async fn calls_of_many_connections_do_not_mix(fixture: &Fixture) -> TestResult {
    let refresh = |number: u8| async move {
        let label = format!("acme-{number}");
        let row = fixture.connected(&label, number).await?;
        let claim = fixture.won(fixture.claim(&row)).await?;
        let commit = fixture.commit(&claim, number + 100);
        fixture.store.commit(commit.clone()).await?;
        let row = fixture.find(&label).await?;
        assert_eq!((row.generation, row.tokens), (Generation(2), Some(commit.tokens)));
        Ok(())
    };
    try_join_all((0..100).map(refresh)).await?;
    assert_eq!(fixture.store.list(None, 1000).await?.len(), 100);
    Ok(())
}
