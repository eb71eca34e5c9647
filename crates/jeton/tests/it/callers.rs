//! Any number of tasks ask for a token: how often it is refreshed, how long they wait, and what they get.

use std::time::Duration;

use futures_util::future::join_all;
use jeton::{Condition, TokenError, TokenRequest, Vault};
use jeton_emulator::{Fault, FaultKind};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fixture::{ACME, Fixture, token_file};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tasks_that_need_a_token_cause_one_refresh_and_get_its_result() {
    let fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    fixture.provider.enqueue([Fault::none().slow_after(Duration::from_millis(50))]);
    let mut tasks = JoinSet::new();
    for _ in 0..1_000 {
        let vault = vault.clone();
        tasks.spawn(async move { vault.token(ACME).await.unwrap() });
    }
    let tokens = tasks.join_all().await;
    assert!(tokens.iter().all(|token| token.access == tokens[0].access && token.warning.is_none()));
    assert!(fixture.provider.accepts(tokens[0].access.reveal()));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_vaults_on_one_file_refresh_once_between_them() {
    let fixture = Fixture::new().await;
    let (_folder, path) = token_file();
    let one = fixture.vault(Vault::on_file(&path)).await;
    let two = fixture.vault(Vault::on_file(&path)).await;
    one.connect(ACME, fixture.refresh_token()).await.unwrap();
    for round in 1..=5 {
        let callers = (0..60).map(|index| if index % 2 == 0 { one.token(ACME) } else { two.token(ACME) });
        let tokens: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
        assert!(tokens.iter().all(|token| token.access == tokens[0].access), "round {round}");
        assert_eq!(fixture.requests(), round);
        fixture.clock.advance(Duration::from_mins(2));
    }
    fixture.assert_spent_once();
}

#[tokio::test]
async fn looking_at_the_state_never_waits_for_a_refresh_under_way() {
    let fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    fixture.provider.enqueue([Fault::none().slow_after(Duration::from_millis(2_600))]);
    let look = async {
        fixture.until_accepted(1).await;
        let begun = Instant::now();
        assert_eq!(vault.status(ACME).await.unwrap().condition, Condition::Refreshing);
        assert!(begun.elapsed() < Duration::from_millis(2_200), "{:?}", begun.elapsed());
    };
    let (token, ()) = tokio::join!(vault.token(ACME), look);
    token.unwrap();
}

#[tokio::test]
async fn after_a_failed_attempt_nothing_is_sent_for_five_seconds_and_then_all_is_well() {
    let mut fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    fixture.provider.refuse_connections().await;
    assert!(vault.token(ACME).await.is_err());
    fixture.provider.accept_connections().await.unwrap();
    for _ in 0..20 {
        let cooling = vault.token(ACME).await.unwrap_err();
        assert!(matches!(cooling.why(), TokenError::CoolingDown { .. }), "{cooling}");
        let rest = cooling.retry_after().unwrap();
        // Five seconds, and up to a quarter more, so that connections of one client do not try again together.
        assert!(rest > Duration::from_secs(3) && rest <= Duration::from_millis(6_250), "{rest:?}");
    }
    assert_eq!(fixture.requests(), 0);
    fixture.clock.advance(Duration::from_secs(7));
    assert!(vault.token(ACME).await.is_ok());
    // After a success there is nothing to wait for.
    fixture.clock.advance(Duration::from_mins(2));
    assert!(vault.token(ACME).await.is_ok());
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn the_cool_down_is_as_long_as_the_program_says_and_a_person_who_insists_need_not_wait_for_it() {
    let mut fixture = Fixture::new().await;
    let vault = fixture.connected_on(Vault::in_memory().cooldown(Duration::from_mins(10))).await;
    fixture.provider.refuse_connections().await;
    assert!(vault.token(ACME).await.is_err());
    fixture.provider.accept_connections().await.unwrap();
    fixture.clock.advance(Duration::from_mins(9));
    assert!(matches!(vault.token(ACME).await.unwrap_err().why(), TokenError::CoolingDown { .. }));
    vault.refresh(ACME).await.unwrap();
    assert!(vault.token(ACME).await.is_ok());
}

#[tokio::test]
async fn a_caller_waits_as_long_as_it_says_and_goes_on_with_the_current_token() {
    let fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    let current = vault.token(ACME).await.unwrap();
    fixture.clock.advance(Duration::from_secs(30));
    fixture.provider.enqueue([Fault::none().slow_after(Duration::from_secs(2))]);
    let begun = Instant::now();
    let later = TokenRequest { min_ttl: Some(Duration::from_secs(40)), ..TokenRequest::default() };
    let request = TokenRequest { wait: Some(Duration::from_millis(100)), ..later.clone() };
    let token = vault.token_with(ACME, request).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1_800));
    assert_eq!(token.access, current.access);
    assert!(token.warning.unwrap().contains("took longer than"));
    // The refresh went on: whoever has more patience gets its token.
    assert_ne!(vault.token_with(ACME, later).await.unwrap().access, current.access);
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn a_caller_whose_token_is_dead_gets_a_clear_error_after_the_wait_of_the_program() {
    let fixture = Fixture::new().await;
    let vault = fixture.connected_on(Vault::in_memory().wait(Duration::from_millis(100))).await;
    fixture.provider.enqueue([Fault::none().slow_after(Duration::from_secs(2))]);
    let error = vault.token(ACME).await.unwrap_err();
    assert!(matches!(error.why(), TokenError::WaitTimeout { .. }));
    assert!(error.to_string().contains("`acme` is being refreshed"), "{error}");
}

#[tokio::test]
async fn a_caller_that_is_cancelled_in_mid_refresh_leaves_nothing_behind() {
    let fixture = Fixture::new().await;
    let (_folder, path) = token_file();
    for builder in [Vault::in_memory(), Vault::on_file(&path)] {
        let before = fixture.provider.stats().accepted;
        let vault = fixture.connected_on(builder).await;
        fixture.provider.enqueue([Fault::none().slow_after(Duration::from_millis(300))]);
        let mut callers = JoinSet::new();
        for _ in 0..10 {
            let vault = vault.clone();
            callers.spawn(async move { vault.token(ACME).await });
        }
        fixture.until_accepted(before + 1).await;
        callers.shutdown().await;
        // What they began came to its end, and was stored: the token was spent, once.
        let token = vault.token(ACME).await.unwrap();
        assert!(fixture.provider.accepts(token.access.reveal()));
        assert_eq!(vault.status(ACME).await.unwrap().condition, Condition::Live);
        assert_eq!(fixture.provider.stats().accepted, before + 1);
    }
    fixture.assert_spent_once();
}

#[tokio::test]
async fn closing_waits_for_the_refresh_that_a_cancelled_caller_began() {
    let fixture = Fixture::new().await;
    let (_folder, path) = token_file();
    let vault = fixture.connected_on(Vault::on_file(&path)).await;
    fixture.provider.enqueue([Fault::none().slow_after(Duration::from_millis(300))]);
    tokio::select! {
        token = vault.token(ACME) => panic!("the reply is not there yet: {token:?}"),
        () = fixture.until_accepted(1) => {}
    }
    vault.close().await;
    assert!(matches!(vault.refresh(ACME).await.unwrap_err().why(), TokenError::ShuttingDown));
    let next = fixture.vault(Vault::on_file(&path)).await;
    assert!(fixture.provider.accepts(next.token(ACME).await.unwrap().access.reveal()));
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn one_connection_neither_waits_for_another_nor_fails_with_it() {
    let fixture = Fixture::new().await;
    let builder = Vault::in_memory().connection("slow", fixture.acme()).connection("broken", fixture.acme());
    let vault = fixture.vault(builder).await;
    for name in [ACME, "slow", "broken"] {
        vault.connect(name, fixture.refresh_token()).await.unwrap();
    }
    fixture.provider.enqueue([Fault::new(FaultKind::WrongClient)]);
    assert!(vault.token("broken").await.is_err());
    fixture.provider.enqueue([Fault::none().slow_before(Duration::from_secs(2))]);
    let quick = async {
        while fixture.provider.stats().in_flight == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let begun = Instant::now();
        vault.token(ACME).await.unwrap();
        assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
        let status = vault.status(ACME).await.unwrap();
        assert_eq!((status.condition, status.failures), (Condition::Live, 0));
    };
    let (slow, ()) = tokio::join!(vault.token("slow"), quick);
    slow.unwrap();
}

#[tokio::test]
async fn a_failed_refresh_never_leaves_the_state_refreshing() {
    let fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    for ending in [
        FaultKind::CutBefore,
        FaultKind::Garbage,
        FaultKind::FailBefore { status: 503 },
        FaultKind::WrongClient,
    ] {
        vault.connect(ACME, fixture.refresh_token()).await.unwrap();
        fixture.provider.enqueue([Fault::new(ending)]);
        assert!(vault.token(ACME).await.is_err());
        let condition = vault.status(ACME).await.unwrap().condition;
        assert_ne!(condition, Condition::Refreshing, "{ending:?}");
    }
}

#[tokio::test]
async fn two_hundred_reports_of_one_refused_token_cause_one_refresh() {
    let fixture = Fixture::new().await;
    let vault = fixture.connected().await;
    let refused = vault.token(ACME).await.unwrap();
    assert!(fixture.provider.revoke_access(refused.access.reveal()));
    let answers = join_all((0..200).map(|_| vault.reject(ACME, &refused))).await;
    let tokens: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert!(tokens.iter().all(|token| token.access == tokens[0].access));
    assert!(fixture.provider.accepts(tokens[0].access.reveal()));
    assert_eq!(fixture.requests(), 2);
}

#[tokio::test]
async fn with_nobody_asking_tokens_are_refreshed_ahead_of_time_until_the_vault_closes() {
    let settings = jeton_emulator::Settings { access_ttl: Duration::from_secs(2), ..Default::default() };
    let fixture = Fixture::with(settings).await;
    let vault = fixture.connected().await;
    vault.run().await.unwrap();
    vault.run().await.unwrap();
    fixture.until_accepted(3).await;
    vault.close().await;
    let done = fixture.requests();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fixture.requests(), done);
    fixture.assert_spent_once();
}
