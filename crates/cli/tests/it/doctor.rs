//! `jeton doctor`: each thing that can be wrong with an installation, made wrong.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jeton_testkit::{ConnectionSettings, FreePort, TestInstallation};
use rusqlite::Connection as Database;

use crate::fixture::{Fixture, PATIENCE, connection, run};

/// What the doctor says, and its exit code.
async fn examine(home: &TestInstallation) -> (Option<i32>, String) {
    let finished = run(home, ["doctor"]).await;
    assert_eq!(finished.stderr, "", "{finished:?}");
    (finished.code, finished.stdout)
}

/// The only line of that verdict about that check.
#[track_caller]
fn line<'s>(report: &'s str, verdict: &str, check: &str) -> &'s str {
    let wanted = |line: &&str| {
        line.strip_prefix(verdict).is_some_and(|rest| rest.trim_start().starts_with(&format!("{check} ")))
    };
    let found: Vec<&str> = report.lines().filter(wanted).collect();
    assert_eq!(found.len(), 1, "{verdict} {check}:\n{report}");
    found[0]
}

/// The installation has one fault, and this is its line.
async fn fault(home: &TestInstallation, check: &str) -> String {
    let (code, report) = examine(home).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("\n1 fault, "), "{report}");
    line(&report, "fault", check).to_owned()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_sound_installation_has_no_finding_and_nothing_is_spent() {
    let (fixture, _) = Fixture::connected().await;
    let (_, report) = examine(&fixture.home).await;
    assert!(
        line(&report, "warning", "settings").contains("holds connections.acme.client.secret and can be read"),
        "{report}"
    );
    chmod(&fixture.home.settings(), 0o600);
    let (code, report) = examine(&fixture.home).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(report.ends_with("\n0 faults, 0 warnings\n"), "{report}");
    for check in
        ["settings", "data dir", "files", "disk", "store", "key", "spill slots", "clock", "grants", "host"]
    {
        line(&report, "ok", check);
    }
    assert!(line(&report, "ok", "host").contains("answers at 127.0.0.1:"), "{report}");
    assert_eq!(fixture.spent(), 0);
    let found = fixture.run(["doctor", "--json"]).await.json().unwrap();
    assert_eq!(found["ok"], true);
    assert_eq!(found["findings"][0]["verdict"], "ok");
}

#[tokio::test]
async fn without_an_installation_the_doctor_says_what_to_do_and_creates_nothing() {
    let home = TestInstallation::new().unwrap();
    let (code, report) = examine(&home).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(line(&report, "warning", "settings").contains("`jeton init --provider"), "{report}");
    assert!(line(&report, "warning", "data dir").contains("`jeton serve` creates it"), "{report}");
    assert!(line(&report, "warning", "store").contains("does not exist yet"), "{report}");
    assert!(!home.data_dir().exists());
}

#[tokio::test]
async fn wrong_settings_are_faults_with_their_lines() {
    let home = TestInstallation::new().unwrap();
    home.write_settings("[server]\nlisen = '127.0.0.1:1'\n").unwrap();
    let report = fault(&home, "settings").await;
    assert!(
        report.contains("jeton.toml:2: server.lisen: there is no such setting; did you mean `listen`?"),
        "{report}"
    );
}

