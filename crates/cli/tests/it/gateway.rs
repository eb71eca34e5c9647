//! `jeton serve` as a gateway: callers in three languages, the routes of the gateway that it replaces, and the log.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use jeton_core::keep::provider::{Catalogue, Emulation};
use jeton_emulator::Emulator;
use jeton_testkit::{ConnectionSettings, ServerProcess, TestInstallation, project_root};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fixture::{PATIENCE, run};

/// A jeton with the connection `amocrm`, at an emulated amoCRM, and a service token of `bot1`.
struct Fixture {
    home: TestInstallation,
    emulator: Emulator,
    server: ServerProcess,
    token: String,
}

impl Fixture {
    async fn new() -> Self {
        let provider = Catalogue::builtin().get("amocrm").unwrap().clone();
        let setup = provider.example().unwrap();
        let emulation = Emulation::of(provider.define(setup.clone()).unwrap());
        let settings = jeton_emulator::Settings::for_provider(emulation, Duration::from_mins(5));
        let emulator = Emulator::start(settings).await.unwrap();
        let text = |secret: Option<jeton_core::secret::Secret>| secret.unwrap().reveal().to_owned();
        let client = [
            ("id", setup.client.id.unwrap()),
            ("secret", text(setup.client.secret)),
            ("redirect_uri", setup.client.redirect_uri.unwrap()),
        ];
        let mut home = TestInstallation::new().unwrap();
        let connection = ConnectionSettings {
            provider: "amocrm".to_owned(),
            emulated_at: Some(emulator.base_url()),
            vars: [("domain".to_owned(), "acme.amocrm.ru".to_owned())].into(),
            client: client.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            ..ConnectionSettings::default()
        };
        home.add_connection("amocrm", connection).unwrap();
        let refresh = emulator.mint(1).remove(0);
        let connect = home.command(["connect", "amocrm", "--refresh-token-stdin"]).unwrap();
        connect.stdin(refresh.reveal()).run(PATIENCE).await.unwrap().success().unwrap();
        let create = ["--json", "service-token", "create", "bot1", "--scope", "proxy:amocrm"];
        let created = run(&home, create).await.json().unwrap();
        let serve = home.command(["serve"]).unwrap().env("JETON__CONNECTIONS__AMOCRM__ALIASES", "true");
        let mut server = serve.serve().unwrap();
        server.wait_until_ready(PATIENCE).await.unwrap();
        Self { home, emulator, server, token: created["token"].as_str().unwrap().to_owned() }
    }

    /// What a program says that finds the server and the token in its environment.
    async fn said_by(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("JETON_URL", self.server.base_url())
            .env("JETON_TOKEN", &self.token)
            .env("API_KEY", TestInstallation::API_KEY)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program}: {said}{complained}");
        said.into_owned()
    }

    /// Ends the access token at amoCRM, though jeton believes that it lives.
    async fn end_the_token_early(&self) {
        let token = run(&self.home, ["token", "amocrm"]).await.success().unwrap();
        assert!(self.emulator.revoke_access(token.trim()));
    }
}

/// The blocks of the guide in that language.
fn blocks(language: &str) -> Vec<String> {
    let guide = project_root().join("docs/guides/call-amocrm-through-the-gateway.md");
    let text = fs::read_to_string(guide).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_callers_of_the_guide_call_through_the_gateway_in_three_languages() {
    let fixture = Fixture::new().await;
    let curl = blocks("sh").into_iter().find(|block| block.contains("/api/v1/proxy/")).unwrap();
    let [python] = blocks("python").try_into().unwrap();
    let [node] = blocks("javascript").try_into().unwrap();
    let interpreter = jeton_testkit::python().display().to_string();
    for (program, arguments) in [
        ("sh", vec!["-c", curl.as_str()]),
        (interpreter.as_str(), vec!["-c", python.as_str()]),
        ("node", vec!["--input-type=module", "--eval", node.as_str()]),
    ] {
        let said: Value = serde_json::from_str(&fixture.said_by(program, &arguments).await).unwrap();
        assert!(said.get("code").is_none(), "{program}: {said}");
        // Again with a token that has died early: no caller sees that.
        fixture.end_the_token_early().await;
        fixture.said_by(program, &arguments).await;
    }
    let written = fixture.server.output().unwrap();
    let calls: Vec<_> = written.lines().filter(|line| line.contains("call service=")).collect();
    assert_eq!(calls.len(), 6, "{written}");
    for line in &calls {
        assert!(line.contains(r#"service="bot1" connection="amocrm""#), "{line}");
        assert!(line.contains(r#"path="/api/v4/leads" status=200"#), "{line}");
        assert!(!line.contains("limit"), "{line}");
    }
    assert_eq!(calls.iter().filter(|line| line.contains("retried=true")).count(), 3);
    let access = run(&fixture.home, ["token", "amocrm"]).await.success().unwrap();
    assert!(!written.contains(&fixture.token) && !written.contains(access.trim()));
}

#[tokio::test]
async fn parallel_calls_of_the_old_gateways_route_with_a_dead_token_make_one_refresh() {
    let fixture = Fixture::new().await;
    fixture.end_the_token_early().await;
    let before = fixture.emulator.stats().accepted;
    let script = r#"for i in $(seq 1 20); do
        curl -s -H "X-API-KEY: $API_KEY" "$JETON_URL/api/v1/info/account" & done; wait"#;
    let said = fixture.said_by("sh", &["-c", script]).await;
    let good = r#"{"success":true,"message":"Account info retrieved successfully","data":"#;
    assert_eq!(said.matches(good).count(), 20, "{said}");
    assert_eq!(fixture.emulator.stats().accepted - before, 1);

    let curl = blocks("sh").into_iter().find(|block| block.contains("/api/v1/info/")).unwrap();
    assert!(fixture.said_by("sh", &["-c", &curl]).await.starts_with(good));
    let wrong = r#"curl -s -w ' %{http_code}' -H "X-API-KEY: wrong" "$JETON_URL/api/v1/info/account""#;
    assert_eq!(
        fixture.said_by("sh", &["-c", wrong]).await,
        r#"{"success":false,"error":"Invalid or missing API key","message":"Please provide valid X-API-KEY header"} 401"#
    );
}

#[tokio::test]
async fn a_server_that_stops_lets_calls_end_and_web_sockets_go() {
    let mut fixture = Fixture::new().await;
    fixture
        .said_by("sh", &["-c", &blocks("sh").into_iter().find(|block| block.contains("/proxy/")).unwrap()])
        .await;
    fixture.server.terminate().unwrap();
    let begun = tokio::time::Instant::now();
    assert!(fixture.server.wait(PATIENCE).await.unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "open connections to the API do not delay the end");
}
