//! Making, rotating and revoking.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jeton_core::access::{RotateRefusal, TokenStatus};
use jeton_core::audit::{AuditAction, AuditFilter};
use jeton_issuer::{NewToken, OrderError};

use crate::scene::{Scene, operator, wanted};

#[tokio::test]
async fn a_rotated_token_counts_until_the_overlap_ends_and_its_successor_goes_on() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let (token, raw) = process.create(wanted("bot1")).await;
    let rotated = process.access.rotate(token.id, Duration::from_mins(10), None, &operator()).await.unwrap();
    let new = rotated.new.raw.unwrap();
    for text in [raw.as_str(), new.reveal()] {
        assert_eq!(process.admits(text).await, Ok("bot1".into()));
    }
    scene.clock.pass(Duration::from_mins(11));
    assert_eq!(process.admits(&raw).await, Err("SERVICE_TOKEN_INVALID"));
    assert_eq!(process.admits(new.reveal()).await, Ok("bot1".into()));
    let ids: Vec<_> = process.access.tokens_of(&token.service).iter().map(|token| token.id).collect();
    assert_eq!(ids, [token.id, rotated.new.token.id]);
}

#[tokio::test]
async fn what_cannot_be_ordered_is_refused_in_words() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let reserved = process.access.create(wanted("api-key"), &operator()).await.unwrap_err();
    assert!(matches!(reserved, OrderError::Reserved) && reserved.problem().status == 409);
    let notes = Some("x".repeat(501));
    let long = process.access.create(NewToken { notes, ..wanted("bot1") }, &operator()).await.unwrap_err();
    assert!(long.to_string().contains("longer than 500 characters"));
    let (token, _) = process.create(wanted("bot1")).await;
    let hash = Some(token.hash);
    let refused = process.access.create(NewToken { hash, ..wanted("bot2") }, &operator()).await.unwrap_err();
    assert!(refused.to_string().contains(&token.id.to_string()));
    process.access.revoke(token.id, &operator()).await.unwrap();
    let over = process.access.rotate(token.id, Duration::ZERO, None, &operator()).await.unwrap_err();
    assert!(
        matches!(over, OrderError::Over { over: RotateRefusal::Ended(TokenStatus::Revoked), .. }),
        "{over}"
    );
    let ghost = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    assert!(matches!(process.access.revoke(ghost, &operator()).await, Err(OrderError::Unknown { .. })));
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_is_carried_out_once() {
    let scene = Scene::new().await;
    let process = scene.process().await;
    let unheard = |orders| process.line.unheard.store(orders, Ordering::SeqCst);
    unheard(2);
    let (token, raw) = process.create(wanted("bot1")).await;
    unheard(2);
    let rotated = process.access.rotate(token.id, Duration::from_mins(1), None, &operator()).await.unwrap();
    let new = rotated.new.raw.unwrap();
    for text in [raw.as_str(), new.reveal()] {
        assert_eq!(process.admits(text).await, Ok("bot1".into()));
    }
    assert_eq!(process.access.tokens(None, 10).await.unwrap().len(), 2);
    let rows = process.access.audit(AuditFilter::default(), 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| row.action).collect::<Vec<_>>(),
        [AuditAction::TokenRotated, AuditAction::TokenCreated]
    );
    assert!(rows.iter().all(|row| row.actor == operator()), "{rows:?}");
    unheard(3);
    let lost = process.access.revoke(token.id, &operator()).await.unwrap_err();
    assert_eq!(lost.problem().code, "STORE_UNAVAILABLE");
}
