//! A store of PostgreSQL: the error when it cannot be used, its schema, its password.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{FreePort, PgCluster, PgDatabase, TestInstallation};

use crate::fixture::{PATIENCE, connection, error_line, run, until};

fn empty_database() -> PgDatabase {
    PgCluster::shared().unwrap().empty_database().unwrap()
}

/// A home whose store is this database.
fn home_on(url: &str) -> TestInstallation {
    let mut home = TestInstallation::new().unwrap();
    home.set("store", "url", url).unwrap();
    fs::set_permissions(home.settings(), fs::Permissions::from_mode(0o600)).unwrap();
    home
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_one_sentence_with_the_cure_and_without_the_password() {
    let database = empty_database();
    let (right, free) = (database.tcp_url(), FreePort::find().unwrap());
    let port = PgCluster::shared().unwrap().port();
    for (url, why, cure) in [
        (right.replace(PgCluster::PASSWORD, "hunter2-hunter2"), "password", "store.url"),
        (right.replace(database.name(), "no_such_database"), "no database", "createdb"),
        (right.replace(&port.to_string(), &free.number().to_string()), "cannot be reached", "runs there"),
        (format!("{right}?sslmode=require"), "TLS", "sslmode"),
    ] {
        let mut home = home_on(&url);
        home.set("store", "patience", "1s").unwrap();
        let finished = run(&home, ["status"]).await;
        let error = error_line(&finished, 1);
        assert!(error.contains(why) && error.contains(cure), "{url}: {error}");
        assert!(!error.contains("hunter2") && !error.contains(PgCluster::PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn the_password_may_stand_in_a_file_and_is_never_shown() {
    let database = empty_database();
    let (with, without) =
        (database.tcp_url(), database.tcp_url().replace(&format!(":{}", PgCluster::PASSWORD), ""));
    let mut home = home_on(&without);
    let file = home.path().join("password");
    fs::write(&file, format!("{}\n", PgCluster::PASSWORD)).unwrap();
    home.set("store", "password_file", file.display().to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = error_line(&run(&home, ["status"]).await, 1);
    assert!(error.contains("store.password_file") && error.contains("chmod 600"), "{error}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    home.service_token("first", &[]).await.unwrap();
    run(&home, ["status"]).await.success().unwrap();

    home.set("store", "url", with).unwrap();
    let error = error_line(&run(&home, ["status"]).await, 1);
    assert!(error.contains("store.password_file") && error.contains("are both set"), "{error}");
    home.unset("store", "password_file").unwrap();
    run(&home, ["status"]).await.success().unwrap();
    for arguments in [["config", "show"], ["config", "check"]] {
        let finished = run(&home, arguments).await;
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!all.contains(PgCluster::PASSWORD), "{all}");
    }
    let shown = run(&home, ["config", "show"]).await.success().unwrap();
    assert!(shown.contains("postgres://jeton:[hidden]@127.0.0.1"), "{shown}");
    fs::set_permissions(home.settings(), fs::Permissions::from_mode(0o644)).unwrap();
    let warned = run(&home, ["config", "check"]).await.stderr;
    assert!(warned.contains("holds store.url and can be read by others"), "{warned}");
}

#[tokio::test]
async fn migrate_says_what_is_missing_and_makes_it_once() {
    let database = empty_database();
    let mut home = home_on(database.url());
    let check = run(&home, ["migrate", "--check"]).await;
    assert_eq!(check.code, Some(1), "{check:?}");
    assert!(check.stdout.contains("lacks") && check.stdout.contains("`jeton migrate`"), "{check:?}");
    home.set("store", "migrate", false).unwrap();
    let error = error_line(&run(&home, ["serve"]).await, 1);
    assert!(error.contains("jeton migrate"), "{error}");
    let made = run(&home, ["migrate", "--json"]).await.json().unwrap();
    assert!(made["applied"].as_u64().unwrap() >= 1, "{made}");
    let again = run(&home, ["migrate", "--json"]).await.json().unwrap();
    assert_eq!(again["applied"], 0, "{again}");
    run(&home, ["migrate", "--check"]).await.success().unwrap();
    home.service_token("first", &[]).await.unwrap();
    run(&home, ["status"]).await.success().unwrap();
}

#[tokio::test]
async fn migrate_makes_a_file_of_sqlite_too_and_says_so() {
    let mut home = TestInstallation::new().unwrap();
    let file = home.path().join("own.sqlite");
    home.set("store", "url", format!("sqlite:{}", file.display())).unwrap();
    let error = error_line(&run(&home, ["migrate", "--check"]).await, 1);
    assert!(error.contains("is not there yet") && !file.exists(), "{error}");
    let made = run(&home, ["migrate"]).await.success().unwrap();
    assert!(made.contains("was made") && file.exists(), "{made}");
    run(&home, ["migrate", "--check"]).await.success().unwrap();
    let again = run(&home, ["migrate"]).await.success().unwrap();
    assert!(again.contains("nothing was changed"), "{again}");
}

#[tokio::test]
async fn a_database_newer_than_the_binary_is_refused_in_words() {
    let home = TestInstallation::on_postgres().unwrap();
    let database = home.postgres().unwrap();
    database
        .query("INSERT INTO jeton_migrations (number, name, checksum) VALUES (9999, 'later', 'x')")
        .unwrap();
    for arguments in [["status", "--json"], ["migrate", "--check"], ["doctor", "--offline"]] {
        let finished = run(&home, arguments).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let all = format!("{}{}", finished.stdout, finished.stderr);
        assert!(all.contains("has schema 9999"), "{all}");
    }
}

#[tokio::test]
async fn a_copied_database_is_on_hold_even_for_a_new_node_until_it_is_adopted() {
    let home = TestInstallation::on_postgres().unwrap();
    home.service_token("first", &[]).await.unwrap();
    let copy = TestInstallation::on_database(home.postgres().unwrap().copy().unwrap()).unwrap();
    fs::set_permissions(copy.settings(), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(copy.data_dir()).unwrap();
    fs::set_permissions(copy.data_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(home.data_dir().join("key"), copy.data_dir().join("key")).unwrap();
    let looked = run(&copy, ["doctor", "--offline"]).await;
    assert_eq!(looked.code, Some(1), "{looked:?}");
    assert!(looked.stdout.contains("is a copy") && looked.stdout.contains("`jeton adopt`"), "{looked:?}");
    let status = run(&copy, ["status"]).await;
    assert!(status.stderr.contains("on hold"), "{status:?}");
    assert_eq!(run(&copy, ["adopt", "--json"]).await.json().unwrap()["adopted"], true);
    assert_eq!(run(&copy, ["adopt", "--json"]).await.json().unwrap()["adopted"], false);
    for settled in [&copy, &home] {
        assert!(!run(settled, ["status"]).await.stderr.contains("on hold"));
    }
    run(&copy, ["doctor", "--offline"]).await.success().unwrap();
}

#[tokio::test]
async fn the_doctor_looks_at_the_database_and_at_its_clock() {
    let home = TestInstallation::on_postgres().unwrap();
    fs::set_permissions(home.settings(), fs::Permissions::from_mode(0o600)).unwrap();
    let new = run(&home, ["doctor", "--offline"]).await.success().unwrap();
    assert!(new.contains("the database is new and has no key yet"), "{new}");
    home.service_token("first", &[]).await.unwrap();
    let report = run(&home, ["doctor", "--offline"]).await.success().unwrap();
    for part in
        ["(PostgreSQL ", "answers and holds 0 of the connections", "agree about the time", "opens the store"]
    {
        assert!(report.contains(part), "{report}");
    }
    assert!(!report.contains("hold "), "{report}");
    // A node that is new, with the same key, joins when it starts: nothing is wrong with it before.
    let node = home.another_node().unwrap();
    fs::set_permissions(node.settings(), fs::Permissions::from_mode(0o600)).unwrap();
    let report = run(&node, ["doctor", "--offline"]).await.success().unwrap();
    assert!(!report.contains("on hold"), "{report}");
}

#[tokio::test]
async fn a_server_that_cannot_read_its_connections_yet_says_so_and_keeps_them_alive_once_it_can() {
    let emulator = Emulator::start(Settings::default()).await.unwrap();
    let mut home = TestInstallation::on_postgres().unwrap();
    home.set("store", "patience", "1s").unwrap();
    home.add_connection("acme", connection(&emulator)).unwrap();
    let token = emulator.mint(1).remove(0);
    let connect = home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    connect.stdin(token.reveal()).run(PATIENCE).await.unwrap().success().unwrap();

    let (cluster, name) = (PgCluster::shared().unwrap(), home.postgres().unwrap().name().to_owned());
    let database = name.clone();
    let lock = "BEGIN; LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(120)";
    let locked = thread::spawn(move || cluster.query(&database, lock));
    until("the rows are locked", async || {
        !cluster
            .query(&name, "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted")
            .unwrap()
            .is_empty()
    })
    .await;

    let mut server = home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let warning = "a background task failed, and is tried again task=\"load_connections\"";
    until(warning, async || server.output().unwrap().contains(warning)).await;
    let reply = server.client().get("/api/v1/connections/acme/token?wait=0").await.unwrap();
    assert_eq!((reply.status.as_u16(), emulator.stats().accepted), (503, 0), "{}", reply.text());

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(120)' AND datname = current_database()";
    cluster.query(&name, end).unwrap();
    assert!(locked.join().unwrap().is_err(), "the lock was held until now");
    until("every connection is read", async || {
        server.output().unwrap().contains("ready: every connection is loaded")
    })
    .await;
    until("it is refreshed by itself", async || emulator.stats().accepted == 1).await;
    let given = server.client().get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(emulator.accepts(given["access_token"].as_str().unwrap()), "{given}");
}
