//! Codes whose exchange brought a reply that could not be read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jeton_core::audit::{Actor, AuditAction, AuditFilter};
use jeton_core::keep::attempt::{Attempt, AttemptStatus};
use jeton_core::keep::consent::Progress;
use jeton_core::keep::ports::AttemptFilter;
use jeton_core::secret::Secret;
use jeton_keeper::{ConsentError, Consented, PastedAnswer, TerminalConsent};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, eventually};
use crate::process::{Process, operator};
use crate::shared_refresh::{SAME, stubborn};
use crate::spill::filled_slots;

/// A provider of consents, with a place for what it takes from the reply.
pub(crate) fn provider(take: &str) -> &'static str {
    let file = own_provider!(
        r#"
[authorize]
url = "${token_url}"
query = { response_type = "code", redirect_uri = "${client.redirect_uri}", state = "${state}", code_challenge = "${code_challenge}" }
[exchange]
url = "${token_url}"
form = { grant_type = "authorization_code", code = "${code}", code_verifier = "${code_verifier}" }
TAKE
[refresh]
url = "${token_url}"
form = { grant_type = "refresh_token", refresh_token = "${refresh}" }
[policy]
rotation = "single_use"
"#
    );
    file.replace("TAKE", take).leak()
}

struct ExchangeFixture {
    fixture: Fixture,
    process: Process,
    requests: Arc<AtomicUsize>,
    _server: JoinSet<()>,
}

impl ExchangeFixture {
    async fn new(take: &str) -> Self {
        let (token_url, requests, server) = stubborn().await;
        let options =
            Options { provider: Some(provider(take)), token_url: Some(token_url), ..Options::default() };
        let (fixture, process) = Fixture::with(options).await;
        Self { fixture, process, requests, _server: server }
    }

    async fn ask(&self) -> TerminalConsent {
        self.process.vault.start_terminal_consent(ACME, &operator()).await.expect("consents can be asked for")
    }

    async fn answer(&self, consent: &TerminalConsent) -> Result<Consented, ConsentError> {
        let mut params: BTreeMap<String, String> = consent
            .url
            .query_pairs()
            .filter(|(key, _)| key == "state")
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        params.insert("code".to_owned(), "a-code".to_owned());
        self.process.vault.finish_terminal_consent(consent.id, PastedAnswer::Address(params)).await
    }

    async fn last_attempt(&self) -> Attempt {
        let attempts = self.process.vault.attempts(&AttemptFilter::default(), 10).await;
        attempts.expect("the store answers").pop().expect("a code was exchanged")
    }

    async fn assert_kept(&self) {
        let attempt = self.last_attempt().await;
        assert_eq!(attempt.status, AttemptStatus::Interrupted);
        let kept = self.process.store.find_kept_reply(attempt.id).await.expect("the store answers");
        let kept = kept.expect("the reply is kept");
        assert!(!kept.windows(SAME.len()).any(|window| window == SAME.as_bytes()), "in clear");
    }

    /// The same installation with another provider file, started.
    async fn restarted(&mut self, take: &str) {
        self.process.vault.drain().await;
        self.fixture.options.provider = Some(provider(take));
        self.process = self.fixture.process().await;
        self.process.vault.start().await.expect("the store answers");
    }

    async fn until_connected(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.process.vault.status(ACME).await.expect("the store answers").generation.0 == 0 {
            assert!(Instant::now() < deadline, "the kept reply was not read");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn assert_told(answer: Result<Consented, ConsentError>) {
    let words = answer.expect_err("it cannot be read").to_string();
    assert!(words.contains("kept sealed") && words.contains("the provider `own` is mended"), "{words}");
    assert!(!words.contains(SAME), "{words}");
}

#[tokio::test]
async fn a_reply_to_an_exchange_that_cannot_be_read_is_kept_and_read_when_the_provider_file_is_mended() {
    for (mistake, mended) in [
        ("take = { access = \"data.access_token\" }", "take = { access = \"access_token\" }"),
        (
            "take = { refresh = { path = \"next\", absent = \"error\" } }",
            "take = { refresh = { path = \"refresh_token\", absent = \"error\" } }",
        ),
    ] {
        let mut exchange = ExchangeFixture::new(mistake).await;
        let consent = exchange.ask().await;
        assert_told(exchange.answer(&consent).await);
        exchange.assert_kept().await;
        let kept = exchange.last_attempt().await.id;

        exchange.restarted(mended).await;
        exchange.until_connected().await;
        assert_eq!(exchange.process.token(ACME).await.unwrap().access.reveal(), SAME);
        assert_eq!(exchange.requests.load(Ordering::SeqCst), 1, "the code was exchanged once");
        let progress = exchange.process.vault.consent(consent.id).await.unwrap().unwrap().progress;
        assert!(matches!(progress, Progress::Done { .. }), "{progress:?}");
        assert_eq!(exchange.last_attempt().await.status, AttemptStatus::Success);
        assert!(exchange.process.store.find_kept_reply(kept).await.unwrap().is_none());
        let rows = exchange.process.store.list_audit_rows(AuditFilter::default(), 10).await.unwrap();
        let connected =
            rows.iter().find(|row| row.action == AuditAction::Connected).expect("it is on record");
        assert!(matches!(connected.actor, Actor::Node(_)), "nobody but the process did it: {connected:?}");
        let held = exchange.fixture.held_refresh(&exchange.process, ACME).await;
        assert_eq!(held.as_ref().map(Secret::reveal), Some("a-refresh-token-0-that-is-long-enough"));
        exchange.process.vault.drain().await;
    }
}

#[tokio::test]
async fn a_reply_to_an_exchange_that_cannot_be_read_is_spilled_while_the_store_does_not_take_it() {
    let mut exchange = ExchangeFixture::new("take = { access = \"data.access_token\" }").await;
    let consent = exchange.ask().await;
    let watch = async {
        eventually("the code is sent", || exchange.requests.load(Ordering::SeqCst) > 0).await;
        exchange.process.probe.set_out_of_reach(true);
        eventually("the reply is spilled", || !filled_slots(&exchange.fixture).is_empty()).await;
        let (_, bytes) = &filled_slots(&exchange.fixture)[0];
        assert!(!bytes.windows(SAME.len()).any(|window| window == SAME.as_bytes()), "in clear");
        exchange.process.probe.set_out_of_reach(false);
    };
    let (told, ()) = tokio::join!(exchange.answer(&consent), watch);
    assert_told(told);
    assert_eq!(filled_slots(&exchange.fixture), []);
    exchange.assert_kept().await;
    exchange.restarted("").await;
    exchange.until_connected().await;
    exchange.process.vault.drain().await;
}
