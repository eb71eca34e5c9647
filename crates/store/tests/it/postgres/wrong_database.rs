//! Names and addresses that begin to lead to a copy while the store is open.

use std::time::Duration;

use futures_util::future::try_join_all;
use jeton_core::keep::claim::ClaimAnswer;
use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _, Maintenance as _, StoreError};
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::{PgBouncer, PgCluster, PgDatabase};
use tokio::time::{sleep, timeout};

use super::fixture::{claim, connect, database, of_hosts, open, options};
use super::proxy::Proxy;

/// How long the test waits for what must come.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a call tries that cannot succeed.
const HURRY: Duration = Duration::from_secs(5);

fn hurried(url: &str) -> PostgresOptions {
    PostgresOptions { patience: HURRY, ..options(url) }
}

/// What makes a server that names its system, and one that does not.
const WITHHELD_OR_NOT: [&str; 2] = ["SELECT", "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"];

/// A store whose name leads to the right database again works within its patience.
async fn is_used_again(store: &PostgresStore) {
    let claimed = timeout(PATIENCE, async {
        loop {
            match store.claim(claim("acme", 1)).await {
                Err(error) if error.is_transient() => sleep(Duration::from_millis(50)).await,
                answer => return answer.unwrap(),
            }
        }
    });
    let claimed = claimed.await.expect("it leads to the right database again");
    assert!(matches!(claimed, ClaimAnswer::Won { .. }), "{claimed:?}");
}

/// Whatever the store is asked, it says that it was led to another database.
async fn is_refused(store: &PostgresStore) {
    let name = "acme".parse().unwrap();
    let (claimed, found, revision, setting, is_copy) = tokio::join!(
        store.claim(claim("acme", 1)),
        store.find(&name),
        store.revision(),
        store.find_setting("any"),
        store.is_copy(),
    );
    for refused in [
        claimed.map(drop).unwrap_err(),
        found.map(drop).unwrap_err(),
        revision.map(drop).unwrap_err(),
        setting.map(drop).unwrap_err(),
        is_copy.map(drop).unwrap_err(),
    ] {
        let StoreError::Unavailable(text) = &refused else { panic!("{refused:?}") };
        for part in ["leads to another database (system identifier ", "lead back", "adopt the database there"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains(PgCluster::PASSWORD), "{text}");
    }
}

fn count(cluster: &PgCluster, database: &str, sql: &str) -> usize {
    cluster.query(database, sql).unwrap().len()
}

/// Sessions that were begun by a store and stay.
const LISTENERS: &str =
    "SELECT FROM pg_stat_activity WHERE application_name = 'jeton' AND query LIKE 'LISTEN%'
    AND datname = current_database()";

