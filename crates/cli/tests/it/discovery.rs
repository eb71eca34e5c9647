//! Endpoints from an issuer's metadata: at a server that others wrote, and of documents that are odd or change.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use hyper::Response;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ConnectionSettings, OidcRig, OidcSettings, TestApi, TestInstallation};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::fixture::{PATIENCE, error_line, run};

const REFRESH: [&str; 5] = ["refresh", "--connection", "acme", "--force", "--sync"];

/// An issuer whose document a test writes, beside an emulated token endpoint; and an installation that knows the issuer alone.
struct Fixture {
    home: TestInstallation,
    emulator: Emulator,
    issuer: TestApi,
    document: Arc<Mutex<Value>>,
}

impl Fixture {
    async fn new() -> Self {
        let emulator = Emulator::start(Settings::default()).await.unwrap();
        let document: Arc<Mutex<Value>> = Arc::default();
        let shown = Arc::clone(&document);
        let issuer = TestApi::answering(move |request| {
            let found = request.uri.path() == "/.well-known/openid-configuration/t1"
                || request.uri.path() == "/t1/.well-known/openid-configuration";
            let document = shown.lock().clone();
            let status = if found && !document.is_null() { 200 } else { 404 };
            Response::builder().status(status).body(document.to_string()).unwrap()
        })
        .await;
        let mut home = TestInstallation::new().unwrap();
        home.add_connection("acme", connection(&issuer_of(&issuer))).unwrap();
        let fixture = Self { home, emulator, issuer, document };
        fixture.name_token_endpoint(&fixture.emulator.token_url());
        let token = fixture.emulator.mint(1).remove(0);
        let connect = fixture.home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
        connect.stdin(&format!("{}\n", token.reveal())).run(PATIENCE).await.unwrap().success().unwrap();
        fixture
    }

    fn name_token_endpoint(&self, url: &str) {
        *self.document.lock() = json!({ "issuer": issuer_of(&self.issuer), "token_endpoint": url });
    }

    /// The file that keeps the document.
    fn kept(&self) -> PathBuf {
        let mut files = fs::read_dir(self.home.data_dir().join("issuers")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "nothing lies beside it");
        file
    }

    /// Makes the kept document older than metadata may be.
    fn age(&self) {
        let mut kept: Value = serde_json::from_slice(&fs::read(self.kept()).unwrap()).unwrap();
        kept["read_at"] = json!("2026-01-01T00:00:00Z");
        fs::write(self.kept(), kept.to_string()).unwrap();
    }

    async fn refreshes(&self) {
        run(&self.home, REFRESH).await.success().unwrap();
    }
}

fn issuer_of(issuer: &TestApi) -> String {
    format!("{}/t1", issuer.base_url())
}

fn connection(issuer: &str) -> ConnectionSettings {
    let mut connection =
        ConnectionSettings::oauth2("", "http://127.0.0.1:1/api", "emulated", "emulated-secret");
    connection.vars.remove("token_url");
    connection.vars.insert("issuer".to_owned(), issuer.to_owned());
    connection
}

#[tokio::test]
async fn the_issuer_of_a_server_that_others_wrote_is_enough() {
    let rig = OidcRig::start(OidcSettings::default()).await.unwrap();
    let mut home = TestInstallation::new().unwrap();
    let mut connection = rig.connection();
    connection.vars.remove("token_url");
    connection.vars.insert("issuer".to_owned(), rig.base_url());
    home.add_connection("acme", connection).unwrap();
    let token = rig.mint(1).await.unwrap().remove(0);
    let connect = home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    connect.stdin(&format!("{}\n", token.reveal())).run(PATIENCE).await.unwrap().success().unwrap();
    run(&home, REFRESH).await.success().unwrap();
    assert_eq!(rig.stats().await.unwrap().refresh_ok, 1);
    let report = run(&home, ["doctor"]).await.stdout;
    assert!(report.contains(&format!("tokens come from {}/token (`acme`)", rig.base_url())), "{report}");
}

