//! A store that is not there although the data directory belongs to one: refused until it is back, or a person begins anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use jeton_emulator::Fault;
use jeton_testkit::{Client, PgCluster, ServerProcess, TestInstallation};
use rusqlite::Connection as Database;
use serde_json::json;

use crate::fixture::{Fixture, PATIENCE, connection, error_line, run, until};

/// The database and the files that SQLite keeps beside it.
fn files(database: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| PathBuf::from(format!("{}{suffix}", database.display())))
}

/// The instance id that the data directory belongs to.
fn instance(home: &TestInstallation) -> String {
    let text = fs::read_to_string(home.data_dir().join("instance")).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_database_that_is_gone_is_refused_and_not_made_anew_and_nothing_is_lost_when_it_is_back() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    let (database, aside) = (fixture.home.database(), fixture.home.path().join("aside"));
    let spent = fixture.spent();
    fs::create_dir(&aside).unwrap();
    for file in files(&database).iter().filter(|file| file.exists()) {
        fs::rename(file, aside.join(file.file_name().unwrap())).unwrap();
    }
    for arguments in [
        &["token", "acme"][..],
        &["status"],
        &["logs"],
        &["audit"],
        &["refresh"],
        &["pause", "acme"],
        &["connect", "acme"],
        &["service-token", "list"],
        &["service-token", "create", "bot1"],
        &["migrate"],
        &["serve"],
    ] {
        let finished = fixture.home.command(arguments.iter().copied()).unwrap().run(PATIENCE).await.unwrap();
        let sentence = error_line(&finished, 1);
        assert!(
            sentence.contains(&format!("the database {} does not exist", database.display())),
            "{sentence}"
        );
        assert!(sentence.contains(&instance(&fixture.home)), "{sentence}");
        assert!(sentence.contains("had come to change"), "{sentence}");
        for cure in ["mount its disk", "`store.url`", "restore a backup", "`jeton adopt`"] {
            assert!(sentence.contains(cure), "{arguments:?}: {sentence}");
        }
        assert!(!database.exists(), "{arguments:?} made an empty one");
    }
    let doctor = fixture.run(["doctor", "--offline"]).await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    let fault = doctor.stdout.lines().find(|line| line.starts_with("fault")).unwrap();
    assert!(fault.contains("does not exist") && fault.contains("`jeton adopt`"), "{fault}");

    for file in fs::read_dir(&aside).unwrap() {
        let file = file.unwrap();
        fs::rename(file.path(), fixture.home.data_dir().join(file.file_name())).unwrap();
    }
    assert_eq!(fixture.spent(), spent);
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    assert_eq!(fixture.emulator.stats().reuse_kills, 0);
}

#[tokio::test]
async fn a_database_that_has_become_empty_is_refused_as_it_is() {
    let (fixture, _) = Fixture::connected().await;
    let database = fixture.home.database();
    let [main, log, _] = files(&database);
    let empty = |name: &str| fixture.home.path().join(name);
    // Everything of a small database is in its log for a while: without it, the file has a header and nothing more.
    drop(Database::open(empty("header")).unwrap().pragma_update(None, "journal_mode", "WAL"));
    fs::write(empty("nothing"), "").unwrap();
    let ruins = [("nothing", Vec::new()), ("header", Vec::new()), ("header", vec![0x5a; 100_000])];
    for (file, garbage) in ruins {
        for file in files(&database).iter().filter(|file| file.exists()) {
            fs::remove_file(file).unwrap();
        }
        fs::copy(empty(file), &main).unwrap();
        if !garbage.is_empty() {
            fs::write(&log, &garbage).unwrap();
        }
        for arguments in [&["token", "acme"][..], &["serve"], &["status"]] {
            let finished =
                fixture.home.command(arguments.iter().copied()).unwrap().run(PATIENCE).await.unwrap();
            let sentence = error_line(&finished, 1);
            let expected = format!("the database {} is empty, and the data directory", database.display());
            assert!(sentence.contains(&expected), "{file}: {sentence}");
        }
        assert_eq!(fs::read(&main).unwrap(), fs::read(empty(file)).unwrap(), "nothing was written");
        assert!(
            garbage.is_empty() || fs::read(&log).unwrap() == garbage,
            "what is left stays for whoever can read it"
        );
        let doctor = fixture.run(["doctor", "--offline"]).await;
        assert!(doctor.stdout.contains("is empty, and the data directory"), "{doctor:?}");
    }
    assert_eq!(fixture.spent(), 0);
}

