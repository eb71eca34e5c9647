//! No token and no client secret in anything that is written or shown.

use std::fmt::Write as _;
use std::time::Duration;

use jeton_core::keep::ports::OperatorCommand;
use jeton_core::keep::provider::{DurationText, PolicyOverrides};
use jeton_core::secret::Secret;
use jeton_emulator::{Fault, FaultKind};
use jeton_keeper::{Grant, TokenRequest};
use jeton_testkit::{CapturedLog, grep_tree};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::fixture::{ACME, Fixture, Options};
use crate::process::Process;

const CLIENT_SECRET: &str = "planted-client-secret-5f2c";
const PLANTED_ACCESS: &str = "planted-access-token-91bd";

/// Notes what anyone might print of an answer.
fn note<T: std::fmt::Debug, E: std::fmt::Debug + std::fmt::Display>(
    shown: &mut String,
    answer: &Result<T, E>,
) {
    writeln!(shown, "{answer:?}").expect("text can be written to text");
    if let Err(error) = answer {
        writeln!(shown, "{error} {error:#?}").expect("text can be written to text");
    }
}

async fn live_through_everything(fixture: &Fixture, process: &Process, shown: &mut String) {
    let endings = [
        FaultKind::None,
        FaultKind::ErrorIn200,
        FaultKind::RateLimited { retry_after_secs: 1 },
        FaultKind::FailBefore { status: 503 },
        FaultKind::Redirect,
        FaultKind::WrongClient,
        FaultKind::Garbage,
        FaultKind::NoAccessToken,
        FaultKind::Huge { size_bytes: 64 * 1024 },
        FaultKind::LoseReply,
        FaultKind::CutBefore,
    ];
    for ending in endings {
        let grant = fixture.living_grant(Duration::from_secs(20));
        let grant = Grant { access: Some(PLANTED_ACCESS.into()), ..grant };
        writeln!(shown, "{grant:?}").expect("text can be written to text");
        note(shown, &process.try_connect(ACME, grant.clone()).await);
        fixture.emulator.enqueue([Fault::new(ending)]);
        let token = process.token(ACME).await;
        note(shown, &token);
        fixture.clock.advance(Duration::from_secs(5));
        note(shown, &process.token_for(ACME, Duration::from_secs(19)).await);
        // Once more, while it cools down.
        note(shown, &process.token_for(ACME, Duration::from_secs(19)).await);
        note(shown, &process.force(ACME).await);
        if let Ok(token) = &token {
            note(shown, &process.reject(ACME, token).await);
        }
        note(shown, &process.vault.status(ACME).await);
        note(shown, &process.vault.statuses(None, 100).await);
        writeln!(shown, "{:?}", process.attempts(ACME).await).expect("text can be written to text");
        writeln!(shown, "{:?}", process.row(ACME).await).expect("text can be written to text");
        if let Err(error) = process.token(ACME).await {
            writeln!(shown, "{error} {error:?}").expect("text can be written to text");
        }
        note(shown, &process.try_connect(ACME, grant).await);
        fixture.clock.advance(Duration::from_mins(2));
        note(shown, &process.vault.token(ACME, TokenRequest::default()).await);
        fixture.clock.advance(Duration::from_mins(2));
    }
    let bad = Grant { refresh: Some("bad\ntoken-planted".into()), ..Grant::default() };
    note(shown, &process.try_connect(ACME, bad).await);
    note(shown, &process.administer(ACME, OperatorCommand::Pause).await);
    note(shown, &process.administer(ACME, OperatorCommand::Disconnect).await);
}

#[tokio::test]
async fn no_token_and_no_client_secret_is_ever_shown() {
    let log = CapturedLog::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish()
        .init();
    let emulator =
        jeton_emulator::Settings { client_secret: Secret::new(CLIENT_SECRET), ..Default::default() };
    let policy = PolicyOverrides {
        unknown_hold: Some(DurationText(Duration::from_secs(10))),
        confirm_dead: Some(DurationText(Duration::from_secs(10))),
        ..PolicyOverrides::default()
    };
    let (fixture, process) = Fixture::with(Options { emulator, policy, ..Options::default() }).await;
    let mut shown = String::new();
    process.vault.start().await.unwrap();
    live_through_everything(&fixture, &process, &mut shown).await;
    writeln!(shown, "{:?} {:?}", process.vault, fixture.definition()).unwrap();
    process.vault.drain().await;

    let logged = log.text();
    for line in [
        "refresh started",
        "refreshed",
        "refresh failed",
        "CRITICAL: refresh token revoked, manual re-authorization required",
        "too recently",
        "going on with the current token",
        "outcome unknown",
    ] {
        assert!(logged.contains(line), "nothing was logged of this: {line}");
    }
    assert!(logged.contains("TRACE") || logged.contains("DEBUG"), "all levels were heard");
    // Every token of the provider begins with one of these.
    for secret in ["emr_", "ema_", CLIENT_SECRET, PLANTED_ACCESS, "token-planted"] {
        for (what, text) in [("log", &logged), ("answers", &shown)] {
            if let Some(at) = text.find(secret) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                panic!("{secret} stands in the {what}: {}", text[line..].lines().next().unwrap());
            }
        }
    }
    assert!(fixture.emulator.stats().rotations > 5);
    for secret in [CLIENT_SECRET, PLANTED_ACCESS, "ema_", "emr_"] {
        // Four characters are found by chance in sealed bytes; what follows them is never by chance.
        let found =
            if secret.len() < 8 { Vec::new() } else { grep_tree(fixture.home.path(), secret).unwrap() };
        assert_eq!(found, [], "{secret}");
    }
}

#[tokio::test]
async fn nothing_on_disk_holds_a_token_in_clear() {
    let (fixture, process) = Fixture::usual().await;
    let grant = fixture.expired_grant();
    process.connect(ACME, grant.clone()).await;
    let mut secrets = vec![grant.refresh.unwrap(), grant.access.unwrap()];
    for _ in 0..3 {
        process.force(ACME).await.unwrap();
        secrets.push(process.token(ACME).await.unwrap().access);
        secrets.push(fixture.held_refresh(&process, ACME).await.unwrap());
    }
    assert_eq!(
        fixture.held_access(&process, ACME).await.as_ref(),
        Some(&process.token(ACME).await.unwrap().access)
    );
    for secret in secrets {
        assert_eq!(grep_tree(fixture.home.path(), secret.reveal()).unwrap(), []);
    }
}
