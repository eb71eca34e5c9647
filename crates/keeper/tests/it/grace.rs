//! Inside the time in which a provider accepts a spent refresh token again.

use std::time::Duration;

use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::time::Clock as _;
use jeton_emulator::Fault;
use tokio::time::sleep;

use crate::fixture::{ACME, Fixture, Options, graceful};

const LIFE: Duration = Duration::from_mins(10);

fn options() -> Options {
    let emulator = jeton_emulator::Settings {
        reuse_grace: Duration::from_mins(2),
        access_ttl: LIFE,
        ..Default::default()
    };
    Options { emulator, policy: graceful(Duration::from_secs(110)), ..Options::default() }
}

#[tokio::test]
async fn each_resend_inside_the_grace_waits_longer_than_the_one_before() {
    let (fixture, process) = Fixture::with(options()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::lose_reply(); 3]);
    process.token(ACME).await.unwrap();
    let sent: Vec<_> = fixture.emulator.records().iter().map(|record| record.at).collect();
    let pauses: Vec<_> = sent.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert_eq!(pauses.len(), 3);
    for (pause, least) in pauses.iter().zip([500, 1_000, 2_000]) {
        assert!(*pause >= Duration::from_millis(least), "{pauses:?}");
    }
}

#[tokio::test]
async fn a_pair_that_a_resend_brought_is_taken_to_be_as_old_as_the_first_send() {
    let (fixture, process) = Fixture::with(options()).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    let late = async {
        while process.attempts(ACME).await.last().is_none_or(|it| it.status != AttemptStatus::Interrupted) {
            sleep(Duration::from_millis(5)).await;
        }
        fixture.clock.advance(Duration::from_secs(30));
    };
    let (token, ()) = tokio::join!(process.token(ACME), late);
    let attempts = process.attempts(ACME).await;
    assert_eq!(attempts.len(), 2);
    let first = attempts[0].started_at;
    let obtained_at = process.row(ACME).await.tokens.unwrap().obtained_at;
    assert_eq!(obtained_at, first);
    let expires_at = token.unwrap().expires_at.unwrap();
    assert!(expires_at <= first + LIFE, "{expires_at} is later than {}", first + LIFE);
    assert!(expires_at > fixture.clock.now(), "and it is not taken for dead");
}
