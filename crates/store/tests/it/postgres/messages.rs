//! What it says when it cannot be used: one sentence with the cure, and never the password.

use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use jeton_core::keep::ports::{ChangeFeed as _, ConnectionStore as _, StoreError};
use jeton_core::time::{Clock as _, SystemClock};
use jeton_store::postgres::inspect;
use jeton_store::{PostgresOptions, PostgresStore};
use jeton_testkit::PgCluster;

use super::fixture::{claim, commit, connect, connected, database, of_hosts, open, options};
use super::proxy::SilentServer;

const AUTHORITY: &[u8] = include_bytes!("certificates/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("certificates/server.pem");
const KEY: &[u8] = include_bytes!("certificates/server.key");

async fn error(url: &str) -> StoreError {
    let options = PostgresOptions { patience: Duration::from_secs(2), ..options(url) };
    let error = PostgresStore::open(options).await.expect_err(url);
    let text = error.to_string();
    assert!(!text.contains('\n') && !text.contains(PgCluster::PASSWORD), "{text}");
    assert!(text.contains("postgres://"), "it names the database: {text}");
    error
}

async fn refusal(url: &str, what: &str, cure: &str) {
    let error = error(url).await;
    assert!(
        matches!(&error, StoreError::Refused(text) if text.contains(what) && text.contains(cure)),
        "{error:?} has not {what:?} and {cure:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_reached_is_told_with_its_place() {
    let error = error("postgres://jeton:hush@127.0.0.1:1/jeton").await;
    assert!(error.is_transient(), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("postgres://jeton@127.0.0.1:1/jeton cannot be reached"), "{text}");
    assert!(text.contains("see that PostgreSQL runs there"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_that_was_tried_is_named_with_its_own_failure() {
    let silent = SilentServer::new();
    let places = format!("127.0.0.1:1,nowhere.invalid:5432,127.0.0.1:{}", silent.port());
    let error = error(&format!("postgres://jeton:hush@{places}/jeton")).await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let text = error.to_string();
    for part in [
        "cannot be reached: 127.0.0.1:1 (Connection refused",
        "nowhere.invalid:5432 (the name is not known: ",
        &format!("127.0.0.1:{} (no answer); see that PostgreSQL runs there", silent.port()),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_the_refusal_that_tells_most_is_told_wherever_it_stands() {
    let cluster = PgCluster::shared().unwrap();
    for ports in [[1, cluster.port()], [cluster.port(), 1]] {
        let url = of_hosts(cluster, "nowhere", &ports);
        refusal(&url, "there is no database \"nowhere\" at postgres://", "createdb --owner jeton nowhere")
            .await;
        let at = format!("at 127.0.0.1:{} (besides tried: 127.0.0.1:1 (Connection refused", cluster.port());
        refusal(&url, &at, "or mend its name in store.url").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_name_of_the_database_a_wrong_password_and_none_are_refused() {
    let cluster = PgCluster::shared().unwrap();
    refusal(
        &cluster.tcp_url("nowhere"),
        "there is no database \"nowhere\"",
        "createdb --owner jeton nowhere",
    )
    .await;
    let wrong = cluster.tcp_url("postgres").replace(PgCluster::PASSWORD, "not-the-password");
    refusal(&wrong, "does not let the user jeton in", "mend user and password in store.url").await;
    let none = cluster.tcp_url("postgres").replace(&format!(":{}", PgCluster::PASSWORD), "");
    refusal(&none, "asks for a password", "write it there").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let database = database();
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{}?sslmode={mode}", database.tcp_url());
        refusal(&url, "cannot be reached by TLS (server does not support TLS)", "sslmode").await;
    }
    for mode in ["disable", "prefer"] {
        open(&format!("{}?sslmode={mode}", database.tcp_url())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sslmode_trusts_whom_libpq_would_trust() {
    let files = [("server.crt", CERTIFICATE), ("server.key", KEY)];
    let cluster = PgCluster::private(&[("ssl", "on"), ("fsync", "off")], &files).unwrap();
    let database = cluster.empty_database().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [authority, itself, empty] =
        [("authority", AUTHORITY), ("itself", CERTIFICATE), ("empty", b"")].map(|(name, pem)| {
            let path = folder.path().join(name);
            fs::write(&path, pem).unwrap();
            path.display().to_string()
        });
    let url = |mode: &str, root: &str| format!("{}?sslmode={mode}{root}", database.tcp_url());
    let named = |path: &str| format!("&sslrootcert={path}");
    let by_name = |url: String| url.replace("127.0.0.1", "localhost");
    for trusted in [
        url("prefer", ""),
        url("require", ""),
        url("require", &named(&authority)),
        url("verify-ca", &named(&authority)),
        url("verify-ca", &named(&itself)),
        by_name(url("verify-full", &named(&authority))),
        by_name(url("verify-full", &named(&itself))),
    ] {
        let found = inspect(&options(&trusted)).await.unwrap();
        assert!(found.encrypted, "{trusted}");
    }
    assert!(!inspect(&options(&url("disable", ""))).await.unwrap().encrypted);
    // The certificate is made out to localhost, and its authority is none of the web's.
    refusal(&url("verify-full", &named(&authority)), "cannot be reached by TLS", "sslrootcert").await;
    refusal(&url("verify-full", &named(&itself)), "cannot be reached by TLS", "sslrootcert").await;
    refusal(&url("verify-ca", ""), "cannot be reached by TLS", "sslrootcert").await;
    refusal(&url("verify-ca", &named(&empty)), "it holds no certificate", "name a PEM file").await;
    refusal(&url("verify-ca", &named("/nowhere.pem")), "/nowhere.pem", "name a PEM file").await;
}

/// Names the database to the process of the test below whose system trusts the authority.
const TRUSTED: &str = "JETON_TEST_TRUSTED";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_the_system_trusts_is_trusted() {
    if let Ok(url) = env::var(TRUSTED) {
        assert!(inspect(&options(&url)).await.unwrap().encrypted);
        return;
    }
    let files = [("server.crt", CERTIFICATE), ("server.key", KEY)];
    let cluster = PgCluster::private(&[("ssl", "on"), ("fsync", "off")], &files).unwrap();
    let database = cluster.empty_database().unwrap();
    let url = format!("{}?sslmode=verify-full", database.tcp_url()).replace("127.0.0.1", "localhost");
    refusal(&url, "cannot be reached by TLS", "sslrootcert").await;
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("authorities.pem");
    fs::write(&authorities, AUTHORITY).unwrap();
    let trusting = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "postgres::messages::an_authority_that_the_system_trusts_is_trusted",
            "--nocapture",
        ])
        .env(TRUSTED, url)
        .env("SSL_CERT_FILE", authorities)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(trusting.status.success() && said.contains("1 passed"), "{trusting:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_database_is_unwritable_until_it_is_not() {
    let database = database();
    let hurried = PostgresOptions { patience: Duration::from_secs(1), ..options(database.url()) };
    let store = PostgresStore::open(hurried).await.unwrap();
    let read_only = |on: &str| {
        database
            .query(&format!(
                "BEGIN READ WRITE; ALTER DATABASE {} SET default_transaction_read_only = {on}; COMMIT",
                database.name()
            ))
            .unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        database.query(end).unwrap();
    };
    read_only("on");
    let refused = store.connect(connect("acme", 1)).await.unwrap_err();
    let unread = store.find(&"acme".parse().unwrap()).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Unwritable(text) if text.contains("name the primary")),
        "{refused:?}"
    );
    assert!(matches!(unread, StoreError::Unwritable(_)), "it may be a standby that is behind: {unread:?}");
    let at_start = error(database.url()).await;
    assert!(
        matches!(&at_start, StoreError::Unwritable(text) if text.contains("is read-only")),
        "{at_start:?}"
    );
    read_only("off");
    store.connect(connect("acme", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_unwritable_and_nothing_of_the_call_stays() {
    let (database, store) = connected().await;
    let claim = claim("acme", 1);
    store.claim(claim.clone()).await.unwrap();
    // PostgreSQL says this when a file cannot be extended; here a trigger says it.
    database
        .query(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
             CREATE TRIGGER full_disk BEFORE UPDATE ON tokens EXECUTE FUNCTION full_disk()",
        )
        .unwrap();
    let full = store.commit(commit(&claim, 2)).await.unwrap_err();
    assert!(matches!(&full, StoreError::Unwritable(text) if text.contains("no space is left")), "{full:?}");
    let row = store.find(&claim.connection).await.unwrap().unwrap();
    assert_eq!((row.generation, row.open_attempt), (claim.generation, Some(claim.attempt)));
    database.query("DROP TRIGGER full_disk ON tokens").unwrap();
    store.commit(commit(&claim, 2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_more_connections_is_told_and_passes() {
    let database = database();
    database.query(&format!("ALTER DATABASE {} CONNECTION LIMIT 0", database.name())).unwrap();
    let full = error(database.url()).await;
    assert!(full.is_transient() && full.to_string().contains("takes no more connections"), "{full:?}");
    for cure in ["raise max_connections there", "lower `pool` in [store]", "put PgBouncer between"] {
        assert!(full.to_string().contains(cure), "{full:?}");
    }
    database.query(&format!("ALTER DATABASE {} CONNECTION LIMIT -1", database.name())).unwrap();
    open(database.url()).await;
}

/// No such server is at hand, so this one answers as an older one does: its own answer stands behind in the search path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_old_is_refused_with_its_version() {
    let database = database();
    database
        .query(
            "CREATE SCHEMA early;
             GRANT USAGE ON SCHEMA early TO PUBLIC;
             CREATE FUNCTION early.current_setting(asked text) RETURNS text LANGUAGE sql AS $$
                SELECT CASE asked WHEN 'server_version' THEN '13.14' WHEN 'server_version_num' THEN '130014'
                    ELSE pg_catalog.current_setting(asked) END $$",
        )
        .unwrap();
    let url = format!("{}?options=-c%20search_path%3Dpublic,early,pg_catalog", database.url());
    let old = "is PostgreSQL 13.14, and jeton needs 14 or later";
    refusal(&url, old, "upgrade the server").await;
    for refused in [
        inspect(&options(&url)).await.map(drop).unwrap_err(),
        PostgresStore::migrate(&options(&url)).await.map(drop).unwrap_err(),
        PostgresStore::pending(&options(&url)).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(&refused, StoreError::Refused(text) if text.contains(old)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_minutes_off_the_database_s_is_told_so() {
    let database = database();
    let store = open(database.url()).await;
    let minutes = Duration::from_mins(5);
    let before = SystemClock.now();
    let reading = store.clock().await.unwrap();
    let after = SystemClock.now();
    assert_eq!(reading.clock_warning(before, after), None, "both clocks are this machine's");
    let ahead = reading.clock_warning(before + minutes, after + minutes).unwrap();
    assert!(ahead.contains("s ahead of the clock of the store") && ahead.contains("NTP"), "{ahead}");
    let behind = reading.clock_warning(before - minutes, after - minutes).unwrap();
    assert!(behind.contains("s behind the clock of the store") && behind.contains("NTP"), "{behind}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_says_what_no_row_can_say_names_its_table_and_column() {
    let (database, store) = connected().await;
    database.query("UPDATE connections SET state = 'wonderful'").unwrap();
    let error = store.find(&"acme".parse().unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("connections.state of acme") && error.contains("wonderful"), "{error}");
    database.query("UPDATE connections SET state = 'live'; UPDATE tokens SET generation = 7").unwrap();
    let error = store.claim(claim("acme", 1)).await.unwrap_err().to_string();
    assert!(error.contains("tokens.generation of acme"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_itself_refuses_a_generation_that_goes_back() {
    let (database, _store) = connected().await;
    let refused = database.query("UPDATE connections SET generation = 0").unwrap_err();
    assert!(format!("{refused:#}").contains("never goes back"), "{refused:#}");
}