async fn listens(cluster: &PgCluster, database: &str) {
    let reached = async {
        while count(cluster, database, LISTENERS) == 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("it listens");
}

/// A cluster with a database of this name that holds the connection `acme`; and a store that made it.
async fn cluster_with(name: &str) -> PgCluster {
    let cluster = PgCluster::private(&[], &[]).unwrap();
    cluster.query("postgres", &format!("CREATE DATABASE {name} OWNER {}", PgCluster::USER)).unwrap();
    let store = open(&cluster.url(name)).await;
    store.connect(connect("acme", 1)).await.unwrap();
    store.close().await;
    cluster
}

/// Gives each of two databases the name of the other. Whoever is connected to them is thrown out.
fn swap(one: &PgDatabase, other: &PgDatabase) {
    let (one, other) = (one.name(), other.name());
    let cluster = PgCluster::shared().unwrap();
    for name in [one, other] {
        cluster.query("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).unwrap();
        let end =
            format!("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = '{name}'");
        cluster.query("postgres", &end).unwrap();
    }
    for (from, to) in [(one, "aside"), (other, one), ("aside", other)] {
        let name = |name: &str| if name == "aside" { format!("aside_{one}") } else { name.to_owned() };
        cluster.query("postgres", &format!("ALTER DATABASE {} RENAME TO {}", name(from), name(to))).unwrap();
    }
    for name in [one, other] {
        cluster.query("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_takes_the_name_of_the_database_is_not_used_and_its_original_is_when_it_has_it_back() {
    for withhold in WITHHELD_OR_NOT {
        let original = database();
        original.query(withhold).unwrap();
        let store = PostgresStore::open(hurried(original.url())).await.unwrap();
        store.connect(connect("acme", 1)).await.unwrap();
        let copy = original.copy().unwrap();
        swap(&original, &copy);
        is_refused(&store).await;
        // The name of the original is that of the copy now.
        assert!(original.query("SELECT FROM attempts WHERE status = 'running'").unwrap().is_empty());
        swap(&original, &copy);
        is_used_again(&store).await;
        assert!(copy.query("SELECT FROM attempts WHERE status = 'running'").unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_leads_to_another_cluster_is_not_followed_by_calls_nor_by_the_listener() {
    let (expected, wrong) = (cluster_with("twin").await, cluster_with("twin").await);
    let proxy = Proxy::to(expected.port()).await;
    let url = proxy.url(&expected.tcp_url("twin"), expected.port());
    let store = PostgresStore::open(hurried(&url)).await.unwrap();
    store.find(&"acme".parse().unwrap()).await.unwrap().unwrap();
    listens(&expected, "twin").await;
    proxy.lead_to(wrong.port());
    store
        .find(&"acme".parse().unwrap())
        .await
        .unwrap()
        .expect("what was connected before leads to the right one");

    // It runs on; only the address has gone.
    expected.stop().unwrap();
    expected.start().unwrap();
    is_refused(&store).await;
    let nothing = "SELECT FROM attempts WHERE status = 'running'";
    assert_eq!((count(&wrong, "twin", nothing), count(&wrong, "twin", LISTENERS)), (0, 0));

    proxy.lead_to(expected.port());
    is_used_again(&store).await;
    listens(&expected, "twin").await;
    assert_eq!((count(&wrong, "twin", nothing), count(&wrong, "twin", LISTENERS)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_the_one_with_another_database_is_not_used() {
    let (expected, wrong) = (cluster_with("twin").await, cluster_with("twin").await);
    let url = of_hosts(&expected, "twin", &[expected.port(), wrong.port()]);
    let store = PostgresStore::open(hurried(&url)).await.unwrap();
    expected.stop().unwrap();
    is_refused(&store).await;
    expected.start().unwrap();
    is_used_again(&store).await;
    listens(&expected, "twin").await;
    assert_eq!(count(&wrong, "twin", "SELECT FROM attempts WHERE status = 'running'"), 0);
}

/// The sessions of the store stay, and the pooler leads what they send to another server's session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_leads_to_another_database_gets_no_claim() {
    for withhold in WITHHELD_OR_NOT {
        let original = database();
        original.query(withhold).unwrap();
        let bouncer = PgBouncer::start(PgCluster::shared().unwrap(), &original, 3).unwrap();
        let behind = PostgresOptions { pooler: true, ..hurried(&bouncer.url()) };
        let store = PostgresStore::open(behind).await.unwrap();
        store.connect(connect("acme", 1)).await.unwrap();
        let name = "acme".parse().unwrap();
        try_join_all((0..8).map(|_| store.find(&name))).await.unwrap();
        let copy = original.copy().unwrap();
        swap(&original, &copy);
        let refused = async {
            loop {
                let refused = store.claim(claim("acme", 1)).await.map(drop).unwrap_err();
                assert!(refused.is_transient(), "{refused:?}");
                // The pooler leaves a database alone for some seconds that did not let it in.
                if refused.to_string().contains("leads to another database") {
                    return;
                }
            }
        };
        timeout(PATIENCE, refused).await.expect("it is told");
        assert!(original.query("SELECT FROM attempts WHERE status = 'running'").unwrap().is_empty());
        swap(&original, &copy);
        is_used_again(&store).await;
        assert!(copy.query("SELECT FROM attempts WHERE status = 'running'").unwrap().is_empty());
    }
}
