//! What the port of service tokens promises.

use std::time::Duration;

use futures_util::future::try_join_all;
use jeton_core::access::{
    Create, CreateAnswer, Revoke, Rotate, RotateAnswer, RotateRefusal, ServiceToken, ServiceTokenId,
    TokenHash, TokenRevision, TokenStatus,
};
use jeton_core::audit::{Actor, AuditFilter};
use jeton_core::id::OperationId;
use jeton_core::keep::ports::StoreError;

use super::fixture::{ServerFixture, TestResult};

impl ServerFixture {
    async fn created(&self, number: u8) -> Result<ServiceToken, StoreError> {
        self.create(order(number)).await
    }

    async fn create(&self, create: Create) -> Result<ServiceToken, StoreError> {
        match self.store.create_token(create).await? {
            CreateAnswer::Created(token) => Ok(*token),
            taken @ CreateAnswer::Taken(_) => panic!("{taken:?}"),
        }
    }

    async fn rotated(&self, rotate: Rotate) -> Result<(ServiceToken, ServiceToken), StoreError> {
        match self.store.rotate_token(rotate).await? {
            RotateAnswer::Rotated { old, new } => Ok((*old, *new)),
            other => panic!("{other:?}"),
        }
    }

    async fn revoke(&self, number: u8) -> Result<Option<ServiceToken>, StoreError> {
        self.store.revoke_token(revocation(number)).await
    }

    async fn all(&self) -> Result<Vec<ServiceToken>, StoreError> {
        self.store.list_tokens(None, 1_000).await
    }
}

fn id(number: u8) -> ServiceTokenId {
    ServiceTokenId::from_bytes([number; 16])
}

fn hash(number: u8) -> TokenHash {
    TokenHash::of(&[number])
}

fn order(number: u8) -> Create {
    Create {
        id: id(number),
        service: "bot1".parse().expect("it is a name"),
        hash: hash(number),
        scopes: "token:acme proxy:shop-*:GET,HEAD:/api/** read".parse().expect("they are scopes"),
        notes: Some("the bot of the шоп".into()),
        life: Some(Duration::from_hours(24)),
        by: Actor::CommandLine("root@web-1".into()),
    }
}

fn rotation(of: u8, new: u8) -> Rotate {
    let (overlap, by) = (Duration::from_mins(10), Actor::Service("operator".parse().expect("it is a name")));
    Rotate { of: id(of), id: id(new), hash: hash(new), overlap, life: None, by }
}

/// Under an id of its own.
fn revocation(number: u8) -> Revoke {
    let operation = OperationId::from_bytes([number + 200; 16]);
    Revoke { id: id(number), operation, by: Actor::CommandLine("root@web-2".into()) }
}

/// What comes back is what was given, with the instants of the store.
pub async fn a_token_is_made_once_and_found_as_it_was_made(fixture: &ServerFixture) -> TestResult {
    let made = fixture.created(1).await?;
    let expected = ServiceToken { revision: made.revision, ..ServiceToken::new(order(1), fixture.now()) };
    assert_eq!(made, expected);
    fixture.clock.step(Duration::from_mins(1));
    assert_eq!(fixture.created(1).await?, made, "sent again");
    let bare = Create { scopes: "".parse().expect("no scope at all"), notes: None, life: None, ..order(2) };
    let bare = fixture.create(bare).await?;
    assert_eq!((bare.notes.as_ref(), bare.expires_at, bare.scopes.is_empty()), (None, None, true));
    assert_eq!(fixture.all().await?, [made, bare]);
    Ok(())
}

/// Revoked or not: a hash that was revoked must not come to life under another name.
pub async fn a_hash_belongs_to_one_row_for_good(fixture: &ServerFixture) -> TestResult {
    fixture.created(1).await?;
    let same = || Create { id: id(2), service: "bot2".parse().expect("it is a name"), ..order(1) };
    assert_eq!(fixture.store.create_token(same()).await?, CreateAnswer::Taken(id(1)));
    fixture.revoke(1).await?;
    assert_eq!(fixture.store.create_token(same()).await?, CreateAnswer::Taken(id(1)));
    assert_eq!(fixture.all().await?.len(), 1);
    Ok(())
}

