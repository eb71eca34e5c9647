//! Signals, and the end of the terminal: what is under way finishes, and a server goes on.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use jeton_emulator::{Behaviour, Fault, Settings};
use jeton_testkit::{Client, FreePort, JetonCommand, jeton_binary};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::fixture::{Fixture, PATIENCE, until};

/// The next refresh takes a while.
fn slow_refresh(fixture: &Fixture) {
    let slow = Fault::none().slow_after(Duration::from_millis(1500));
    fixture.emulator.set_behaviour(Behaviour::from_queue([slow]));
}

async fn refresh_under_way(fixture: &Fixture) {
    until("a refresh is under way", async || fixture.emulator.stats().in_flight > 0).await;
}

async fn assert_refreshed(fixture: &Fixture) {
    let state = fixture.run(["status", "acme", "--json"]).await.json().unwrap();
    assert_eq!((&state[0]["condition"], &state[0]["generation"]), (&"live".into(), &2.into()), "{state}");
    assert_eq!(fixture.emulator.stats().replays, 0);
}

fn serve(fixture: &Fixture) -> JetonCommand {
    fixture.home.command(["serve"]).unwrap()
}

#[tokio::test]
async fn a_server_goes_on_through_signals_that_mean_nothing_to_it_and_says_so() {
    let (fixture, _) = Fixture::connected().await;
    slow_refresh(&fixture);
    let mut server = serve(&fixture).serve().unwrap();
    refresh_under_way(&fixture).await;
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::XFSZ, Signal::HUP] {
        server.signal(signal).unwrap();
    }
    until("the refresh ends", async || fixture.emulator.stats().in_flight == 0).await;
    server.wait_until_ready(PATIENCE).await.unwrap();
    for said in ["SIGHUP changes nothing", "signal=\"SIGUSR1\"", "signal=\"SIGUSR2\""] {
        until(said, async || server.output().unwrap().contains(said)).await;
    }
    server.signal(Signal::QUIT).unwrap();
    let status = server.wait(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", server.output().unwrap());
    assert_refreshed(&fixture).await;
}

#[tokio::test]
async fn a_server_whose_terminal_is_gone_goes_on_refreshing() {
    let settings = Settings { access_ttl: Duration::from_secs(2), ..Settings::default() };
    let fixture = Fixture::with(settings).await;
    fixture.connect("acme").await;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    let port = FreePort::find().unwrap();
    let mut command = Command::new(jeton_binary().unwrap());
    command
        .arg("--config")
        .arg(fixture.home.settings())
        .arg("serve")
        .env_clear()
        .env("API_KEY", "a-key-of-this-test-alone-6f1c2b7d")
        .env("JETON__LOG__LEVEL", "trace")
        .env("JETON__SERVER__LISTEN", port.address().to_string())
        .stdin(Stdio::null())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    drop(command);
    // Nobody reads it and nobody can: what is written to it from now on is an error.
    drop(terminal);
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    let client = Client::new(&port.base_url());
    let ready = async || client.get("/readyz").await.is_ok_and(|reply| reply.status == 200);
    until("it is ready", &ready).await;
    kill_process(pid, Signal::HUP).unwrap();
    let spent = fixture.spent();
    until("it refreshes", async || fixture.spent() > spent + 2).await;
    assert!(ready().await);
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_command_whose_terminal_is_closed_finishes_its_refresh_first() {
    let (fixture, _) = Fixture::connected().await;
    slow_refresh(&fixture);
    let mut command = Command::new(jeton_binary().unwrap());
    command.arg("--config").arg(fixture.home.settings());
    command.args(["refresh", "--connection", "acme", "--force", "--sync"]).env_clear().kill_on_drop(true);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    refresh_under_way(&fixture).await;
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    // The system sends it, and so does the shell.
    for _ in 0..2 {
        kill_process(pid, Signal::HUP).unwrap();
    }
    let status = timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1), "it was stopped");
    assert_refreshed(&fixture).await;
}
