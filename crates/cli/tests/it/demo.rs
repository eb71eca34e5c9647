//! `jeton demo`: lines where nobody draws, a table on a terminal, and a good end in either.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Output, Stdio};

use jeton_testkit::{Client, PgCluster, jeton_binary};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::fixture::PATIENCE;

/// A run of the demo at any free port, whose temporary folder lies in `place`.
fn demo<const N: usize>(place: &Path, arguments: [&str; N]) -> Command {
    let mut command = Command::new(jeton_binary().unwrap());
    command.args(["demo", "--seed", "1", "--listen", "127.0.0.1:0"]).args(arguments);
    command.env_clear().env("TMPDIR", place).env("LANG", "C.UTF-8").kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

async fn run<const N: usize>(place: &Path, arguments: [&str; N]) -> Output {
    timeout(PATIENCE, demo(place, arguments).output()).await.unwrap().unwrap()
}

fn assert_nothing_is_left(place: &TempDir) {
    let left: Vec<_> = place.path().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [] as [std::path::PathBuf; 0]);
}

/// The number that stands behind a word of the summary.
fn number(summary: &str, word: &str) -> u64 {
    let line = summary.lines().find(|line| line.trim_start().starts_with(word));
    let line = line.unwrap_or_else(|| panic!("there is no `{word}` in {summary}"));
    line.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap()
}

#[tokio::test]
async fn where_there_is_no_terminal_it_tells_in_lines_and_ends_well() {
    let place = tempfile::tempdir().unwrap();
    let ended = run(place.path(), ["--for", "5s"]).await;
    let (out, err) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert_eq!(ended.status.code(), Some(0), "{out}\n{err}");
    assert_eq!(err, "");
    assert!(!out.contains('\x1b') && !out.contains('\r'), "{out}");
    for line in [
        "calm          its first token, in 0.",
        "slow          its first token, in ",
        "doomed        its user revokes the grant; jeton cannot know yet",
        "doomed        refresh failed: the provider says that the grant is over (invalid_grant, HTTP 400)",
        "wrong-client  refresh failed: the provider does not accept our client credentials (invalid_client, HTTP 401)",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }
    let (_, summary) = out.split_once("jeton demo ran 0:0").unwrap();
    for word in ["lost", "dead", "errors"] {
        assert_eq!(number(summary, word), 0, "{out}");
    }
    assert_eq!(number(summary, "accepted"), 6, "all but the wrong client got their first token\n{out}");
    assert!(number(summary, "requests") >= 8, "{out}");
    assert!(number(summary, "served") > 0 && number(summary, "refused") > 0, "{out}");
    assert_nothing_is_left(&place);
}

#[tokio::test]
async fn what_it_says_to_type_works_while_it_runs() {
    let place = tempfile::tempdir().unwrap();
    let mut child = demo(place.path(), ["--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap()?;
        Some(serde_json::from_str::<Value>(&line).unwrap())
    };
    let opening = next().await.unwrap();
    let hints: Vec<&str> =
        opening["try"].as_array().unwrap().iter().map(|hint| hint.as_str().unwrap()).collect();

    // `curl -sH NAME:VALUE URL`, by a client that is always there.
    let curl: Vec<&str> = hints[0].split(' ').collect();
    let [_, _, header, url] = curl[..] else { panic!("{hints:?}") };
    let (name, value) = header.split_once(':').unwrap();
    let (base, path) = url.split_at(url.find("/api").unwrap());
    let reply = Client::new(base).with_header(name, value).get(path).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.json().unwrap()["access_token"].is_string());

    for (hint, expected) in [(hints[1], "wrong-client"), (hints[2], "calm")] {
        let said = Command::new("sh").args(["-c", hint]).env_remove("API_KEY").output().await.unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        assert!(said.status.success() && text.contains(expected), "{hint}\n{text}");
    }

    kill_process(Pid::from_raw(pid(&child)).unwrap(), Signal::INT).unwrap();
    let mut summary = Value::Null;
    while let Some(line) = next().await {
        summary = line;
    }
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "{summary}");
    assert_eq!((&summary["tokens"]["lost"], &summary["calls"]["dead"]), (&0.into(), &0.into()), "{summary}");
    assert_nothing_is_left(&place);
}

fn pid(child: &Child) -> i32 {
    child.id().unwrap().cast_signed()
}

