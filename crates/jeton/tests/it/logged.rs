//! What the log tells of a refresh, and at which level.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jeton::{TokenRequest, Vault};
use jeton_emulator::Fault;
use tracing_subscriber::fmt::MakeWriter;

use crate::scene::{ACME, Scene};

/// Everything that is logged on this thread.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Whether a line of that level says so of the connection.
    fn says(&self, level: &str, words: &str) -> bool {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let said = text.lines().any(|line| {
            line.contains(&format!(" {level} ")) && line.contains(words) && line.contains("connection=acme")
        });
        assert!(said, "no {level} with `{words}` in\n{text}");
        said
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

// The runtimes below have one thread, whose log it is.

#[tokio::test]
async fn a_refresh_that_is_under_way_already_is_told_at_debug() {
    let (log, _guard) = Log::begin();
    let scene = Scene::new().await;
    let vault = scene.connected().await;
    let (one, two) = tokio::join!(vault.token(ACME), vault.token(ACME));
    assert_eq!(one.unwrap().access, two.unwrap().access);
    assert!(log.says("DEBUG", "a refresh is under way already"));
}

#[tokio::test]
async fn an_attempt_too_soon_after_a_failure_is_told_at_debug_and_the_failure_at_warn() {
    let (log, _guard) = Log::begin();
    let mut scene = Scene::new().await;
    let vault = scene.connected().await;
    scene.provider.refuse_connections().await.unwrap();
    vault.token(ACME).await.unwrap_err();
    assert!(log.says("WARN", "refresh failed"));
    vault.token(ACME).await.unwrap_err();
    assert!(log.says("DEBUG", "the last attempt failed too recently"));
}

#[tokio::test]
async fn a_wait_that_took_too_long_and_going_on_with_the_current_token_are_told_at_warn() {
    let (log, _guard) = Log::begin();
    let scene = Scene::new().await;
    let vault = scene.connected().await;
    vault.token(ACME).await.unwrap();
    scene.clock.pass(Duration::from_secs(30));
    scene.provider.enqueue([Fault::none().slow_after(Duration::from_millis(500))]);
    let request =
        TokenRequest { min_ttl: Some(Duration::from_secs(40)), wait: Some(Duration::from_millis(50)) };
    vault.token_with(ACME, request).await.unwrap();
    assert!(log.says("WARN", "waiting for the refresh took too long"));
    assert!(log.says("WARN", "going on with the current token"));
}

#[tokio::test]
async fn a_grant_that_is_dead_is_told_at_error() {
    let (log, _guard) = Log::begin();
    let scene = Scene::new().await;
    let vault = scene.vault(Vault::in_memory()).await;
    let token = scene.refresh_token();
    assert!(scene.provider.revoke_grant(token.reveal()));
    vault.connect(ACME, token).await.unwrap();
    let error = vault.token(ACME).await.unwrap_err();
    assert!(error.to_string().contains("`Vault::connect` takes the new refresh token"), "{error}");
    assert!(log.says("ERROR", "re-authorization required"));
}
