//! In place of the amoCRM gateway of old: its environment, its `tokens.json`, its diagnostics.

use std::time::Duration;

use jeton_core::keep::provider::{Catalogue, Emulation};
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ServerProcess, TestInstallation};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fixture::{PATIENCE, run};

/// The emulated account, and the environment that the old gateway was started with.
struct Old {
    emulator: Emulator,
    home: TestInstallation,
    environment: Vec<(&'static str, String)>,
}

impl Old {
    async fn new() -> Self {
        let provider = Catalogue::builtin().get("amocrm").unwrap().clone();
        let setup = provider.example().unwrap();
        let emulation = Emulation::of(provider.define(setup.clone()).unwrap());
        let emulator =
            Emulator::start(Settings::for_provider(emulation, Duration::from_mins(1))).await.unwrap();
        let home = TestInstallation::new().unwrap();
        let environment = vec![
            ("AMO_DOMAIN", setup.vars["domain"].reveal().to_owned()),
            ("AMO_CLIENT_ID", setup.client.id.unwrap()),
            ("AMO_CLIENT_SECRET", setup.client.secret.unwrap().reveal().to_owned()),
            ("AMO_REDIRECT_URI", setup.client.redirect_uri.unwrap()),
            ("TOKEN_STORAGE_PATH", home.path().join("tokens.json").display().to_string()),
            ("JETON__CONNECTIONS__AMOCRM__EMULATED_AT", emulator.base_url()),
        ];
        Self { emulator, home, environment }
    }

    fn leave_tokens(&self, refresh: &str) {
        let tokens =
            json!({ "access_token": "a.b.c", "refresh_token": refresh, "expires_at": 1_700_000_000 });
        std::fs::write(self.home.path().join("tokens.json"), tokens.to_string()).unwrap();
    }

