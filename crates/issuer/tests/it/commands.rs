//! Creating, rotating and revoking.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::access::{RotateRefusal, TokenStatus};
use jeton_core::audit::{AuditAction, AuditFilter};
use jeton_issuer::{NewToken, TokenCommandError};

use crate::fixture::{Fixture, new_token, operator};

#[tokio::test]
async fn a_rotated_token_is_accepted_until_the_overlap_ends_and_its_successor_beyond() {
    let (fixture, process) = Fixture::with_process().await;
    let (token, raw) = process.create(new_token("bot1")).await;
    let rotated = process.access.rotate(token.id, Duration::from_mins(10), None, &operator()).await.unwrap();
    let new = rotated.new.raw.unwrap();
    for text in [raw.as_str(), new.reveal()] {
        assert_eq!(process.service_of(text).await, Ok("bot1".into()));
    }
    fixture.clock.advance(Duration::from_mins(11));
    assert_eq!(process.service_of(&raw).await, Err("SERVICE_TOKEN_INVALID"));
    assert_eq!(process.service_of(new.reveal()).await, Ok("bot1".into()));
    let ids: Vec<_> = process.access.list_of(&token.service).iter().map(|token| token.id).collect();
    assert_eq!(ids, [token.id, rotated.new.token.id]);
}

#[tokio::test]
async fn a_command_that_cannot_be_carried_out_is_refused_with_the_reason() {
    let (_fixture, process) = Fixture::with_process().await;
    let reserved = process.access.create(new_token("api-key"), &operator()).await.unwrap_err();
    assert!(matches!(reserved, TokenCommandError::ReservedName) && reserved.problem().status == 409);
    let notes = Some("x".repeat(501));
    let long = process.access.create(NewToken { notes, ..new_token("bot1") }, &operator()).await.unwrap_err();
    assert!(long.to_string().contains("longer than 500 characters"));
    let (token, _) = process.create(new_token("bot1")).await;
    let hash = Some(token.hash);
    let refused =
        process.access.create(NewToken { hash, ..new_token("bot2") }, &operator()).await.unwrap_err();
    assert!(refused.to_string().contains(&token.id.to_string()));
    process.access.revoke(token.id, &operator()).await.unwrap();
    let over = process.access.rotate(token.id, Duration::ZERO, None, &operator()).await.unwrap_err();
    assert!(
        matches!(
            over,
            TokenCommandError::NotRotatable { refusal: RotateRefusal::Ended(TokenStatus::Revoked), .. }
        ),
        "{over}"
    );
    let ghost = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    assert!(matches!(
        process.access.revoke(ghost, &operator()).await,
        Err(TokenCommandError::Unknown { .. })
    ));
}

#[tokio::test]
async fn a_command_whose_answer_was_lost_is_carried_out_once() {
    let (_fixture, process) = Fixture::with_process().await;
    let lost_answers = |count| process.store.lost_answers.store(count, Ordering::SeqCst);
    lost_answers(2);
    let (token, raw) = process.create(new_token("bot1")).await;
    lost_answers(2);
    let rotated = process.access.rotate(token.id, Duration::from_mins(1), None, &operator()).await.unwrap();
    let new = rotated.new.raw.unwrap();
    for text in [raw.as_str(), new.reveal()] {
        assert_eq!(process.service_of(text).await, Ok("bot1".into()));
    }
    assert_eq!(process.access.list(None, 10).await.unwrap().len(), 2);
    let rows = process.access.list_audit_rows(AuditFilter::default(), 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.action).collect::<Vec<_>>(),
        [AuditAction::TokenRotated, AuditAction::TokenCreated]
    );
    assert!(rows.iter().all(|row| row.actor == operator()), "{rows:?}");
    lost_answers(3);
    let lost = process.access.revoke(token.id, &operator()).await.unwrap_err();
    assert_eq!(lost.problem().code, "STORE_UNAVAILABLE");
}