#[tokio::test]
async fn a_key_that_is_missing_exposed_or_another_is_a_fault() {
    let (fixture, _) = Fixture::connected().await;
    let (key, aside) = (fixture.home.data_dir().join("key"), fixture.home.path().join("aside"));
    fs::rename(&key, &aside).unwrap();
    assert!(fault(&fixture.home, "key").await.contains("is missing; put the key back"));
    fs::write(&key, "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    chmod(&key, 0o600);
    assert!(fault(&fixture.home, "key").await.contains("is not the one this store was sealed with"));
    fs::rename(&aside, &key).unwrap();
    chmod(&key, 0o644);
    assert!(fault(&fixture.home, "key").await.contains("can be read by others; run `chmod 600"));
}

#[tokio::test]
async fn files_and_folders_that_others_can_use_are_faults_and_are_left_as_they_are() {
    let (fixture, _) = Fixture::connected().await;
    chmod(&fixture.home.database(), 0o640);
    let report = fault(&fixture.home, "files").await;
    assert!(report.contains("jeton.sqlite can be read by others; run `chmod 600"), "{report}");
    let mode = fs::metadata(fixture.home.database()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "the doctor changes nothing");
    chmod(&fixture.home.database(), 0o600);
    chmod(&fixture.home.data_dir(), 0o770);
    assert!(fault(&fixture.home, "data dir").await.contains("run `chmod 700"));
    chmod(&fixture.home.data_dir(), 0o750);
    let (code, report) = examine(&fixture.home).await;
    assert_eq!(code, Some(0), "{report}");
    assert!(line(&report, "warning", "data dir").contains("others can list"), "{report}");
}

#[tokio::test]
async fn a_database_that_is_damaged_newer_or_somebody_elses_is_a_fault() {
    let (fixture, _) = Fixture::connected().await;
    let path = fixture.home.database();
    let newer = "INSERT INTO migrations (number, name, checksum, applied_at) VALUES (9999, 'later', 'x', 0)";
    Database::open(&path).unwrap().execute(newer, ()).unwrap();
    assert!(fault(&fixture.home, "store").await.contains("has schema 9999"));
    Database::open(&path).unwrap().execute("DELETE FROM migrations WHERE number = 9999", ()).unwrap();

    let sound = fs::read(&path).unwrap();
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xa5; sound.len() - 4096]).unwrap();
    drop(file);
    assert!(fault(&fixture.home, "store").await.contains("restore a backup"));

    fs::remove_file(&path).unwrap();
    Database::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    chmod(&path, 0o600);
    assert!(fault(&fixture.home, "store").await.contains("is the database of another program"));
}

#[tokio::test]
async fn a_copied_database_is_on_hold_until_it_is_adopted() {
    let (fixture, _) = Fixture::connected().await;
    fs::remove_file(fixture.home.data_dir().join("instance")).unwrap();
    assert!(fault(&fixture.home, "hold").await.contains("`jeton adopt`"));
    fixture.run(["adopt"]).await.success().unwrap();
    assert_eq!(examine(&fixture.home).await.0, Some(0));
}

#[tokio::test]
async fn a_spill_slot_that_holds_no_reply_is_a_fault() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    let slot = fixture.home.data_dir().join("spill").join("slot-00");
    let mut file = OpenOptions::new().write(true).open(slot).unwrap();
    file.write_all(&5_u64.to_be_bytes()).unwrap();
    file.write_all(b"hello").unwrap();
    let report = fault(&fixture.home, "spill slots").await;
    assert!(report.contains("slot-00 holds something that is no reply"), "{report}");
}

#[tokio::test]
async fn a_reply_that_the_database_contradicts_is_kept_and_told_until_a_person_has_looked_at_it() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    let attempt = "01a1fcfe-c1e2-7b80-b058-2b068ee28f9d";
    let text = format!(
        r#"{{"fail": {{"connection": "ghost", "attempt": "{attempt}", "generation": 1, "verdict": "Unknown",
            "code": "ambiguous", "http_status": 200, "message": "kept", "cooldown": {{"secs": 0, "nanos": 0}},
            "due_in": null, "kept_reply": null}}}}"#
    );
    let slot = fixture.home.data_dir().join("spill").join("slot-00");
    let mut file = OpenOptions::new().write(true).open(slot).unwrap();
    file.write_all(&(text.len() as u64).to_be_bytes()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    drop(file);
    fixture.run(["status"]).await.success().unwrap();
    let report = fault(&fixture.home, "spill slots").await;
    let kept = fixture.home.data_dir().join("spill").join(format!("aside-{attempt}"));
    assert!(report.contains(&format!("of `ghost`, which is kept in {}", kept.display())), "{report}");
    let mode = fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_file(kept).unwrap();
    assert_eq!(examine(&fixture.home).await.0, Some(0));
}

#[tokio::test]
async fn a_clock_that_has_gone_back_is_a_fault() {
    let (fixture, _) = Fixture::connected().await;
    let later = "UPDATE connections SET created_at = created_at + 3600 * 1000000";
    Database::open(fixture.home.database()).unwrap().execute(later, ()).unwrap();
    let report = fault(&fixture.home, "clock").await;
    assert!(report.contains("something happened to `acme` at") && report.contains("NTP"), "{report}");
}

