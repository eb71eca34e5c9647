//! Errors that a database may answer to anybody at any time, and that pass: callers see none of them, and nothing is
//! written twice.

use jeton_core::id::Generation;
use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::{CommitAnswer, ConnectionStore as _};
use jeton_testkit::PgDatabase;

use super::fixture::{claim, commit, connected};

/// The first two statements that write so are refused with this state. The sequence counts on when they are undone.
fn refuse_twice(database: &PgDatabase, what: &str, state: &str) {
    database
        .query(&format!(
            "DROP SEQUENCE IF EXISTS refusals CASCADE;
             CREATE SEQUENCE refusals;
             GRANT ALL ON SEQUENCE refusals TO PUBLIC;
             CREATE OR REPLACE FUNCTION refuse_twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('refusals') <= 2 THEN RAISE EXCEPTION 'refused on purpose' USING ERRCODE = '{state}'; END IF;
                RETURN NEW;
             END $$;
             CREATE OR REPLACE TRIGGER refuse_twice BEFORE {what} FOR EACH ROW EXECUTE FUNCTION refuse_twice()"
        ))
        .unwrap();
}

/// What one query finds: one text.
fn one(database: &PgDatabase, query: &str) -> String {
    database.query(query).unwrap()[0][0].clone().unwrap()
}

async fn passes(state: &str) {
    let (database, store) = connected().await;
    let revision = || one(&database, "SELECT last_value FROM revisions").parse::<u64>().unwrap();
    let tried = || one(&database, "SELECT last_value FROM refusals");
    let counted = "SELECT count(*) || '/' || count(*) FILTER (WHERE status = 'running') FROM attempts WHERE act = 'redeem'";

    refuse_twice(&database, "INSERT ON attempts", state);
    let (claim, before) = (claim("acme", 1), revision());
    let answer = store.claim(claim.clone()).await;
    assert!(matches!(answer, Ok(ClaimAnswer::Won { .. })), "{answer:?}");
    assert_eq!(tried(), "3", "two were refused");
    assert_eq!(one(&database, counted), "1/1");
    let row = store.find(&claim.connection).await.unwrap().unwrap();
    assert_eq!((row.generation, row.open_attempt), (Generation(1), Some(claim.attempt)));
    assert!(row.revision.0 > before, "the claim is a change");

    database.query("DROP TRIGGER refuse_twice ON attempts").unwrap();
    refuse_twice(&database, "INSERT OR UPDATE ON tokens", state);
    let answer = store.commit(commit(&claim, 2)).await.unwrap();
    assert_eq!(answer, CommitAnswer::Committed { generation: Generation(2) });
    // An upsert that updates comes by the trigger as an INSERT and as an UPDATE.
    assert_eq!(tried(), "4", "two were refused");
    assert_eq!(one(&database, counted), "1/0");
    assert_eq!(one(&database, "SELECT count(*) FROM strays"), "0");
    assert_eq!(one(&database, "SELECT count(*) || '/' || max(generation) FROM tokens"), "1/2");
    let row = store.find(&claim.connection).await.unwrap().unwrap();
    assert_eq!((row.generation, row.open_attempt, row.lease), (Generation(2), None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serialization_failure_reaches_no_caller() {
    passes("40001").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_reaches_no_caller() {
    passes("40P01").await;
}
