//! Grants, databases, keys, folders and ports that are wrong: one sentence with the cure; nothing is lost or spent.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jeton_testkit::{FreePort, TestInstallation, jeton_binary};
use rusqlite::Connection;

use crate::fixture::{Fixture, PATIENCE, connection, error_line};

/// After the cause is put right, the connection still has its token: nothing was lost. And nothing was spent before.
async fn nothing_was_lost(fixture: &Fixture) {
    assert_eq!(fixture.spent(), 0, "nothing is spent while something is wrong");
    let token = fixture.run(["token", "acme"]).await.success().unwrap();
    assert!(fixture.emulator.accepts(token.trim_end()));
    assert_eq!(fixture.spent(), 1);
}

#[tokio::test]
async fn a_refresh_token_that_is_no_token_is_refused_in_words() {
    let fixture = Fixture::new().await;
    for (text, code, why) in [
        ("", 2, "standard input is empty"),
        ("\n", 2, "standard input is empty"),
        ("one\ntwo\n", 2, "standard input holds several lines"),
        ("too-short", 1, "has 9 characters and tokens of `oauth2` have at least 20"),
        ("twenty characters or more, and a bell\u{7}", 1, "refresh token"),
    ] {
        let connect = fixture.home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
        let connect = connect.env("JETON__CONNECTIONS__ACME__POLICY__MIN_REFRESH_LENGTH", "20").stdin(text);
        let sentence = error_line(&connect.run(PATIENCE).await.unwrap(), code);
        assert!(sentence.contains(why), "{text:?}: {sentence}");
        assert!(text.is_empty() || text == "\n" || !sentence.contains(text), "{sentence}");
    }
    let pending = fixture.run(["status", "--json"]).await.json().unwrap();
    assert_eq!(pending[0]["condition"], "pending");
    fixture.connect("acme").await;
    nothing_was_lost(&fixture).await;
}

#[tokio::test]
async fn a_database_newer_than_the_binary_is_left_alone() {
    let (fixture, _) = Fixture::connected().await;
    let database = Connection::open(fixture.home.database()).unwrap();
    let newer = "INSERT INTO migrations (number, name, checksum, applied_at) VALUES (9999, 'later', 'x', 0)";
    database.execute(newer, ()).unwrap();
    let sentence = error_line(&fixture.run(["token", "acme"]).await, 1);
    assert!(sentence.contains("newer") && sentence.contains("jeton.sqlite"), "{sentence}");
    database.execute("DELETE FROM migrations WHERE number = 9999", ()).unwrap();
    drop(database);
    nothing_was_lost(&fixture).await;
}

#[tokio::test]
async fn a_missing_key_is_never_replaced_by_a_new_one() {
    let (fixture, _) = Fixture::connected().await;
    let (key, aside) = (fixture.home.data_dir().join("key"), fixture.home.path().join("aside"));
    fs::rename(&key, &aside).unwrap();
    let sentence = error_line(&fixture.run(["token", "acme"]).await, 1);
    assert!(sentence.contains("is missing; put the key back"), "{sentence}");
    assert!(!key.exists());
    fs::rename(&aside, &key).unwrap();
    nothing_was_lost(&fixture).await;
}

#[tokio::test]
async fn another_key_is_refused_wherever_it_comes_from() {
    let (fixture, _) = Fixture::connected().await;
    let other = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let token = fixture.home.command(["token", "acme"]).unwrap().env("JETON__KEY", other);
    let sentence = error_line(&token.run(PATIENCE).await.unwrap(), 1);
    assert!(sentence.contains("JETON__KEY is not the one this store was sealed with"), "{sentence}");
    assert!(!sentence.contains(&other[2..]));
    let token = fixture.home.command(["token", "acme"]).unwrap().env("JETON__KEY", "nonsense");
    let sentence = error_line(&token.run(PATIENCE).await.unwrap(), 1);
    assert!(sentence.contains("JETON__KEY cannot be read"), "{sentence}");
    nothing_was_lost(&fixture).await;
}