#[tokio::test]
async fn on_a_terminal_it_draws_a_table_and_leaves_everything_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    let mut command = demo(place.path(), []);
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(theirs.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    // The command holds the terminal open too, and reading ends only when nobody does.
    drop(command);

    let (drawn, waiting) = tokio::sync::oneshot::channel();
    let reader = tokio::task::spawn_blocking(move || read(ours.into(), drawn));
    timeout(PATIENCE, waiting).await.unwrap().unwrap();
    let quiet = tcgetattr(&theirs).unwrap();
    assert!(!quiet.local_modes.contains(LocalModes::ECHO), "what is typed does not show in the table");
    kill_process(Pid::from_raw(pid(&child)).unwrap(), Signal::INT).unwrap();
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(tcgetattr(&theirs).unwrap().local_modes.contains(LocalModes::ECHO));
    (&theirs).write_all(END.as_bytes()).unwrap();
    let shown = timeout(PATIENCE, reader).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{shown:?}");
    let (before, rest) = shown.split_once("\x1b[?1049h").unwrap();
    assert_eq!(before, "");
    let (screen, after) = rest.split_once("\x1b[?1049l").unwrap();
    assert!(screen.contains("CONNECTION") && screen.contains("LAST EVENT"), "{screen:?}");
    assert!(screen.contains("ending: refreshes finish"), "{screen:?}");
    assert!(after.contains("CONNECTION") && after.contains("jeton demo ran 0:0"), "{after:?}");
    assert_eq!(number(after, "lost"), 0, "{after}");
    assert_nothing_is_left(&place);
}

/// What is written to the terminal when the demo has ended.
const END: &str = "=== the end ===";

/// Reads a terminal until that; tells when the table has been drawn with tokens in it.
fn read(mut terminal: File, drawn: tokio::sync::oneshot::Sender<()>) -> String {
    let (mut shown, mut drawn, mut bytes) = (Vec::new(), Some(drawn), [0; 4096]);
    loop {
        let count = terminal.read(&mut bytes).unwrap();
        shown.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&shown);
        if text.contains("refreshed")
            && let Some(drawn) = drawn.take()
        {
            drawn.send(()).unwrap();
        }
        if text.contains(END) {
            return text.into_owned();
        }
    }
}

#[tokio::test]
async fn settings_that_it_would_ignore_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let ended = run(place.path(), ["--config", "jeton.toml"]).await;
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("leave `--config` out, or run `jeton serve`"), "{said}");
}

#[tokio::test]
async fn a_port_that_is_asked_for_and_taken_is_named() {
    let place = tempfile::tempdir().unwrap();
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Command::new(jeton_binary().unwrap());
    command.args(["demo", "--for", "1s", "--listen", &address]).env("TMPDIR", place.path());
    let ended = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains(&format!("nothing can listen at {address}")), "{said}");
    assert_nothing_is_left(&place);
}

#[tokio::test]
async fn a_reader_that_leaves_early_ends_it_in_order() {
    let place = tempfile::tempdir().unwrap();
    let mut child = demo(place.path(), []).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_nothing_is_left(&place);
}

#[tokio::test]
async fn on_postgres_it_keeps_to_a_schema_of_its_own_and_removes_it() {
    let database = PgCluster::shared().unwrap().empty_database().unwrap();
    let count =
        |what: &str| database.query(&format!("SELECT count(*) FROM {what}")).unwrap()[0][0].clone().unwrap();
    let schemas = "pg_namespace WHERE nspname LIKE 'jeton%'";
    let place = tempfile::tempdir().unwrap();
    let during = async {
        let begun = tokio::time::Instant::now();
        while count(schemas) != "1" {
            assert!(begun.elapsed() < PATIENCE, "no schema is made");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let arguments = ["--for", "5s", "--store", database.url()];
    let (ended, ()) = tokio::join!(run(place.path(), arguments), during);
    let (out, err) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert_eq!((ended.status.code(), err.as_str()), (Some(0), ""), "{out}");
    assert!(number(&out, "requests") > 0, "{out}");
    assert_eq!(count(schemas), "0", "it is removed");
    assert_eq!(count("pg_tables WHERE schemaname = 'public'"), "0", "the rest is left alone");
    assert_nothing_is_left(&place);

    let with_options = format!("{}?options=-c%20x", database.url());
    for (url, cure) in [
        (with_options.as_str(), "leave `options` out"),
        ("postgres", "`--store` takes the URL of an existing PostgreSQL"),
    ] {
        let refused = run(place.path(), ["--store", url]).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8(refused.stderr).unwrap().contains(cure), "{url}");
    }
}
