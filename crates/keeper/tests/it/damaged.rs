//! Rows that cannot be read: the others go on, and theirs answer what is wrong.

use std::time::Duration;

use jeton_core::keep::connection::Condition;
use jeton_keeper::TokenError;
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, Options, names};
use crate::process::Process;
use crate::stores::Database;

/// Runs statements behind the back of every store: these where it is a file, those where it is in PostgreSQL.
fn tamper(fixture: &Fixture, file: &str, postgres: &str) {
    match &fixture.database {
        Database::File(path) => {
            let database = rusqlite::Connection::open(path).expect("the database is there");
            database.execute_batch(file).expect("it takes the statements");
        }
        Database::Postgres(database) => {
            database.query(postgres).expect("it takes the statements");
        }
    }
}

/// Says what no row can say, in a change that every process follows.
fn damage(fixture: &Fixture) {
    let spoil = "UPDATE tokens SET generation = 7 WHERE connection = 'c0';";
    tamper(
        fixture,
        &format!(
            "{spoil} UPDATE store SET revision = revision + 1;
             UPDATE connections SET revision = (SELECT revision FROM store) WHERE name = 'c0'"
        ),
        &format!("{spoil} UPDATE connections SET revision = nextval('revisions') WHERE name = 'c0'"),
    );
}

async fn two_connected() -> (Fixture, Process) {
    let (fixture, process) = Fixture::with(Options { names: names(2), ..Options::default() }).await;
    for name in names(2) {
        process.connect(&name, fixture.living_grant(Duration::from_hours(1))).await;
    }
    (fixture, process)
}

fn assert_names_the_damage<T: std::fmt::Debug>(answer: Result<T, TokenError>) {
    let words = answer.expect_err("it cannot be read").to_string();
    assert!(words.contains("tokens.generation") && words.contains("c0"), "{words}");
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_other_from_being_followed() {
    let (fixture, other) = two_connected().await;
    let process = fixture.process().await;
    process.vault.start().await.unwrap();
    process.vault.loaded().await;
    let old = process.token("c1").await.unwrap();
    damage(&fixture);
    other.force("c1").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while process.token("c1").await.unwrap().access == old.access {
        assert!(Instant::now() < deadline, "the change of the other connection was not noticed");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(process.token("c0").await.is_ok(), "what lives in memory is served");
    assert_names_the_damage(process.force("c0").await);
    process.vault.drain().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_keeps_no_process_from_starting() {
    let (fixture, _other) = two_connected().await;
    damage(&fixture);
    let process = fixture.process().await;
    process.vault.start().await.unwrap();
    process.token("c1").await.unwrap();
    assert_names_the_damage(process.token("c0").await);
    let statuses = process.vault.statuses(None, 10).await.unwrap();
    let seen: Vec<_> = statuses.iter().map(|status| (status.condition, status.code.as_deref())).collect();
    assert_eq!(seen, [(Condition::Failing, Some("unreadable")), (Condition::Live, None)]);
    process.vault.loaded().await;
    assert_eq!(process.vault.needing_attention(), [], "nobody is told to connect what is there");
    process.vault.drain().await;
}

#[tokio::test]
async fn a_token_set_that_does_not_open_is_named_with_the_cure_and_is_not_taken_for_none() {
    let (fixture, _other) = two_connected().await;
    tamper(
        &fixture,
        "UPDATE tokens SET access = X'00' WHERE connection = 'c0'",
        r"UPDATE tokens SET access = '\x00'::bytea WHERE connection = 'c0'",
    );
    let process = fixture.process().await;
    process.vault.start().await.unwrap();
    process.token("c1").await.unwrap();
    let words = match process.token("c0").await {
        Err(TokenError::GrantUnusable { message, .. }) => message,
        other => panic!("{other:?}"),
    };
    assert!(words.contains("does not open") && words.contains("from a backup"), "{words}");
    assert_eq!(fixture.requests(), 0);
    process.vault.drain().await;
}