#[tokio::test]
async fn hosts_that_refuse_or_never_answer_are_faults_and_are_not_tried_offline() {
    let (mut fixture, _) = Fixture::connected().await;
    let refused = FreePort::find().unwrap();
    let url = format!("http://127.0.0.1:{}/token", refused.number());
    fixture
        .home
        .add_connection("gone", ConnectionSettings::oauth2(&url, "http://127.0.0.1:1/api", "id", "secret"))
        .unwrap();
    // It takes connections, and never shakes hands.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/token", silent.local_addr().unwrap());
    fixture
        .home
        .add_connection("mute", ConnectionSettings::oauth2(&url, "http://127.0.0.1:1/api", "id", "secret"))
        .unwrap();
    let (code, report) = examine(&fixture.home).await;
    assert_eq!(code, Some(1), "{report}");
    let faults: Vec<&str> = report.lines().filter(|line| line.starts_with("fault")).collect();
    assert_eq!(faults.len(), 2, "{report}");
    assert!(
        faults[0].contains("cannot be reached") && faults[0].contains("`gone` cannot be refreshed"),
        "{report}"
    );
    assert!(faults[1].contains("no answer within 5 s") && faults[1].contains("`mute`"), "{report}");
    assert!(line(&report, "ok", "host").contains("`acme`"), "{report}");
    let offline = fixture.run(["doctor", "--offline"]).await.success().unwrap();
    assert!(!offline.contains("  host "), "{offline}");
}

#[tokio::test]
async fn grants_that_have_ended_or_will_end_are_told_apart() {
    let (mut fixture, _) = Fixture::connected().await;
    for name in ["dead", "orphan", "paused"] {
        fixture.home.add_connection(name, connection(&fixture.emulator)).unwrap();
    }
    let lasting =
        connection(&fixture.emulator).with_policy("rotation", "none").with_policy("refresh_ttl", "3d");
    fixture.home.add_connection("ending", lasting).unwrap();
    let dead = fixture.connect("dead").await;
    for name in ["orphan", "paused", "ending"] {
        fixture.connect(name).await;
    }
    fixture.emulator.revoke_grant(dead.reveal());
    assert_eq!(fixture.run(["refresh", "--connection", "dead", "--force", "--sync"]).await.code, Some(1));
    fixture.run(["pause", "paused"]).await.success().unwrap();
    fixture.home.remove_connection("orphan").unwrap();
    fixture.home.add_connection("pending", connection(&fixture.emulator)).unwrap();
    chmod(&fixture.home.settings(), 0o600);

    let (code, report) = examine(&fixture.home).await;
    assert_eq!(code, Some(1), "{report}");
    let dead = line(&report, "fault", "grant dead");
    assert!(
        dead.contains("ended (invalid_grant); the provider says: ")
            && dead.ends_with("run `jeton connect dead`"),
        "{report}"
    );
    assert!(line(&report, "warning", "grant orphan").contains("`jeton disconnect orphan`"), "{report}");
    assert!(line(&report, "warning", "grant paused").contains("`jeton resume paused`"), "{report}");
    assert!(line(&report, "warning", "grant pending").contains("`jeton connect pending`"), "{report}");
    let ending = line(&report, "warning", "grant ending");
    assert!(ending.contains("expires in 2d 23h, and no refresh renews it"), "{report}");
    assert!(line(&report, "ok", "grants").contains("1 of 5"), "{report}");
    assert!(report.ends_with("\n1 fault, 4 warnings\n"), "{report}");
}

#[tokio::test]
async fn faults_are_one_json_document_with_the_exit_code_of_failure() {
    let (fixture, _) = Fixture::connected().await;
    fs::remove_file(fixture.home.data_dir().join("key")).unwrap();
    let finished = fixture.run(["doctor", "--json"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""), "{finished:?}");
    let found: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(found["ok"], false);
    let faults: Vec<_> =
        found["findings"].as_array().unwrap().iter().filter(|one| one["verdict"] == "fault").collect();
    assert_eq!(faults.len(), 1, "{found}");
    assert_eq!(faults[0]["check"], "key");
}

#[tokio::test]
async fn wrong_flags_and_a_missing_settings_file_are_reported() {
    let home = TestInstallation::new().unwrap();
    let finished = home.command(["doctor", "--ofline"]).unwrap().run(PATIENCE).await.unwrap();
    assert_eq!(finished.code, Some(2), "{finished:?}");
    fs::remove_file(home.settings()).unwrap();
    let report = fault(&home, "settings").await;
    assert!(report.contains("cannot be read") && report.contains("--config"), "{report}");
}
