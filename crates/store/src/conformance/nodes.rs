//! Processes that work side by side.

use std::time::Duration;

use jeton_core::keep::ports::{BackgroundTask, Heartbeat, HeartbeatReply, LiveNode, NodeHost};
use jeton_core::keep::unavailable::{EndpointFailure, UnavailableEndpoint};
use jeton_core::time::Timestamp;

use super::fixture::{Fixture, TestResult, node};

const LIFE: Duration = Duration::from_secs(30);

fn tasks() -> Vec<BackgroundTask> {
    let failed = BackgroundTask {
        name: "follow_changes".into(),
        runs: 3,
        last_run: None,
        last_error: Some("the store is \"away\"".into()),
        panics: 1,
    };
    vec![failed]
}

/// A token endpoint that is down for an hour at `now`.
fn unavailable(now: Timestamp) -> Vec<UnavailableEndpoint> {
    let last_failure = EndpointFailure {
        code: "http_503".into(),
        http_status: Some(503),
        message: "the provider answered with a \"page\"".into(),
        provider_message: Some("Under maintenance.".into()),
    };
    let (since, next_trial) = (now - Duration::from_hours(1), now + Duration::from_secs(40));
    let (client, server) = (Some("client".into()), "auth.example.com".into());
    vec![UnavailableEndpoint { client, server, since, next_trial, last_failure }]
}

fn host(number: u8) -> NodeHost {
    let known = |what: &str| Some(format!("{what}-{number}"));
    // The highest number that a device can have.
    NodeHost { machine: None, boot: known("boot"), data_dir: known("data"), device: Some(u64::MAX) }
}

fn beat(number: u8) -> Heartbeat {
    Heartbeat {
        node: node(number),
        name: format!("host-{number}"),
        version: "0.1.0".into(),
        definitions: format!("digest-{number}"),
        tasks: tasks(),
        unavailable: Vec::new(),
        host: host(number),
        life: LIFE,
    }
}

/// Nodes are told apart by what they define, and each hears the instant that decides leases.
pub async fn a_node_hears_of_the_others_that_live(fixture: &Fixture) -> TestResult {
    let began = fixture.now();
    assert_eq!(
        fixture.store.record_heartbeat(Heartbeat { unavailable: unavailable(began), ..beat(1) }).await?,
        HeartbeatReply { now: began, others: Vec::new() }
    );
    fixture.clock.step(LIFE.saturating_sub(Duration::from_secs(1)));
    let first = LiveNode {
        node: node(1),
        name: "host-1".into(),
        version: "0.1.0".into(),
        definitions: "digest-1".into(),
        tasks: tasks(),
        unavailable: unavailable(began),
        host: host(1),
        started_at: began,
        seen_at: began,
    };
    let other_process = fixture.another_process().await;
    assert_eq!(
        other_process.record_heartbeat(beat(2)).await?,
        HeartbeatReply { now: fixture.now(), others: vec![first.clone()] }
    );
    let changed = Heartbeat { definitions: "other".into(), ..beat(1) };
    let heard = fixture.store.record_heartbeat(changed).await?;
    assert_eq!(heard.others.iter().map(|other| other.node).collect::<Vec<_>>(), [node(2)]);
    let heard = other_process.record_heartbeat(beat(2)).await?;
    let again =
        LiveNode { definitions: "other".into(), unavailable: Vec::new(), seen_at: fixture.now(), ..first };
    assert_eq!(heard.others, [again]);
    fixture.clock.step(LIFE);
    assert!(other_process.record_heartbeat(beat(2)).await?.others.is_empty(), "the first fell silent");
    Ok(())
}

/// A node that is stopped in order is not taken for one that fell silent.
pub async fn a_node_that_ends_is_forgotten(fixture: &Fixture) -> TestResult {
    fixture.store.record_heartbeat(beat(1)).await?;
    fixture.store.forget(node(1)).await?;
    assert!(fixture.store.record_heartbeat(beat(2)).await?.others.is_empty());
    let began = fixture.now();
    fixture.clock.step(Duration::from_secs(1));
    fixture.store.record_heartbeat(beat(1)).await?;
    let heard = fixture.store.record_heartbeat(beat(2)).await?;
    assert_eq!(heard.others[0].started_at, began + Duration::from_secs(1), "it came anew");
    Ok(())
}