    async fn serve(&self) -> ServerProcess {
        let serve = self.home.command(["serve"]).unwrap();
        let serve = self.environment.iter().fold(serve, |serve, (name, value)| serve.env(name, value));
        let mut server = serve.serve().unwrap();
        server.wait_until_ready(PATIENCE).await.unwrap();
        server
    }
}

#[tokio::test]
async fn its_environment_and_its_tokens_are_enough_to_go_on() {
    let old = Old::new().await;
    old.leave_tokens(old.emulator.mint(1)[0].reveal());
    let mut server = old.serve().await;
    let client = server.client();
    let given = client.get_json("/api/v1/connections/amocrm/token").await.unwrap();
    assert!(old.emulator.accepts(given["access_token"].as_str().unwrap()));
    let found = client.get_json("/api/v1/diagnostics/token-status").await.unwrap();
    assert_eq!(found["data"]["token_validation"]["expired"], false);
    assert!(found["data"]["storage_path"].as_str().is_some_and(|path| !path.is_empty()), "{found}");
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();

    // The file is as old now as the one-time token in it, and is not taken over again.
    let server = old.serve().await;
    server.client().get_json("/api/v1/connections/amocrm/token").await.unwrap();
    let stats = old.emulator.stats();
    assert_eq!((stats.accepted, stats.invalid_grant, stats.reuse_kills), (1, 0, 0), "{stats:?}");
    assert!(!run(&old.home, ["logs", "--json"]).await.stdout.contains("emr_"));
}

#[tokio::test]
async fn tokens_that_cannot_be_taken_over_are_said_and_keep_nobody_waiting() {
    let old = Old::new().await;
    std::fs::write(old.home.path().join("tokens.json"), "{\"refresh_token\": 5}").unwrap();
    let server = old.serve().await;
    let missing = server.client().get("/api/v1/connections/amocrm/token").await.unwrap();
    assert_eq!(missing.json().unwrap()["code"], "NOT_CONNECTED");
    let said = server.output().unwrap();
    assert!(said.contains("`refresh_token` is not a text") && said.contains("were not imported"), "{said}");

    old.leave_tokens("too-short");
    let said = old.serve().await.output().unwrap();
    assert!(said.contains("were not imported") && !said.contains("too-short"), "{said}");
}

#[tokio::test]
async fn a_file_env_is_enough_to_go_on_and_what_it_lacks_is_named() {
    let mut old = Old::new().await;
    old.leave_tokens(old.emulator.mint(1)[0].reveal());
    let key = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let lines: Vec<String> =
        old.environment.drain(..).map(|(name, value)| format!("{name}={value}")).collect();
    let file = |lines: &[String]| {
        let text = format!("# The old gateway\n\nAPI_KEY=\"{key}\"\n{}\n", lines.join("\n"));
        std::fs::write(old.home.path().join(".env"), text).unwrap();
    };
    file(&lines.iter().filter(|line| !line.starts_with("AMO_CLIENT_SECRET")).cloned().collect::<Vec<_>>());
    let refused = run(&old.home, ["config", "check"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains(".env:5: AMO_CLIENT_ID: ") && said.contains("set AMO_CLIENT_SECRET"), "{said}");

    file(&lines);
    let serve = old.home.command(["serve"]).unwrap().without_env("API_KEY");
    let mut server = serve.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let client = jeton_testkit::Client::new(&server.base_url()).with_header("x-api-key", key);
    client.get_json("/api/v1/connections/amocrm/token").await.unwrap();
    let said = server.output().unwrap();
    assert!(said.contains(".env holds AMO_CLIENT_SECRET and can be read by others"), "{said}");
    // The environment counts more.
    let shown = old.home.command(["config", "show"]).unwrap().env("AMO_DOMAIN", "other.amocrm.ru");
    let shown = shown.run(PATIENCE).await.unwrap().success().unwrap();
    assert!(shown.contains("other.amocrm.ru") && shown.contains(".env:5: AMO_CLIENT_ID"), "{shown}");
    assert!(!shown.contains(key), "{shown}");
}

/// What the commands print, run as they were typed at the old gateway, with its address in place of `localhost:9095`.
async fn typed(server: &ServerProcess, commands: &str) -> String {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &commands.replace("http://localhost:9095", &server.base_url())])
        .env("API_KEY", TestInstallation::API_KEY)
        .kill_on_drop(true);
    let output = timeout(PATIENCE, shell.output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{commands}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said.trim_end().to_owned()
}

/// Its form, with what is wrong by field; its answers to browsers; and what the log says of them.
async fn form_and_preflights(server: &ServerProcess) {
    let form = r#"{"source":"site","form_name":"Callback","lead":{"name":"A lead"},"contact":{"phone":"+998901234567"}}"#;
    let unsorted = |body: &str| {
        format!(
            "curl -s -H \"X-API-KEY: $API_KEY\" -H 'Content-Type: application/json' -d '{body}' \
             http://localhost:9095/api/v1/leads/unsorted/"
        )
    };
    let created = typed(server, &format!("{} | jq -r .message", unsorted(form))).await;
    assert_eq!(created, "Unsorted lead created successfully");
    let lacking = typed(server, &unsorted("{}")).await;
    assert!(
        lacking.starts_with(r#"{"success":false,"error":"Validation failed","details":{"contact":"#),
        "{lacking}"
    );
    for path in ["info/account", "diagnostics/token-status", "leads/unsorted", "unknown"] {
        let preflight = format!("curl -s -i -X OPTIONS http://localhost:9095/api/v1/{path}");
        let answer = typed(server, &preflight).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("access-control-allow-origin: *"),
            "{answer}"
        );
    }
    let missing = "curl -s -o /dev/null -I http://localhost:9095/api/v1/info/account";
    typed(server, missing).await;
    let log = server.output().unwrap();
    for (asked, upstream) in [
        (r#"method="POST" path="/api/v1/leads/unsorted" status=200"#, "/api/v4/leads/unsorted/forms"),
        (r#"method="POST" path="/api/v1/leads/unsorted" status=422"#, "/api/v4/leads/unsorted/forms"),
        (r#"method="OPTIONS" path="/api/v1/info/account" status=200"#, "-"),
        (r#"method="HEAD" path="/api/v1/info/account" status=401"#, "-"),
    ] {
        let upstream = format!("upstream={upstream:?}");
        let is_it = |line: &str| line.contains(asked) && line.contains(&upstream);
        assert!(log.lines().any(is_it), "{asked}: {log}");
    }
}

#[tokio::test]
async fn its_commands_do_what_they_did() {
    let mut old = Old::new().await;
    let raw = "my-secure-bot1-token-2024";
    let hashed =
        std::process::Command::new("sh").args(["-c", &format!("echo -n {raw} | sha256sum")]).output();
    old.environment.push(("SERVICE_TOKEN_BOT1_HASH", String::from_utf8(hashed.unwrap().stdout).unwrap()));
    old.environment.push(("SERVICE_TOKEN_BOT1_SCOPES", "proxy:amocrm".to_owned()));

    // A token that lives, whose `expires_at` is edited to the past: the call that follows refreshes it.
    old.leave_tokens(old.emulator.mint(1)[0].reveal());
    let edit = "jq '.expires_at = 1' tokens.json > edited && mv edited tokens.json";
    let edited =
        std::process::Command::new("sh").args(["-c", edit]).current_dir(old.home.path()).status().unwrap();
    assert!(edited.success());
    let server = old.serve().await;
    let account = r#"curl -s -H "X-API-KEY: $API_KEY" http://localhost:9095/api/v1/info/account"#;
    let parallel = format!("for i in $(seq 1 10); do {account} & done; wait");
    let said = typed(&server, &parallel).await;
    let good = r#"{"success":true,"message":"Account info retrieved successfully","data":{"#;
    assert_eq!(said.matches(good).count(), 10, "{said}");
    assert_eq!(old.emulator.stats().accepted, 1, "one refresh for all of them");

    // Its diagnostics, by curl and jq.
    let at = r#"curl -s -H "X-API-KEY: $API_KEY" http://localhost:9095/api/v1/diagnostics"#;
    let validation = typed(&server, &format!("{at}/token-status | jq -c .data.token_validation")).await;
    let validation: serde_json::Value = serde_json::from_str(&validation).unwrap();
    assert_eq!(
        (&validation["expired"], &validation["valid"]),
        (&json!(false), &json!(false)),
        "{validation}"
    );
    let preview = typed(&server, &format!("{at}/token-status | jq -r .data.access_token_preview")).await;
    assert_eq!(preview, "...", "what is no JWT shows nothing of itself");
    let domain = typed(&server, &format!("{at}/config | jq -r .data.domain")).await;
    assert_eq!(domain, old.environment[0].1);
    assert_eq!(typed(&server, "curl -s http://localhost:9095/health | jq -r .data.status").await, "ok");
    let status = typed(&server, "curl -s http://localhost:9095/oauth/status").await;
    assert_eq!(status, r#"{"has_token":true,"status":"authorized"}"#);
    for path in ["diagnostics/config", "info/account/", "proxy/amocrm/api/v4/leads", "leads/unknown"] {
        let coded =
            format!("curl -s -w ' %{{http_code}}' -H 'X-API-KEY: wrong' http://localhost:9095/api/v1/{path}");
        let refused = typed(&server, &coded).await;
        assert!(
            refused.starts_with(r#"{"success":false,"error":"Invalid or missing API key""#),
            "{path}: {refused}"
        );
        assert!(refused.ends_with(" 401"), "{path}: {refused}");
    }

    form_and_preflights(&server).await;

    // A bot, by the token whose hash the environment holds.
    let post = format!(
        "curl -s -X POST -H 'X-SERVICE-TOKEN: {raw}' -H 'Content-Type: application/json' -d '[{{\"name\":\"a lead\"}}]' \
         http://localhost:9095/api/v1/proxy/amocrm/api/v4/leads"
    );
    assert_eq!(typed(&server, &post).await, r#"{"ok":true}"#);
    let refused = post.replace(raw, "another");
    let refused = typed(&server, &format!("{refused} | jq -c .error")).await;
    assert_eq!(
        refused,
        r#"{"code":"SERVICE_TOKEN_INVALID","detail":"Invalid service token.","message":"Invalid service token."}"#
    );
    assert_eq!(old.emulator.stats().accepted, 1);
}
