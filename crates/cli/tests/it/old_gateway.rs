//! In place of the amoCRM gateway of old: its environment, its `tokens.json`, its diagnostics.

use std::time::Duration;

use jeton_core::keep::provider::{Catalogue, Emulation};
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{Running, TempHome};
use serde_json::json;

use crate::house::{PATIENCE, run};

/// The emulated account, and the environment that the old gateway was started with.
struct Old {
    emulator: Emulator,
    home: TempHome,
    environment: Vec<(&'static str, String)>,
}

impl Old {
    async fn new() -> Self {
        let provider = Catalogue::builtin().get("amocrm").unwrap().clone();
        let setup = provider.example().unwrap();
        let emulation = Emulation::of(provider.define(setup.clone()).unwrap());
        let emulator = Emulator::start(Settings::playing(emulation, Duration::from_mins(1))).await.unwrap();
        let home = TempHome::new().unwrap();
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

    async fn serve(&self) -> Running {
        let serve = self.home.command(["serve"]).unwrap();
        let serve = self.environment.iter().fold(serve, |serve, (name, value)| serve.env(name, value));
        let mut server = serve.serve().unwrap();
        server.ready(PATIENCE).await.unwrap();
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
    let said = server.written().unwrap();
    assert!(said.contains("`refresh_token` is not a text") && said.contains("were not taken over"), "{said}");

    old.leave_tokens("too-short");
    let said = old.serve().await.written().unwrap();
    assert!(said.contains("were not taken over") && !said.contains("too-short"), "{said}");
}
