//! What other tests rely on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::*;

fn number(rows: &[Vec<Option<String>>]) -> i64 {
    rows[0][0].as_deref().unwrap().parse().unwrap()
}

#[test]
fn each_test_has_a_database_of_its_own_that_is_like_the_template_and_is_dropped() {
    let cluster = PgCluster::shared().unwrap();
    let program = std::env::current_exe().unwrap();
    let open = || {
        cluster.database(&program, |url| async move {
            sql::Session::open(&url).await?.run("CREATE TABLE letters (letter text)").await.map(drop)
        })
    };
    let one = open().unwrap();
    let two = open().unwrap();
    one.query("INSERT INTO letters VALUES ('a')").unwrap();
    assert_eq!(number(&two.query("SELECT count(*) FROM letters").unwrap()), 0);
    let owner =
        "SELECT count(*) FROM pg_database WHERE datname LIKE 'test_%' AND pg_get_userbyid(datdba) = 'jeton'";
    assert!(number(&two.query(owner).unwrap()) >= 2);
    let name = one.name().to_owned();
    drop(one);
    let left = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(number(&two.query(&left).unwrap()), 0);
}

#[test]
fn a_database_is_reached_by_socket_and_by_port_with_the_password_only() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    for url in [database.url(), database.tcp_url()] {
        let who = sql::run(url, "SELECT current_user").unwrap();
        assert_eq!(who, [[Some(PgCluster::USER.to_owned())]]);
    }
    let wrong = database.tcp_url().replace(PgCluster::PASSWORD, "wrong");
    assert!(format!("{:#}", sql::run(&wrong, "SELECT 1").unwrap_err()).contains("password"));
}

#[test]
fn the_shared_cluster_is_stopped_by_nobody() {
    let refused = PgCluster::shared().unwrap().stop().unwrap_err().to_string();
    assert!(refused.contains("shared with other tests"), "{refused}");
}

#[test]
fn a_private_cluster_survives_what_is_done_to_it_and_leaves_nothing() {
    let cluster = PgCluster::private(&[("fsync", "on")], &[("note", b"hello")]).unwrap();
    assert_eq!(fs::read(cluster.data().join("note")).unwrap(), b"hello");
    assert_eq!(cluster.query("postgres", "SHOW fsync").unwrap(), [[Some("on".to_owned())]]);
    let database = cluster.empty_database().unwrap();
    database.query("CREATE TABLE kept (number int); INSERT INTO kept VALUES (7)").unwrap();
    cluster.kill().unwrap();
    assert!(database.query("SELECT 1").is_err(), "it is down");
    cluster.start().unwrap();
    assert_eq!(number(&database.query("SELECT number FROM kept").unwrap()), 7);
    cluster.stop().unwrap();
    cluster.start().unwrap();
    cluster.pause().unwrap();
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| database.query("SELECT number FROM kept"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!asked.is_finished(), "nothing answers");
        cluster.resume().unwrap();
        asked.join().unwrap()
    });
    assert_eq!(number(&answer.unwrap()), 7);
    let folder = cluster.folder().to_owned();
    drop((database, cluster));
    until_gone(&folder);
}

#[test]
fn a_cluster_that_is_paused_when_its_test_ends_is_ended_too() {
    let cluster = PgCluster::private(&[], &[]).unwrap();
    cluster.pause().unwrap();
    let folder = cluster.folder().to_owned();
    drop(cluster);
    until_gone(&folder);
}

#[test]
fn a_shared_cluster_ends_when_nobody_has_needed_it_for_a_while_and_the_next_starts_another() {
    let parent = tempfile::tempdir().unwrap();
    // The user of servers must be able to look into it.
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let folder = parent.path().join("pg");
    let linger = Duration::from_secs(1);
    let join = || {
        let (server, needed) = shared::join_or_start(&folder, linger).unwrap();
        PgCluster { server, _needed: needed, private: false }
    };
    let (one, two) = (join(), join());
    assert_eq!(one.port(), two.port(), "the second joins the first");
    drop(one);
    std::thread::sleep(Duration::from_millis(2_500));
    two.query("postgres", "SELECT 1").expect("it is still needed");
    drop(two);
    until_ended(&folder);
    let three = join();
    three.query("postgres", "SELECT 1").unwrap();
    drop(three);
    until_ended(&folder);
}

#[test]
fn a_pooler_gives_each_transaction_a_session_that_others_use_too() {
    let cluster = PgCluster::shared().unwrap();
    let database = cluster.empty_database().unwrap();
    let bouncer = PgBouncer::start(cluster, &database, 1).unwrap();
    let session = |url: &str| sql::run(url, "SELECT pg_backend_pid()").unwrap();
    assert_eq!(session(&bouncer.url()), session(&bouncer.url()), "two clients, one session");
    assert_ne!(session(database.url()), session(database.url()));
}

fn until_gone(path: &Path) {
    until(&format!("{} is removed", path.display()), || !path.exists());
}

/// The folder above belongs to the test, so that what was in it is removed and it may stay itself.
fn until_ended(folder: &Path) {
    until("the server is ended", || !folder.join("data/postmaster.pid").exists());
}

fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_500 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("this did not come about in 15 s: {what}");
}
