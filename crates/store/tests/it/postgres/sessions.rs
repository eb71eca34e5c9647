//! What its sessions are told, as the server has it while they write.

use std::time::Duration;

use jeton_core::id::NodeId;
use jeton_core::keep::ports::{ConnectionStore as _, Heartbeat, NodeHost, NodeStore as _};
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::{PgBouncer, PgCluster, PgDatabase};

use super::fixture::{claim, commit, connect, database, options};

/// What the database says to everybody is the opposite; each write notes what holds in its session.
fn noting() -> PgDatabase {
    let database = database();
    let name = database.name();
    database
        .query(&format!(
            "CREATE TABLE noted (place text, said text);
             GRANT ALL ON noted TO PUBLIC;
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO noted SELECT TG_TABLE_NAME, string_agg(current_setting(name), ' ' ORDER BY number)
                FROM unnest(ARRAY['synchronous_commit', 'statement_timeout', 'lock_timeout',
                    'idle_in_transaction_session_timeout']) WITH ORDINALITY AS asked (name, number);
                RETURN NEW;
             END $$;
             CREATE TRIGGER note BEFORE INSERT OR UPDATE ON connections FOR EACH ROW EXECUTE FUNCTION note();
             CREATE TRIGGER note BEFORE INSERT OR UPDATE ON nodes FOR EACH ROW EXECUTE FUNCTION note();
             ALTER DATABASE {name} SET synchronous_commit = off;
             ALTER DATABASE {name} SET statement_timeout = '1h';
             ALTER DATABASE {name} SET lock_timeout = '1h';
             ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '1h'"
        ))
        .unwrap();
    database
}

async fn writes_are_bounded_and_durable(database: &PgDatabase, options: PostgresOptions) {
    let store = PostgresStore::open(options).await.unwrap();
    store.connect(connect("acme", 1)).await.unwrap();
    let claim = claim("acme", 1);
    store.claim(claim.clone()).await.unwrap();
    store.commit(commit(&claim, 2)).await.unwrap();
    let beat = Heartbeat {
        node: NodeId::from_bytes([1; 16]),
        name: "web-1".into(),
        version: "1".into(),
        definitions: String::new(),
        tasks: Vec::new(),
        unavailable: Vec::new(),
        host: NodeHost::default(),
        life: Duration::from_secs(20),
    };
    store.record_heartbeat(beat).await.unwrap();
    let noted = database.query("SELECT DISTINCT place, said FROM noted ORDER BY place").unwrap();
    let told = ["connections", "nodes"]
        .map(|place| [place, "on 5s 3s 5s"].map(|text| Some(text.to_owned())).to_vec());
    assert_eq!(noted, told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_pool_is_told_its_bounds_and_to_wait_for_the_disk() {
    let database = noting();
    writes_are_bounded_and_durable(&database, options(database.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_behind_a_pooler_is_told_the_same() {
    let database = noting();
    let bouncer = PgBouncer::start(PgCluster::shared().unwrap(), &database, 3).unwrap();
    let options = PostgresOptions { pooler: true, ..options(&bouncer.url()) };
    writes_are_bounded_and_durable(&database, options).await;
}
