//! Replies that could not be read, once the provider file is mended.

use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::keep::connection::Condition;
use jeton_keeper::TokenError;

use crate::fixture::{ACME, Fixture, Options};

/// Looks for the access token where this provider does not put it.
const MISTAKEN: &str = own_provider!(
    one_time_tokens,
    r#"
take = { access = "data.access_token" }
"#
);

#[tokio::test]
async fn a_kept_reply_is_read_again_when_the_provider_file_is_mended_and_nothing_is_sent() {
    let (mut fixture, mistaken) =
        Fixture::with(Options { provider: Some(MISTAKEN), ..Options::default() }).await;
    mistaken.connect(ACME, fixture.expired_grant()).await;
    let unread = mistaken.token(ACME).await;
    assert!(matches!(unread, Err(TokenError::Interrupted { .. })), "{unread:?}");
    assert!(mistaken.token(ACME).await.is_err(), "the same file reads the same reply no better");

    let file = MISTAKEN.replace("data.access_token", "access_token");
    fixture.options.provider = Some(file.leak());
    let mended = fixture.process().await;
    let token = mended.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    assert_eq!(fixture.requests(), 1, "the token was spent once");
    let attempts = mended.attempts(ACME).await;
    assert_eq!(attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [AttemptStatus::Success]);
    assert_eq!(mended.vault.status(ACME).await.unwrap().condition, Condition::Live);

    mended.force(ACME).await.expect("the refresh token of that reply is the living one");
}

#[tokio::test]
async fn a_2xx_that_the_file_does_not_expect_is_kept_and_read_when_the_file_is_mended() {
    let file = MISTAKEN.replace(r#"take = { access = "data.access_token" }"#, "ok = { status = 201 }");
    let options = Options { provider: Some(file.clone().leak()), ..Options::default() };
    let (mut fixture, mistaken) = Fixture::with(options).await;
    mistaken.connect(ACME, fixture.expired_grant()).await;
    let unread = mistaken.token(ACME).await;
    assert!(matches!(unread, Err(TokenError::Interrupted { .. })), "{unread:?}");

    fixture.options.provider = Some(file.replace("status = 201", "status = \"2xx\"").leak());
    let mended = fixture.process().await;
    let token = mended.token(ACME).await.unwrap();
    assert!(fixture.emulator.accepts(token.access.reveal()));
    assert_eq!(fixture.requests(), 1, "the token was spent once");
}
