//! A grant that is given up is revoked at its provider, once, and never in the way.

use std::time::Duration;

use jeton_core::keep::connection::Condition;
use jeton_keeper::Revocation;

use crate::fixture::{ACME, Fixture, Options};
use crate::process::{Process, operator};

/// Revokes what it issues. `token_url` is the address that the paths are below.
const REVOKING: &str = own_provider!(
    r#"
[policy]
rotation = "single_use"
[refresh]
url = "${token_url}/token"
form = { grant_type = "refresh_token", refresh_token = "${refresh}" }
[revoke]
url = "${token_url}/revoke"
form = { token = "${refresh}", token_type_hint = "refresh_token" }
"#
);

async fn fixture(below: impl FnOnce(&str) -> String) -> (Fixture, Process) {
    let mut fixture = Fixture::start(Options { provider: Some(REVOKING), ..Options::default() }).await;
    let token_url = fixture.emulator.token_url();
    fixture.options.token_url =
        Some(below(token_url.strip_suffix("/token").expect("the emulator has it at /token")));
    let process = fixture.process().await;
    (fixture, process)
}

#[tokio::test]
async fn a_grant_that_is_given_up_is_revoked_at_its_provider() {
    let (fixture, process) = fixture(str::to_owned).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let token = process.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    assert_eq!(process.vault.disconnect(ACME, &operator()).await.unwrap(), Revocation::Revoked);
    assert!(!fixture.emulator.accepts(token.access.reveal()), "its access tokens ended with it");
    assert_eq!(process.vault.status(ACME).await.unwrap().condition, Condition::Pending);
    // There is nothing left to revoke.
    assert_eq!(process.vault.disconnect(ACME, &operator()).await.unwrap(), Revocation::NotAsked);
}

#[tokio::test]
async fn a_provider_that_does_not_answer_keeps_nobody_from_disconnecting() {
    let (fixture, process) = fixture(|_| "http://127.0.0.1:1".to_owned()).await;
    process.connect(ACME, fixture.living_grant(Duration::from_mins(5))).await;
    let revocation = process.vault.disconnect(ACME, &operator()).await.unwrap();
    assert!(matches!(revocation, Revocation::Failed { .. }), "{revocation:?}");
    assert_eq!(process.vault.status(ACME).await.unwrap().condition, Condition::Pending);
}

#[tokio::test]
async fn a_provider_without_a_step_for_it_is_not_asked() {
    let (fixture, process) = Fixture::usual().await;
    process.connect(ACME, fixture.expired_grant()).await;
    assert_eq!(process.vault.disconnect(ACME, &operator()).await.unwrap(), Revocation::NotAsked);
    assert_eq!(fixture.requests(), 0);
}
