//! What happens between a plan, its claim and its first byte: queues, slow paths, and what others do meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::id::OperationId;
use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::keep::ports::{OperatorCommand, StoreError};
use jeton_core::time::Clock as _;
use jeton_emulator::Fault;
use jeton_keeper::{Settings, TokenError};
use jeton_store::sqlite::faults::SqliteHooks;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::fixture::{ACME, Fixture, Options, graceful, names, short_settings};
use crate::process::{Process, operator};
use crate::recovery::assert_interrupted;
use jeton_testkit::OffsetClock;

/// Lets the clock pass, or real time, right after the next COMMIT, before anybody hears of it.
#[derive(Debug)]
struct AfterCommit {
    armed: AtomicBool,
    committed: Notify,
    clock: Arc<OffsetClock>,
    pass: Duration,
    stall: Duration,
}

impl AfterCommit {
    fn of(fixture: &Fixture, pass: Duration, stall: Duration) -> Arc<Self> {
        let (armed, committed) = (AtomicBool::new(false), Notify::new());
        Arc::new(Self { armed, committed, clock: Arc::clone(&fixture.clock), pass, stall })
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

impl SqliteHooks for AfterCommit {
    fn after_commit(&self) -> Result<(), StoreError> {
        if self.armed.swap(false, Ordering::SeqCst) {
            self.clock.advance(self.pass);
            self.committed.notify_one();
            std::thread::sleep(self.stall);
        }
        Ok(())
    }
}

async fn until_interrupted(process: &Process, name: &str) {
    while process.attempts(name).await.last().is_none_or(|it| it.status != AttemptStatus::Interrupted) {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_resend_that_waited_for_its_turn_until_the_grace_was_over_is_planned_anew() {
    let settings = Settings { provider_concurrency: 1, ..short_settings() };
    let policy = graceful(Duration::from_secs(5));
    let (fixture, process) =
        Fixture::with(Options { settings, policy, names: names(2), ..Options::default() }).await;
    process.connect("c0", fixture.expired_grant()).await;
    process.connect("c1", fixture.expired_grant()).await;
    let slow = Fault::none().slow_before(Duration::from_millis(1_500));
    fixture.emulator.enqueue([Fault::lose_reply(), slow]);
    let others = async {
        until_interrupted(&process, "c0").await;
        // The resend comes after half a second; by then this one has the only permit.
        let other = process.token("c1");
        let grace_ends = async {
            sleep(Duration::from_secs(1)).await;
            fixture.clock.advance(Duration::from_secs(6));
        };
        tokio::join!(other, grace_ends).0
    };
    let (first, other) = tokio::join!(process.token("c0"), others);
    assert_interrupted(&first);
    assert!(other.is_ok());
    assert_eq!(fixture.requests(), 2, "one for each, and no resend");
    assert_eq!(process.attempts("c0").await.len(), 1, "nothing was claimed for it");
    assert_eq!(fixture.emulator.stats().reuse_kills, 0);
}

#[tokio::test]
async fn a_resend_whose_grace_ends_before_its_first_byte_is_not_sent() {
    let policy = graceful(Duration::from_secs(3));
    let fixture = Fixture::start(Options { policy, ..Options::default() }).await;
    let hooks = AfterCommit::of(&fixture, Duration::from_secs(3), Duration::ZERO);
    let process = fixture.process_with(short_settings(), Arc::clone(&hooks) as _).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::lose_reply()]);
    let arm = async {
        until_interrupted(&process, ACME).await;
        hooks.arm();
    };
    let (answer, ()) = tokio::join!(process.token(ACME), arm);
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!((fixture.requests(), fixture.emulator.stats().reuse_kills), (1, 0));
    let attempts = process.attempts(ACME).await;
    assert_eq!(attempts[1].code.as_deref(), Some("not_sent"));
    assert_eq!(process.row(ACME).await.open_attempt, Some(attempts[0].id), "it is as unknown as before");
}

/// Another process does `act` while the answer to a claim is on its way.
async fn meanwhile(fixture: &Fixture, act: Option<OperatorCommand>) -> (Process, Result<u64, TokenError>) {
    let hooks = AfterCommit::of(fixture, Duration::ZERO, Duration::from_millis(400));
    let process = fixture.process_with(short_settings(), Arc::clone(&hooks) as _).await;
    process.connect(ACME, fixture.expired_grant()).await;
    let other = fixture.process().await;
    hooks.arm();
    let before = process.probe.calls();
    let interfere = async {
        hooks.committed.notified().await;
        if let Some(act) = act {
            let operation = OperationId::generate(fixture.clock.now(), &SystemEntropy);
            let name = ACME.parse().expect("a usable name");
            other.store.administer(&name, act, operation, &operator()).await.expect("the store answers");
        }
    };
    let (answer, ()) = tokio::join!(process.token(ACME), interfere);
    let calls = process.probe.calls() - before;
    (process, answer.map(|_| calls))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_held_up_is_not_sent_for_a_connection_that_was_paused_or_given_up_meanwhile() {
    for act in [OperatorCommand::Pause, OperatorCommand::Disconnect] {
        let fixture = Fixture::start(Options::default()).await;
        let (process, answer) = meanwhile(&fixture, Some(act)).await;
        assert!(answer.is_err(), "{answer:?}");
        assert_eq!(fixture.requests(), 0, "{act:?}");
        assert_eq!(process.last_attempt(ACME).await.code.as_deref(), Some("not_sent"), "{act:?}");
        let row = process.row(ACME).await;
        assert_eq!((row.open_attempt, row.lease), (None, None), "{act:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_request_that_was_held_up_costs_one_more_read_of_the_store() {
    let fixture = Fixture::start(Options::default()).await;
    let (process, held_up) = meanwhile(&fixture, None).await;
    fixture.clock.advance(Duration::from_secs(61));
    let before = process.probe.calls();
    process.token(ACME).await.unwrap();
    let undisturbed = process.probe.calls() - before;
    assert_eq!(held_up.unwrap(), undisturbed + 1);
    fixture.assert_spent_once();
}

#[tokio::test]
async fn a_reply_is_not_waited_for_longer_than_the_lease_runs() {
    let settings = Settings {
        lease: Duration::from_secs(1),
        redeem_timeout: Duration::from_secs(9),
        ..short_settings()
    };
    let (fixture, process) = Fixture::with(Options { settings, ..Options::default() }).await;
    process.connect(ACME, fixture.expired_grant()).await;
    fixture.emulator.enqueue([Fault::none().slow_before(Duration::from_secs(9))]);
    let started = Instant::now();
    assert_interrupted(&process.token(ACME).await);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let attempt = process.last_attempt(ACME).await;
    assert_eq!((attempt.status, attempt.code.as_deref()), (AttemptStatus::Interrupted, Some("no_reply")));
}
