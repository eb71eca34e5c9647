//! A disk that is full: what lives is served, nothing is spent, and it heals by itself.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jeton_emulator::Settings;
use jeton_testkit::{JetonCommand, ServerProcess};
use serde_json::Value;
use tokio::time::sleep;

use crate::fixture::{Fixture, PATIENCE, until};

/// Names a small disk of its own to the process of the test that runs on it.
const DISK: &str = "JETON_TEST_DISK";

const TEST: &str = "full_disk::a_server_that_starts_on_a_full_disk_serves_living_tokens_and_heals_by_itself";

/// Runs the test again in a mount namespace, with a disk of 48 MiB.
fn run_on_a_small_disk() {
    let disk = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=48m,mode=700 jeton-test "$JETON_TEST_DISK" && exec "$0" --exact "$1" --nocapture"#;
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let ended = unshare
        .args(["--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(TEST)
        .env(DISK, disk.path())
        .output()
        .unwrap();
    let written = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && written.contains("1 passed"),
        "{written}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Takes all the space that is left.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("fill");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

async fn token(server: &ServerProcess) -> Value {
    let client = server.client();
    until("a token is served", async || {
        client.get("/api/v1/connections/acme/token").await.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    client.get_json("/api/v1/connections/acme/token").await.unwrap()
}

async fn until_ready(server: &ServerProcess, status: u16) -> Value {
    let ready = async || server.client().get("/readyz").await.ok();
    until("the readiness", async || ready().await.is_some_and(|reply| reply.status == status)).await;
    ready().await.unwrap().json().unwrap()
}

#[tokio::test]
async fn a_server_that_starts_on_a_full_disk_serves_living_tokens_and_heals_by_itself() {
    let Some(disk) = std::env::var_os(DISK).map(PathBuf::from) else { return run_on_a_small_disk() };
    let fixture =
        Fixture::with(Settings { access_ttl: Duration::from_hours(1), ..Settings::default() }).await;
    let data_dir = disk.join("data").display().to_string();
    let on_disk = |command: JetonCommand| {
        let command =
            command.env("JETON__DATA_DIR", &data_dir).env("JETON__STORE__URL", "sqlite:jeton.sqlite");
        command.env("JETON__KEEPER__SPILL_SLOTS", "2")
    };
    let serve = || on_disk(fixture.home.command(["serve"]).unwrap()).serve().unwrap();
    let force = async || {
        let refresh = fixture.home.command(["refresh", "--connection", "acme", "--force", "--sync"]).unwrap();
        on_disk(refresh).run(PATIENCE).await.unwrap()
    };
    let refresh = fixture.emulator.mint(1).remove(0);
    let connect = fixture.home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    on_disk(connect).stdin(refresh.reveal()).run(PATIENCE).await.unwrap().success().unwrap();
    let mut server = serve();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let before = token(&server).await;
    let spent = fixture.spent();

    for clean in [true, false] {
        if clean {
            server.terminate().unwrap();
            server.wait(PATIENCE).await.unwrap();
            let log = Path::new(&data_dir).join("jeton.sqlite-wal");
            assert_eq!(fs::metadata(log).unwrap().len(), 0, "the database file is whole after a clean stop");
            fill(&disk);
        } else {
            fill(&disk);
            server.kill().await.unwrap();
        }
        server = serve();
        assert_eq!(token(&server).await["access_token"], before["access_token"]);
        let problem = until_ready(&server, 503).await;
        assert_eq!(problem["code"], "STORE_UNAVAILABLE");
        assert!(
            problem["detail"].as_str().unwrap().contains("no space is left for the database"),
            "{problem}"
        );
        let refused = force().await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert_eq!(fixture.spent(), spent, "nothing is spent that cannot be recorded");
    }
    // Long enough for what repeats itself to do so.
    sleep(Duration::from_secs(2)).await;
    let log = server.output().unwrap();
    let failed = log.lines().filter(|line| line.contains("a batch of the store failed"));
    assert!(failed.count() <= 2, "repeated warnings are counted: {log}");

    fs::remove_file(disk.join("fill")).unwrap();
    until_ready(&server, 200).await;
    until("a refresh", async || force().await.code == Some(0)).await;
    let newer = async || token(&server).await["access_token"] != before["access_token"];
    until("the new token is served", newer).await;
    assert_eq!(fixture.spent(), spent + 1);
}