#[tokio::test]
async fn adopt_begins_anew_where_the_store_is_gone_and_says_so() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    let old = instance(&fixture.home);
    for file in files(&fixture.home.database()).iter().filter(|file| file.exists()) {
        fs::remove_file(file).unwrap();
    }
    let adopted = fixture.run(["adopt", "--json"]).await.json().unwrap();
    assert_eq!(adopted, json!({ "adopted": true, "new": true }));
    assert_ne!(instance(&fixture.home), old);
    let again = fixture.run(["adopt", "--json"]).await.json().unwrap();
    assert_eq!(again, json!({ "adopted": false, "new": false }));
    assert_eq!(fixture.run(["status", "--json"]).await.json().unwrap()[0]["condition"], "pending");
    fixture.connect("acme").await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    fixture.run(["doctor", "--offline"]).await.success().unwrap();
}

#[tokio::test]
async fn a_node_that_comes_to_an_empty_database_of_postgresql_makes_no_table_there() {
    let home = TestInstallation::on_postgres().unwrap();
    run(&home, ["service-token", "create", "bot1"]).await.success().unwrap();
    let empty = PgCluster::shared().unwrap().empty_database().unwrap();
    for arguments in [&["status"][..], &["serve"], &["migrate"]] {
        let command = home.command(arguments.iter().copied()).unwrap().env("JETON__STORE__URL", empty.url());
        let sentence = error_line(&command.run(PATIENCE).await.unwrap(), 1);
        assert!(sentence.contains("is empty, and the data directory"), "{arguments:?}: {sentence}");
        assert!(sentence.contains(&instance(&home)) && sentence.contains("`jeton adopt`"), "{sentence}");
    }
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(empty.query(tables).unwrap()[0][0].as_deref(), Some("0"));
    let doctor = home.command(["doctor", "--offline"]).unwrap().env("JETON__STORE__URL", empty.url());
    assert!(doctor.run(PATIENCE).await.unwrap().stdout.contains("is empty, and the data directory"));
    run(&home, ["status"]).await.success().unwrap();
}

