//! Providers that count token requests.

use std::time::Duration;

use jeton_core::keep::provider::{Budget, BudgetPer, DurationText, ErrorClass, PolicyOverrides};
use jeton_keeper::TokenError;

use crate::fixture::{ACME, Fixture, Options, names};

fn options(per: BudgetPer, max: u32, connections: Vec<String>) -> Options {
    let budget = Budget { per, max, within: DurationText(Duration::from_mins(10)) };
    let policy = PolicyOverrides { budget: Some(vec![budget]), ..PolicyOverrides::default() };
    Options { policy, names: connections, ..Options::default() }
}

fn rest_of<T: std::fmt::Debug>(answer: Result<T, TokenError>) -> Duration {
    match answer {
        Err(TokenError::Failed { class: ErrorClass::RateLimited, code, retry_after, .. })
            if code == "budget" =>
        {
            retry_after.expect("it is known when the budget allows more")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_request_goes_out_beyond_the_budget_of_a_connection_even_from_another_process() {
    let (fixture, process) = Fixture::with(options(BudgetPer::Connection, 3, vec![ACME.to_owned()])).await;
    process.connect(ACME, fixture.expired_grant()).await;
    for _ in 0..3 {
        process.force(ACME).await.unwrap();
        fixture.clock.advance(Duration::from_mins(1));
    }
    let other = fixture.process().await;
    let rest = rest_of(other.force(ACME).await);
    assert!(rest > Duration::from_secs(410) && rest <= Duration::from_mins(7), "{rest:?}");
    assert_eq!(fixture.requests(), 3);
    assert_eq!(other.row(ACME).await.failures, 0, "what was not tried did not fail");
    fixture.clock.advance(rest);
    other.force(ACME).await.unwrap();
    assert_eq!(fixture.requests(), 4);
}

#[tokio::test]
async fn connections_of_one_client_share_its_budget() {
    let (fixture, process) = Fixture::with(options(BudgetPer::Client, 2, names(3))).await;
    for name in names(3) {
        process.connect(&name, fixture.expired_grant()).await;
    }
    process.force("c0").await.unwrap();
    process.force("c1").await.unwrap();
    rest_of(process.force("c2").await);
    assert_eq!(fixture.requests(), 2);
}
