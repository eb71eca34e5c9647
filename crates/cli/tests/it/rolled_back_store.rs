//! A backup that was put back in place of the database: every command says so, and nothing is spent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ServerProcess, TestInstallation};
use rusqlite::Connection as Database;
use serde_json::json;

use crate::fixture::{Fixture, PATIENCE, connection, until};

/// Folds the write-ahead log into the database, as the last process that closes it does.
fn fold(database: &Path) {
    Database::open(database).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
}

#[tokio::test]
async fn a_backup_put_back_in_place_of_the_database_is_named_by_every_command_until_it_is_adopted() {
    let (fixture, _) = Fixture::connected().await;
    let refresh = ["refresh", "--force", "--sync"];
    fixture.run(refresh).await.success().unwrap();
    let database = fixture.home.database();
    let backup = database.with_extension("backup");
    fold(&database);
    fs::copy(&database, &backup).unwrap();
    fixture.run(refresh).await.success().unwrap();
    fold(&database);
    fs::copy(&backup, &database).unwrap();
    let spent = fixture.spent();

    let words = "the store went back in time";
    fixture.run(["token", "acme"]).await.success().expect("what lives is served");
    let refused = fixture.run(refresh).await;
    assert_eq!(refused.code, Some(1));
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains(words), "{refused:?}");
    assert!(fixture.run(["status"]).await.stderr.contains(words));
    let examined = fixture.run(["doctor"]).await;
    assert_eq!(examined.code, Some(1));
    assert!(examined.stdout.contains(words) && examined.stdout.contains("`jeton adopt`"), "{examined:?}");
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert!(server.output().unwrap().contains(words));
    server.terminate().unwrap();
    assert_eq!(server.wait(PATIENCE).await.unwrap().code(), Some(0));
    assert_eq!(fixture.spent(), spent);

    assert_eq!(fixture.run(["adopt", "--json"]).await.json().unwrap()["adopted"], true);
    fixture.run(["doctor"]).await.success().unwrap();
    // The provider knows that the refresh token in the backup was spent.
    let finished = fixture.run(refresh).await;
    assert!(finished.stdout.contains("the grant of `acme` is dead (invalid_grant)"), "{finished:?}");
}

#[tokio::test]
async fn a_disk_that_is_rolled_back_to_a_snapshot_is_on_hold_by_the_mark_outside_of_it() {
    let (fixture, _) = Fixture::connected().await;
    let refresh = ["refresh", "--force", "--sync"];
    fixture.run(refresh).await.success().unwrap();
    let database = fixture.home.database();
    let files = [database.clone(), fixture.home.data_dir().join("high-water")];
    let snapshot = |file: &Path| file.with_extension("snapshot");
    fold(&database);
    for file in &files {
        fs::copy(file, snapshot(file)).unwrap();
    }
    fixture.run(refresh).await.success().unwrap();
    fold(&database);
    for file in &files {
        fs::copy(snapshot(file), file).unwrap();
    }
    let spent = fixture.spent();

    let refused = fixture.run(refresh).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        format!("{}{}", refused.stdout, refused.stderr).contains("the store went back in time"),
        "{refused:?}"
    );
    let doctor = fixture.run(["doctor", "--offline", "--clones"]).await;
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    assert!(
        doctor.stdout.contains("the mark outside is") && doctor.stdout.contains("`jeton adopt`"),
        "{doctor:?}"
    );
    assert_eq!(fixture.spent(), spent);
    fixture.run(["adopt"]).await.success().unwrap();
    fixture.run(["doctor", "--offline"]).await.success().unwrap();
}

#[tokio::test]
async fn the_doctor_shows_what_an_installation_is_known_by() {
    let (fixture, _) = Fixture::connected().await;
    let clones = async |set: &str| {
        let arguments = ["doctor", "--offline", "--clones", "--set", set];
        fixture.run(arguments).await.success().unwrap()
    };
    let before = clones("bound_to_machine=true").await;
    assert!(before.contains("the first refresh writes it") && before.contains("this boot is "), "{before}");
    fixture.run(["token", "acme"]).await.success().unwrap();
    let after = clones("bound_to_machine=true").await;
    let here = fixture.home.data_dir().canonicalize().unwrap();
    assert!(after.contains(&format!("of {} at change", here.display())), "{after}");
    assert!(after.contains("the clone of a whole machine"), "{after}");
    let free = clones("bound_to_machine=false").await;
    assert!(free.contains("a disk that is copied to another machine is not noticed"), "{free}");
}

/// A file system in a file, mounted until the value is dropped.
struct MountedImage(PathBuf);

