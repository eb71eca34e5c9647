//! `jeton serve` with few file descriptors: callers never get those that refreshes need.

use std::time::Duration;

use futures_util::future::join_all;
use jeton_emulator::Settings;
use jeton_testkit::{ConnectionSettings, TestApi, TestServer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::fixture::{Fixture, PATIENCE, until};

const HARD: u32 = 1_024;

/// This process opens as many connections as the server that it tests.
fn raise_own_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// Connects `acme`, whose API is there.
async fn connect_with_api(fixture: &mut Fixture, api: &str) {
    let token_url = fixture.emulator.token_url();
    let acme = ConnectionSettings::oauth2(&token_url, api, "emulated", "emulated-secret");
    fixture.home.add_connection("acme", acme).unwrap();
    fixture.connect("acme").await;
}

#[tokio::test]
async fn silent_connections_beyond_the_limit_of_open_files_hold_up_neither_refreshes_nor_callers() {
    raise_own_limit();
    let settings = Settings { access_ttl: Duration::from_secs(3), ..Settings::default() };
    let mut fixture = Fixture::with(settings).await;
    let api = TestApi::answering(|_| hyper::Response::new(String::from("called"))).await;
    connect_with_api(&mut fixture, &api.base_url()).await;
    let serve = fixture.home.command(["serve"]).unwrap().with_open_files(256, HARD);
    let mut server = serve.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    assert!(server.output().unwrap().contains("the limit of open files is 1024"), "the soft limit is raised");

    let address = server.base_url().trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    for _ in 0..1_500 {
        let opened = timeout(PATIENCE, TcpStream::connect(&address)).await.expect("there is always a place");
        silent.push(opened.unwrap());
    }
    let spent = fixture.spent();
    until("tokens are refreshed", async || fixture.spent() >= spent + 3).await;
    let client = server.client().with_deadline(PATIENCE);
    let given = client.get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(fixture.emulator.accepts(given["access_token"].as_str().unwrap()), "{given}");
    assert_eq!(client.get("/api/v1/proxy/acme/x").await.unwrap().text(), "called");
    let written = server.output().unwrap();
    assert!(!written.contains("Too many open files"), "{written}");
    drop(silent);
}

#[tokio::test]
async fn more_calls_than_descriptors_wait_for_their_turn_and_refreshes_go_on() {
    raise_own_limit();
    let settings = Settings { access_ttl: Duration::from_secs(3), ..Settings::default() };
    let mut fixture = Fixture::with(settings).await;
    let api = TestServer::answering(|_| async {
        sleep(Duration::from_secs(2)).await;
        hyper::Response::new(String::from("called"))
    })
    .await;
    connect_with_api(&mut fixture, &api.base_url()).await;
    let serve = fixture.home.command(["serve"]).unwrap().with_open_files(HARD, HARD);
    let mut server = serve.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let client = server.client().with_deadline(PATIENCE);
    let spent = fixture.spent();
    let answers = join_all((0..700).map(|_| client.get("/api/v1/proxy/acme/x"))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().text(), "called");
    }
    assert!(fixture.spent() > spent, "refreshes go on");
    let written = server.output().unwrap();
    assert!(!written.contains("Too many open files"), "{written}");
}

#[tokio::test]
async fn a_limit_too_low_to_work_with_is_named_at_the_start() {
    let fixture = Fixture::new().await;
    let serve = fixture.home.command(["serve"]).unwrap().with_open_files(128, 128);
    let said = crate::fixture::error_line(&serve.run(PATIENCE).await.unwrap(), 1);
    assert!(said.contains("the limit of open files is 128") && said.contains("LimitNOFILE"), "{said}");
}
