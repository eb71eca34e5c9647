//! What the logs say, at the most talkative level.

use std::io;
use std::sync::{Arc, Mutex};

use jeton_server::Limits;
use serde_json::json;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::app::{API_KEY, TestEnv};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_access_log_says_what_was_asked_and_no_secret() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_writer(captured.clone())
        .finish();
    let _listening = tracing::subscriber::set_default(subscriber);

    let env = TestEnv::new().await;
    let server = env.serve(&["acme"], Limits::default()).await;
    let refresh = server.connect(&env, "acme").await;
    let client = server.client();
    let token = client.get_json("/api/v1/connections/acme/token?min_ttl=5").await.unwrap();
    let access = token["access_token"].as_str().unwrap().to_owned();
    let rejected = json!({"access_token": access});
    let newer =
        client.post("/api/v1/connections/acme/token/reject", &rejected).await.unwrap().json().unwrap();
    let wrong = server.anonymous().with_header("x-api-key", "planted-key-77aa");
    assert_eq!(wrong.get("/api/v1/connections").await.unwrap().status, 403);
    assert_eq!(client.get("/planted-path-77aa?q=planted-query-77aa").await.unwrap().status, 404);

    let log = captured.text();
    let line = |route: &str, status: u16, service: &str| {
        log.lines().any(|line| {
            line.contains(" INFO ")
                && line.contains(&format!("route=\"{route}\" status={status} service=\"{service}\" ms="))
                && line.contains("method=\"")
        })
    };
    assert!(line("/api/v1/connections/{name}/token", 200, "api-key"), "{log}");
    assert!(line("/api/v1/connections/{name}/token/reject", 200, "api-key"), "{log}");
    assert!(line("/api/v1/connections", 403, "-"), "{log}");
    assert!(line("-", 404, "-"), "{log}");
    let newer = newer["access_token"].as_str().unwrap();
    for secret in [access.as_str(), newer, refresh.reveal(), API_KEY, "emulated-secret", "77aa"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