impl MountedImage {
    /// `None` where this process may not mount anything.
    fn mount(image: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Process::new("mount").args(["-o", "loop"]).arg(image).arg(at).output().unwrap();
        mounted.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for MountedImage {
    fn drop(&mut self) {
        let unmounted = Process::new("umount").arg(&self.0).output();
        assert!(unmounted.is_ok_and(|output| output.status.success()), "{} stays mounted", self.0.display());
    }
}

#[tokio::test]
async fn the_clone_of_a_disk_is_on_hold_beside_the_original() {
    let (fixture, _) = Fixture::connected().await;
    let [image, copy, one, two] = ["image", "copy", "one", "two"].map(|name| fixture.home.path().join(name));
    fs::File::create(&image).unwrap().set_len(96 * 1024 * 1024).unwrap();
    let made = Process::new("mkfs.ext4").arg("-q").arg(&image).output();
    if !rustix::process::geteuid().is_root() || !made.is_ok_and(|output| output.status.success()) {
        return;
    }
    let Some(original) = MountedImage::mount(&image, &one) else { return };
    let place = |at: &Path| {
        [
            ("JETON__DATA_DIR", at.join("data").display().to_string()),
            ("JETON__STORE__URL", format!("sqlite:{}", at.join("data/jeton.sqlite").display())),
        ]
    };
    let run = async |fixture: &Fixture, at: &Path, arguments: &[&str]| {
        let command = fixture.home.command(arguments.iter().copied()).unwrap();
        let command = place(at).iter().fold(command, |command, (name, value)| command.env(name, value));
        command.run(PATIENCE).await.unwrap()
    };
    let file = fixture.home.path().join("tokens.json");
    fs::write(&file, json!({ "refresh_token": fixture.emulator.mint(1)[0].reveal() }).to_string()).unwrap();
    let import = file.display().to_string();
    run(&fixture, &one, &["connect", "acme", "--import", &import]).await.success().unwrap();
    let refresh = ["refresh", "--force", "--sync"];
    run(&fixture, &one, &refresh).await.success().unwrap();
    drop(original);
    fs::copy(&image, &copy).unwrap();
    let _original = MountedImage::mount(&image, &one).unwrap();
    let _clone = MountedImage::mount(&copy, &two).unwrap();

    let spent = fixture.spent();
    let refused = run(&fixture, &two, &refresh).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        format!("{}{}", refused.stdout, refused.stderr).contains("as on the clone of a disk"),
        "{refused:?}"
    );
    assert_eq!(fixture.spent(), spent);
    run(&fixture, &one, &refresh).await.success().unwrap();
    assert_eq!(fixture.emulator.stats().reuse_kills, 0);
}

#[tokio::test]
async fn a_node_on_the_clone_of_a_disk_is_on_hold_while_another_on_its_database_runs_on_the_original() {
    let emulator = Emulator::start(Settings::default()).await.unwrap();
    let mut home = TestInstallation::on_postgres().unwrap();
    home.add_connection("acme", connection(&emulator)).unwrap();
    let [image, copy, one, two] = ["image", "copy", "one", "two"].map(|name| home.path().join(name));
    fs::File::create(&image).unwrap().set_len(256 * 1024 * 1024).unwrap();
    let made = Process::new("mkfs.ext4").arg("-q").arg(&image).output();
    if !rustix::process::geteuid().is_root() || !made.is_ok_and(|output| output.status.success()) {
        return;
    }
    let Some(original) = MountedImage::mount(&image, &one) else { return };
    // Each has marks of its own, as on two machines.
    let command = |at: &Path, arguments: &[&str]| {
        let [data, marks] =
            [at.join("data"), at.with_extension("marks")].map(|path| path.display().to_string());
        let command = home.command(arguments.iter().copied()).unwrap();
        command.env("JETON__DATA_DIR", &data).env("JETON__MARK_DIR", &marks)
    };
    let token = emulator.mint(1).remove(0);
    let connect = command(&one, &["connect", "acme", "--refresh-token-stdin"]).stdin(token.reveal());
    connect.run(PATIENCE).await.unwrap().success().unwrap();
    drop(original);
    fs::copy(&image, &copy).unwrap();
    let _original = MountedImage::mount(&image, &one).unwrap();
    let _clone = MountedImage::mount(&copy, &two).unwrap();

    let mut servers = Vec::new();
    for at in [&one, &two] {
        let mut server = command(at, &["serve"]).serve().unwrap();
        server.wait_until_ready(PATIENCE).await.unwrap();
        servers.push(server);
    }
    let on_hold = async |server: &ServerProcess| {
        server.client().get_json("/readyz").await.is_ok_and(|ready| ready["hold"] == true)
    };
    until("the clone is on hold", async || on_hold(&servers[1]).await).await;
    assert!(!on_hold(&servers[0]).await);
    let said = servers[1].output().unwrap();
    assert!(said.contains("as on the clone of a disk") && said.contains("lives on the other"), "{said}");

    let doctor = command(&two, &["doctor", "--offline", "--clones"]).run(PATIENCE).await.unwrap();
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    for part in ["runs on the machine ", "is a copy of another node's", "`jeton adopt`"] {
        assert!(doctor.stdout.contains(part), "{part}: {doctor:?}");
    }
    let mut clone = servers.remove(1);
    clone.terminate().unwrap();
    clone.wait(PATIENCE).await.unwrap();
    command(&two, &["adopt"]).run(PATIENCE).await.unwrap().success().unwrap();
    command(&two, &["doctor", "--offline"]).run(PATIENCE).await.unwrap().success().unwrap();
    assert!(!on_hold(&servers[0]).await);
}