#[tokio::test]
async fn what_was_read_is_kept_and_a_start_needs_no_issuer() {
    let fixture = Fixture::new().await;
    fixture.refreshes().await;
    let asked: Vec<_> = fixture.issuer.received().iter().map(|call| call.uri.path().to_owned()).collect();
    let expected = ["/.well-known/oauth-authorization-server/t1", "/t1/.well-known/openid-configuration"];
    assert_eq!(asked, expected, "first as RFC 8414 says, then as OpenID does");
    *fixture.document.lock() = Value::Null;
    fixture.refreshes().await;
    assert_eq!(fixture.issuer.received().len(), 2, "it is young enough");
    fixture.age();
    fixture.refreshes().await;
    assert_eq!(fixture.issuer.received().len(), 4, "it was asked again, and what is known counts");
    fs::write(fixture.kept(), "{").unwrap();
    let failed = run(&fixture.home, REFRESH).await;
    assert!(failed.stdout.contains("no metadata of the issuer was found"), "{failed:?}");
    fixture.name_token_endpoint(&fixture.emulator.token_url());
    fixture.refreshes().await;
    assert_eq!(fixture.emulator.stats().accepted, 4);
}

#[tokio::test]
async fn a_token_endpoint_that_moves_to_another_host_is_not_used_until_a_person_accepts() {
    let fixture = Fixture::new().await;
    fixture.refreshes().await;
    let thief = TestApi::answering(|_| Response::new(String::new())).await;
    fixture.name_token_endpoint(&format!("{}/token", thief.base_url()));
    fixture.age();
    fixture.refreshes().await;
    assert_eq!(fixture.emulator.stats().accepted, 2, "the endpoint that was read before");
    let report = run(&fixture.home, ["doctor"]).await;
    assert_eq!(report.code, Some(1), "{report:?}");
    let moved =
        format!("`token_endpoint` from {} to {}/token", fixture.emulator.token_url(), thief.base_url());
    let cure = format!("remove {}", fixture.kept().display());
    assert!(report.stdout.contains(&moved) && report.stdout.contains(&cure), "{report:?}");
    assert_eq!(thief.received().len(), 0, "no secret went there");

    fs::remove_file(fixture.kept()).unwrap();
    let other = Emulator::start(Settings::default()).await.unwrap();
    fixture.name_token_endpoint(&other.token_url());
    let failed = run(&fixture.home, REFRESH).await;
    assert!(failed.stdout.contains("invalid_grant"), "the new host was asked: {failed:?}");
    assert_eq!(other.records().len(), 1);
}

#[tokio::test]
async fn an_issuer_that_gives_nothing_usable_is_told_with_each_url_and_what_came() {
    let fixture = Fixture::new().await;
    for (document, problem) in [
        (Value::Null, "openid-configuration: HTTP 404"),
        (json!([]), "openid-configuration: HTTP 200 with no JSON object"),
        (json!({ "token_endpoint": "https://sso.example.com/token" }), "it names no `issuer`"),
        (json!({ "issuer": "https://evil.example" }), "it is that of the issuer \"https://evil.example\""),
        (json!({ "issuer": issuer_of(&fixture.issuer) }), "it names no `token_endpoint`"),
        (
            json!({ "issuer": issuer_of(&fixture.issuer), "token_endpoint": "http://sso.example.com/token" }),
            "plain http is for this machine alone",
        ),
    ] {
        *fixture.document.lock() = document;
        let failed = run(&fixture.home, REFRESH).await;
        assert_eq!(failed.code, Some(1), "{failed:?}");
        assert!(failed.stdout.contains(problem), "{problem}: {failed:?}");
        assert!(failed.stdout.contains("oauth-authorization-server/t1: HTTP 404"), "{failed:?}");
        let report = run(&fixture.home, ["doctor"]).await;
        assert!(report.code == Some(1) && report.stdout.contains(problem), "{report:?}");
    }
    assert_eq!(fixture.emulator.records().len(), 0, "nothing was spent");
    // Neither an issuer nor the URL.
    let mut home = TestInstallation::new().unwrap();
    let mut neither = connection("x");
    neither.vars.remove("issuer");
    home.add_connection("acme", neither).unwrap();
    let sentence = error_line(&run(&home, ["status"]).await, 1);
    assert!(sentence.contains("or set vars.issuer, whose metadata has it"), "{sentence}");
}