/// In the overlap both count.
pub async fn a_rotation_gives_a_successor_and_ends_the_old_token_after_the_overlap(
    fixture: &ServerFixture,
) -> TestResult {
    let before = fixture.created(1).await?;
    fixture.clock.step(Duration::from_mins(5));
    let (old, new) = fixture.rotated(rotation(1, 2)).await?;
    let (ruled_old, ruled_new) = before.rotated(&rotation(1, 2), fixture.now()).expect("it lives");
    assert_eq!(old, ServiceToken { revision: old.revision, ..ruled_old });
    assert_eq!(new, ServiceToken { revision: new.revision, ..ruled_new });
    assert_eq!(fixture.all().await?, [old.clone(), new.clone()]);
    let end = fixture.now() + Duration::from_mins(10);
    assert_eq!(old.status_at(end - Duration::from_micros(1)), TokenStatus::Live);
    assert_eq!((old.status_at(end), new.status_at(end)), (TokenStatus::Expired, TokenStatus::Live));
    Ok(())
}

/// Else nobody would have the token that counts.
pub async fn a_rotation_that_is_sent_again_gets_the_first_answer(fixture: &ServerFixture) -> TestResult {
    fixture.created(1).await?;
    let first = fixture.rotated(rotation(1, 2)).await?;
    fixture.clock.step(Duration::from_hours(1));
    assert_eq!(fixture.rotated(rotation(1, 2)).await?, first);
    assert_eq!(fixture.all().await?.len(), 2);
    Ok(())
}

/// And nothing is changed.
pub async fn what_is_missing_ended_or_rotated_is_not_rotated(fixture: &ServerFixture) -> TestResult {
    assert_eq!(fixture.store.rotate_token(rotation(9, 2)).await?, RotateAnswer::Unknown);
    fixture.created(1).await?;
    fixture.rotated(rotation(1, 2)).await?;
    let again = fixture.store.rotate_token(rotation(1, 3)).await?;
    assert_eq!(again, RotateAnswer::Refused(RotateRefusal::Rotated(id(2))));
    fixture.revoke(2).await?;
    let revoked = fixture.store.rotate_token(rotation(2, 3)).await?;
    assert_eq!(revoked, RotateAnswer::Refused(RotateRefusal::Ended(TokenStatus::Revoked)));
    fixture.created(4).await?;
    fixture.clock.step(Duration::from_hours(24));
    let expired = fixture.store.rotate_token(rotation(4, 5)).await?;
    assert_eq!(expired, RotateAnswer::Refused(RotateRefusal::Ended(TokenStatus::Expired)));
    assert_eq!(fixture.all().await?.len(), 3);
    Ok(())
}

/// The instant of the first order is the one in the audit log.
pub async fn a_revocation_stays_as_it_was_first_given(fixture: &ServerFixture) -> TestResult {
    assert_eq!(fixture.revoke(1).await?, None);
    fixture.created(1).await?;
    let revoked = fixture.revoke(1).await?.expect("it is there");
    assert_eq!(revoked.revoked_at, Some(fixture.now()));
    fixture.clock.step(Duration::from_mins(1));
    assert_eq!(fixture.revoke(1).await?, Some(revoked.clone()));
    assert_eq!(fixture.all().await?, [revoked]);
    Ok(())
}

/// Ids sort by the instant of their making; the last one leads on.
pub async fn tokens_are_listed_in_the_order_of_their_making_page_by_page(
    fixture: &ServerFixture,
) -> TestResult {
    for number in [3, 1, 5, 2, 4] {
        fixture.created(number).await?;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.store.list_tokens(after, 2).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.into_iter().map(|token| token.id));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5].map(id));
    Ok(())
}

/// Whoever reads what is above the last revision seen misses nothing.
pub async fn every_change_gets_the_next_revision_and_nothing_else_does(
    fixture: &ServerFixture,
) -> TestResult {
    let changes = async |seen: u64| -> Result<Vec<(ServiceTokenId, u64)>, StoreError> {
        let rows = fixture.store.tokens_changed_since(TokenRevision(seen), 10).await?;
        Ok(rows.into_iter().map(|row| (row.id, row.revision.0)).collect())
    };
    fixture.created(1).await?;
    fixture.created(2).await?;
    assert_eq!(changes(0).await?, [(id(1), 1), (id(2), 2)]);
    fixture.rotated(rotation(1, 3)).await?;
    assert_eq!(changes(2).await?, [(id(3), 3), (id(1), 4)]);
    fixture.revoke(2).await?;
    assert_eq!(changes(4).await?, [(id(2), 5)]);
    fixture.revoke(2).await?;
    fixture.rotated(rotation(1, 3)).await?;
    fixture.created(1).await?;
    fixture.store.create_token(Create { id: id(9), ..order(1) }).await?;
    assert_eq!(changes(5).await?, []);
    assert_eq!(fixture.store.tokens_changed_since(TokenRevision(0), 2).await?.len(), 2);
    Ok(())
}