#[tokio::test]
async fn the_right_key_may_come_from_the_environment() {
    let (fixture, _) = Fixture::connected().await;
    let key = fixture.home.data_dir().join("key");
    let text = fs::read_to_string(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let token = fixture.home.command(["token", "acme"]).unwrap().env("JETON__KEY", text.trim());
    let token = token.run(PATIENCE).await.unwrap().success().unwrap();
    assert!(fixture.emulator.accepts(token.trim_end()));
}

#[tokio::test]
async fn a_key_file_that_others_can_read_is_refused() {
    let (fixture, _) = Fixture::connected().await;
    let key = fixture.home.data_dir().join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let sentence = error_line(&fixture.run(["token", "acme"]).await, 1);
    assert!(sentence.contains("can be read by others; run `chmod 600"), "{sentence}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    nothing_was_lost(&fixture).await;
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named_with_its_setting() {
    let fixture = Fixture::new().await;
    // Below a file nothing can be made, not even by root.
    let below = fixture.home.settings().join("data");
    let serve = fixture.home.command(["serve"]).unwrap().env("JETON__DATA_DIR", below.to_str().unwrap());
    let sentence = error_line(&serve.run(PATIENCE).await.unwrap(), 1);
    assert!(sentence.contains(&format!("{} cannot be created", below.display())), "{sentence}");
    assert!(sentence.contains("`data_dir` (or JETON__DATA_DIR)"), "{sentence}");
}

#[tokio::test]
async fn a_database_that_is_none_is_left_alone() {
    let fixture = Fixture::new().await;
    let file = fixture.home.path().join("letter.txt");
    fs::write(&file, "Dear friend, this is not a database, and it should stay what it is.").unwrap();
    let url = format!("sqlite:{}", file.display());
    let status = fixture.home.command(["status"]).unwrap().env("JETON__STORE__URL", &url);
    let sentence = error_line(&status.run(PATIENCE).await.unwrap(), 1);
    assert!(sentence.contains("letter.txt"), "{sentence}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("Dear friend"));
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_do() {
    let (fixture, _) = Fixture::connected().await;
    let port = FreePort::find().unwrap();
    let _taken = TcpListener::bind(port.address()).unwrap();
    let finished = fixture.run(["serve", "--listen", &port.address().to_string()]).await;
    assert_eq!(
        error_line(&finished, 1),
        format!(
            "port {} of 127.0.0.1 is taken; stop what listens there, or give `server.listen` another port",
            port.number()
        )
    );
    nothing_was_lost(&fixture).await;
}

#[tokio::test]
async fn a_copied_database_is_on_hold_until_it_is_adopted() {
    let (fixture, _) = Fixture::connected().await;
    let mut copy = TestInstallation::new().unwrap();
    copy.add_connection("acme", connection(&fixture.emulator)).unwrap();
    copy_files(&fixture.home.data_dir(), &copy.data_dir());
    fs::remove_file(copy.data_dir().join("instance")).unwrap();
    let copy = Fixture { home: copy, emulator: fixture.emulator };

    let sentence = error_line(&copy.run(["token", "acme"]).await, 1);
    assert!(sentence.contains("on hold") && sentence.contains("`jeton adopt`"), "{sentence}");
    let finished = copy.run(["refresh", "--force", "--sync"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let status = copy.run(["status"]).await;
    assert!(status.stderr.contains("on hold"), "{status:?}");
    let mut server = copy.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert!(server.output().unwrap().contains("on hold: the database was copied or restored"));
    server.terminate().unwrap();
    assert_eq!(server.wait(PATIENCE).await.unwrap().code(), Some(0));
    assert_eq!(copy.spent(), 0);

    assert_eq!(copy.run(["adopt", "--json"]).await.json().unwrap()["adopted"], true);
    assert_eq!(copy.run(["adopt", "--json"]).await.json().unwrap()["adopted"], false);
    nothing_was_lost(&copy).await;
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn without_settings_and_data_directory_commands_say_so_and_create_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["status"][..],
        &["logs"],
        &["audit"],
        &["token", "acme"],
        &["refresh"],
        &["pause", "acme"],
        &["resume", "acme"],
        &["disconnect", "acme"],
        &["connect", "acme"],
        &["adopt"],
        &["service-token", "list"],
        &["service-token", "rotate", "bot1"],
        &["service-token", "revoke", "bot1"],
        &["config", "check"],
    ] {
        let output = Command::new(jeton_binary().unwrap())
            .args(arguments)
            .current_dir(&folder)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.starts_with(
                "error: no settings file was found, neither jeton.toml here nor /etc/jeton/jeton.toml"
            ),
            "{arguments:?}: {error}"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{arguments:?}");
    }
}

#[tokio::test]
async fn commands_that_look_create_nothing_where_there_are_settings_alone() {
    let fixture = Fixture::new().await;
    let before = fs::read_dir(fixture.home.path()).unwrap().count();
    for arguments in [
        &["status"][..],
        &["logs"],
        &["audit"],
        &["token", "acme"],
        &["refresh"],
        &["pause", "acme"],
        &["resume", "acme"],
        &["disconnect", "acme"],
        &["adopt"],
        &["service-token", "list"],
        &["service-token", "revoke", "bot1"],
    ] {
        let finished = fixture.home.command(arguments.iter().copied()).unwrap().run(PATIENCE).await.unwrap();
        let sentence = error_line(&finished, 1);
        assert!(sentence.starts_with("there is no installation yet: "), "{arguments:?}: {sentence}");
        assert!(sentence.contains("`jeton connect NAME` or `jeton serve` creates it"), "{sentence}");
        assert_eq!(fs::read_dir(fixture.home.path()).unwrap().count(), before, "{arguments:?}");
    }
    let doctor = fixture.run(["doctor", "--offline"]).await;
    assert!(doctor.stdout.contains("does not exist yet"), "{doctor:?}");
    assert_eq!(fs::read_dir(fixture.home.path()).unwrap().count(), before);
}

#[tokio::test]
async fn commands_that_look_make_no_spill_slot_and_a_server_makes_those_that_are_missing() {
    let (fixture, _) = Fixture::connected().await;
    let spill = fixture.home.data_dir().join("spill");
    let count = || fs::read_dir(&spill).map_or(0, Iterator::count);
    for arguments in [["status"], ["logs"], ["audit"]] {
        let command = fixture.home.command(arguments).unwrap().env("JETON__KEEPER__SPILL_SLOTS", "20");
        command.run(PATIENCE).await.unwrap().success().unwrap();
        assert_eq!(count(), 0, "{arguments:?}");
    }
    fixture.run(["token", "acme"]).await.success().unwrap();
    assert_eq!(count(), 1, "the one that it needed");
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert_eq!(count(), 16);
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();
}

/// Every file of the installation, with its owner.
fn owners(folder: &Path) -> Vec<(PathBuf, u32)> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let owned = entries.flat_map(|entry| {
        let below = if entry.path().is_dir() { owners(&entry.path()) } else { Vec::new() };
        below.into_iter().chain([(entry.path(), entry.metadata().unwrap().uid())])
    });
    owned.collect()
}

/// The user of a service.
const SERVICE: u32 = 23_456;

#[tokio::test]
async fn what_root_makes_in_the_folder_of_a_service_belongs_to_the_service() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let fixture = Fixture::new().await;
    fs::create_dir(fixture.home.data_dir()).unwrap();
    chown(fixture.home.data_dir(), Some(SERVICE), Some(SERVICE)).unwrap();
    fixture.connect("acme").await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let found = owners(&fixture.home.data_dir());
    assert!(found.len() > 20, "{found:?}");
    assert!(found.iter().all(|(_, owner)| *owner == SERVICE), "{found:?}");
    drop(server);
}

#[tokio::test]
async fn slots_of_another_user_stop_nobody_while_one_can_be_used_and_are_named_with_the_cure_when_none_can() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    // The service may go through the folder of the test, and has its own data directory.
    let data_dir = fixture.home.data_dir();
    for (path, _) in owners(&data_dir).into_iter().chain([(data_dir.clone(), 0)]) {
        chown(path, Some(SERVICE), Some(SERVICE)).unwrap();
    }
    fs::set_permissions(fixture.home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let as_service = async |arguments: &[&str]| {
        let mut command = Command::new(jeton_binary().unwrap());
        command.args(arguments).arg("--config").arg(fixture.home.settings()).env_clear();
        command.current_dir("/").stdin(Stdio::null()).uid(SERVICE).gid(SERVICE);
        // The provider answers on this thread.
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let slots = data_dir.join("spill");
    let give_to_root = |name: &str| {
        fs::File::create(slots.join(name)).unwrap();
        fs::set_permissions(slots.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        chown(slots.join(name), Some(0), Some(0)).unwrap();
    };
    give_to_root("slot-16");
    give_to_root("slot-01");
    let refreshed = as_service(&["refresh", "--force", "--sync"]).await;
    assert!(refreshed.status.success(), "{refreshed:?}");
    for slot in 0..16 {
        give_to_root(&format!("slot-{slot:02}"));
    }
    let spent = fixture.spent();
    let refused = as_service(&["serve", "--set", "server.listen=127.0.0.1:0"]).await;
    let error = String::from_utf8(refused.stderr).unwrap();
    let slot = slots.join("slot-00");
    let cure =
        format!("it belongs to user 0, and this is user {SERVICE}: run `chown {SERVICE} {}`", slot.display());
    assert!(error.contains(&cure) && !refused.status.success(), "{error}");
    assert_eq!(fixture.spent(), spent);
}