#[tokio::test]
async fn a_file_that_was_imported_is_taken_out_of_use_and_its_token_never_comes_back_with_a_new_store() {
    let mut fixture = Fixture::new().await;
    let file = fixture.home.path().join("tokens.json");
    let tokens = json!({ "refresh_token": fixture.emulator.mint(1)[0].reveal() }).to_string();
    fs::write(&file, &tokens).unwrap();
    let mut acme = connection(&fixture.emulator);
    acme.import = Some(file.display().to_string());
    fixture.home.add_connection("acme", acme).unwrap();
    let start = async || {
        let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
        server.wait_until_ready(PATIENCE).await.unwrap();
        let answer = server.client().get("/api/v1/connections/acme/token").await.unwrap();
        server.terminate().unwrap();
        server.wait(PATIENCE).await.unwrap();
        (answer.status.as_u16(), server.output().unwrap())
    };
    assert_eq!(start().await.0, 200);
    assert!(!file.exists(), "it is used up");
    let renamed = fixture.home.path().join("tokens.json.imported");
    assert_eq!(fs::read_to_string(renamed).unwrap(), tokens);

    // Somebody puts it back, and the store is lost.
    fs::write(&file, &tokens).unwrap();
    assert_eq!(start().await.0, 200);
    for file in files(&fixture.home.database()).iter().filter(|file| file.exists()) {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(error_line(&fixture.run(["serve"]).await, 1).matches("`jeton adopt`").count(), 1);
    fixture.run(["adopt"]).await.success().unwrap();
    let (answered, log) = start().await;
    assert_eq!(answered, 424, "{log}");
    assert!(log.contains("they were imported before, and may be spent"), "{log}");
    let stats = fixture.emulator.stats();
    assert_eq!((stats.accepted, stats.reuse_kills, stats.invalid_grant), (1, 0, 0), "{stats:?}");
    // A person may know better.
    fixture.run(["connect", "acme", "--import", &file.display().to_string()]).await.success().unwrap();
}

/// A client that may force a refresh.
async fn operator(fixture: &Fixture, server: &ServerProcess) -> Client {
    let token = fixture.home.service_token("operator", &["admin", "token:acme"]).await.unwrap();
    Client::new(&server.base_url()).with_header("X-SERVICE-TOKEN", &token)
}

/// What a server says whose files are touched by `displace`, and whether it goes on once `put_back` is done.
async fn displaced(displace: impl Fn(&Path), put_back: impl Fn(&Path), what: &str) {
    let (fixture, _) = Fixture::connected().await;
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let client = operator(&fixture, &server).await;
    let token = async || client.get("/api/v1/connections/acme/token").await.unwrap();
    assert_eq!(token().await.status.as_u16(), 200);
    let spent = fixture.spent();

    displace(&fixture.home.data_dir());
    let ready = client.get("/readyz").await.unwrap();
    assert_eq!(ready.status.as_u16(), 503, "{what}");
    let refused = client.post("/api/v1/connections/acme/refresh", &json!({ "force": true })).await.unwrap();
    assert_eq!(refused.status.as_u16(), 503, "{what}: {refused:?}");
    let detail = refused.json().unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("while it was") && detail.contains("put "), "{what}: {detail}");
    let home = fixture.home.path().to_str().unwrap();
    for answer in [&ready, &refused] {
        assert!(!answer.text().contains(home), "a caller sees no folder of the server: {}", answer.text());
    }
    assert_eq!(token().await.status.as_u16(), 200, "{what}: what lives is served");
    assert_eq!(fixture.spent(), spent, "{what}");

    put_back(&fixture.home.data_dir());
    until("it is ready again", async || client.get("/readyz").await.unwrap().status.as_u16() == 200).await;
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    server.terminate().unwrap();
    assert_eq!(server.wait(PATIENCE).await.unwrap().code(), Some(0));
    assert_eq!(fixture.emulator.stats().reuse_kills, 0);
}

fn aside(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("aside")
}

#[tokio::test]
async fn a_file_of_the_database_that_is_removed_or_replaced_under_a_server_is_noticed_before_anything_is_spent()
 {
    // Each waits for its refusal as long as a caller waits for the store, so they run side by side.
    let cases = ["jeton.sqlite", "jeton.sqlite-wal", "jeton.sqlite-shm"];
    let cases = cases.into_iter().flat_map(|name| [(name, false), (name, true)]);
    join_all(cases.map(async |(name, replaced)| {
        let displace = |data_dir: &Path| {
            fs::rename(data_dir.join(name), aside(data_dir)).unwrap();
            if replaced {
                fs::copy(aside(data_dir), data_dir.join(name)).unwrap();
            }
        };
        let put_back = |data_dir: &Path| fs::rename(aside(data_dir), data_dir.join(name)).unwrap();
        displaced(displace, put_back, &format!("{name}, {replaced}")).await;
    }))
    .await;
}