/// A reader that goes on from the last revision it saw, while many write in two processes.
pub async fn changes_of_many_at_once_appear_in_order_and_none_is_missed(
    fixture: &ServerFixture,
) -> TestResult {
    let other_process = fixture.another_process().await;
    let writing = try_join_all((0..100_u8).map(|number| {
        let store = if number % 2 == 0 { &fixture.store } else { &other_process };
        async move { store.create_token(order(number)).await }
    }));
    let reading = async {
        let (mut seen, mut ids) = (TokenRevision(0), Vec::new());
        while ids.len() < 100 {
            let rows = fixture.store.tokens_changed_since(seen, 7).await?;
            for row in rows {
                assert!(row.revision > seen);
                seen = row.revision;
                ids.push(row.id);
            }
            tokio::task::yield_now().await;
        }
        Ok::<_, StoreError>(ids)
    };
    let reading =
        async { tokio::time::timeout(Duration::from_mins(1), reading).await.expect("none is missed") };
    let (_, mut ids) = futures_util::future::try_join(writing, reading).await?;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    Ok(())
}

/// Uses are many; what they cost must not be.
pub async fn a_use_is_written_at_most_once_a_minute_and_is_no_change(fixture: &ServerFixture) -> TestResult {
    let made = fixture.created(1).await?;
    fixture.created(2).await?;
    let at = |seconds| fixture.now() + Duration::from_secs(seconds);
    for (seconds, kept) in [(5, 5), (64, 5), (65, 65), (3, 65)] {
        fixture.store.touch_tokens(vec![(id(1), at(seconds)), (id(9), at(seconds))]).await?;
        let token = fixture.all().await?.remove(0);
        assert_eq!(token, ServiceToken { last_used_at: Some(at(kept)), ..made.clone() }, "used at {seconds}");
    }
    assert!(fixture.store.tokens_changed_since(TokenRevision(2), 10).await?.is_empty());
    assert_eq!(fixture.all().await?[1].last_used_at, None);
    let (old, new) = fixture.rotated(rotation(1, 3)).await?;
    assert_eq!((old.last_used_at, new.last_used_at), (Some(at(65)), None));
    Ok(())
}

/// Also where an order is sent again; what changed nothing leaves no row.
pub async fn who_ordered_what_is_in_the_audit_log_once_and_never_the_hash(
    fixture: &ServerFixture,
) -> TestResult {
    let made = fixture.created(1).await?;
    fixture.created(1).await?;
    fixture.store.create_token(Create { id: id(9), ..order(1) }).await?;
    fixture.clock.step(Duration::from_mins(1));
    let (old, new) = fixture.rotated(rotation(1, 2)).await?;
    fixture.rotated(rotation(1, 2)).await?;
    fixture.store.rotate_token(rotation(1, 3)).await?;
    fixture.clock.step(Duration::from_mins(1));
    fixture.revoke(1).await?;
    let again = Revoke { operation: OperationId::from_bytes([250; 16]), ..revocation(1) };
    fixture.store.revoke_token(again).await?;
    fixture.revoke(7).await?;
    let expected = [
        revocation(1).to_audit_row(&old, fixture.now()),
        rotation(1, 2).to_audit_row(&old, &new),
        order(1).to_audit_row(&made),
    ];
    let rows = fixture.store.list_audit_rows(AuditFilter::default(), 10).await?;
    assert_eq!(rows, expected);
    assert_eq!(rows[1].details["replaces"], id(1).to_string());
    let told = serde_json::to_string(&rows).expect("rows are JSON");
    assert!(!told.contains(&made.hash.to_hex()) && !told.contains(&new.hash.to_hex()), "{told}");

    let bot2 = Create { service: "bot2".parse().expect("it is a name"), ..order(4) };
    fixture.create(bot2).await?;
    let about = |subject: &str| AuditFilter { before: None, subject: Some(subject.to_owned()) };
    assert_eq!(fixture.store.list_audit_rows(about("bot2"), 10).await?.len(), 1);
    assert_eq!(fixture.store.list_audit_rows(about("bot3"), 10).await?, []);
    let page = fixture.store.list_audit_rows(about("bot1"), 2).await?;
    assert_eq!(page, expected[..2]);
    let rest = AuditFilter { before: Some(page[1].id), ..about("bot1") };
    assert_eq!(fixture.store.list_audit_rows(rest, 2).await?, expected[2..]);
    Ok(())
}

/// By another process too.
pub async fn what_is_written_is_there_after_opening_again(fixture: &ServerFixture) -> TestResult {
    fixture.created(1).await?;
    fixture.rotated(rotation(1, 2)).await?;
    fixture.revoke(1).await?;
    let all = fixture.all().await?;
    assert_eq!(fixture.another_process().await.list_tokens(None, 10).await?, all);
    Ok(())
}