#[tokio::test]
async fn a_data_directory_that_is_moved_or_replaced_under_a_server_is_noticed_before_anything_is_spent() {
    let whole = join_all([false, true].map(async |replaced| {
        let displace = |data_dir: &Path| {
            fs::rename(data_dir, aside(data_dir)).unwrap();
            if replaced {
                fs::create_dir(data_dir).unwrap();
            }
        };
        let put_back = |data_dir: &Path| {
            if replaced {
                fs::remove_dir_all(data_dir).unwrap();
            }
            fs::rename(aside(data_dir), data_dir).unwrap();
        };
        displaced(displace, put_back, &format!("the data directory, {replaced}")).await;
    }));
    let instance = |data_dir: &Path| data_dir.join("instance");
    let instance_file = displaced(
        |data_dir| fs::rename(instance(data_dir), aside(data_dir)).unwrap(),
        |data_dir| fs::rename(aside(data_dir), instance(data_dir)).unwrap(),
        "the instance file",
    );
    tokio::join!(whole, instance_file);
}

#[tokio::test]
async fn a_reply_that_comes_when_the_database_was_removed_is_spilled_and_comes_back_with_it() {
    let (fixture, _) = Fixture::connected().await;
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let client = operator(&fixture, &server).await;
    assert_eq!(client.get("/api/v1/connections/acme/token").await.unwrap().status.as_u16(), 200);
    fixture.emulator.enqueue([Fault::none().slow_after(Duration::from_secs(2))]);
    let accepted = fixture.spent();
    let data_dir = fixture.home.data_dir();
    let (database, kept) = (fixture.home.database(), aside(&data_dir));
    let body = json!({ "force": true });
    let refresh = client.post("/api/v1/connections/acme/refresh", &body);
    let remove = async {
        until("it is accepted", async || fixture.spent() > accepted).await;
        fs::rename(&database, &kept).unwrap();
        fs::remove_dir_all(data_dir.join("spill")).unwrap();
        until("it is spilled", async || server.output().unwrap().contains("it is spilled")).await;
        server.kill().await.unwrap();
        server.wait(PATIENCE).await.unwrap();
    };
    let (_, ()) = tokio::join!(refresh, remove);
    assert!(error_line(&fixture.run(["token", "acme"]).await, 1).contains("does not exist"));
    fs::rename(&kept, &database).unwrap();
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    let stats = fixture.emulator.stats();
    assert_eq!((stats.accepted, stats.reuse_kills, stats.invalid_grant), (accepted + 2, 0, 0), "{stats:?}");
}

#[tokio::test]
async fn a_database_that_is_new_has_nothing_to_adopt_and_no_command_that_looks_begins_it() {
    let postgres = || TestInstallation::on_postgres().unwrap();
    let migrated = || {
        let home = TestInstallation::new().unwrap();
        fs::create_dir(home.data_dir()).unwrap();
        home
    };
    for home in [postgres(), migrated()] {
        run(&home, ["migrate"]).await.success().unwrap();
        for command in ["adopt", "status"] {
            let error = error_line(&run(&home, [command]).await, 1);
            assert!(error.starts_with("there is no installation yet: the database "), "{error}");
            assert!(error.contains("is new and belongs to nobody"), "{error}");
            assert_eq!(error.contains("there is nothing to adopt"), command == "adopt", "{error}");
        }
        let doctor = run(&home, ["doctor", "--offline"]).await.stdout;
        assert!(doctor.contains("the database is new and has no key yet"), "{doctor}");
        assert!(!home.data_dir().join("instance").exists() && !home.data_dir().join("key").exists());
    }
}

#[tokio::test]
async fn a_new_node_that_adopts_is_told_that_it_has_joined() {
    let home = TestInstallation::on_postgres().unwrap();
    home.service_token("first", &[]).await.unwrap();
    let node = home.another_node().unwrap();
    let joined = run(&node, ["adopt"]).await.success().unwrap();
    assert!(joined.contains("had no database and belongs to this one now"), "{joined}");
    let again = run(&node, ["adopt"]).await.success().unwrap();
    assert!(again.contains("belongs to this installation already"), "{again}");
}
