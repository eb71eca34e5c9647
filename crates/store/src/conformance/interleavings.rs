//! Any order of anything: several actors over one connection, against a model that is plainly right, and against
//! three promises that hold whatever the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jeton_core::id::{AttemptId, Generation};
use jeton_core::keep::attempt::{Act, AttemptStatus, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{Connection, GrantState};
use jeton_core::keep::ports::{
    AttemptFilter, Commit, CommitAnswer, Fail, FailureEffect, OperatorCommand, StoreError,
};
use jeton_core::keep::rejection::Rejection;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::fixture::{Fixture, LEASE, access_print, failure, name, node, operator};
use super::model::Model;

/// One thing that somebody does. Numbers choose among what is there, so that every sequence means something.
#[derive(Clone, Debug)]
enum Step {
    Connect { old: Option<usize>, stale: bool },
    Claim { process: bool, stale: bool, recovering: bool, act: Act, insist: bool, trigger: Trigger },
    ClaimAgain(usize),
    Commit { won: usize, process: bool },
    CommitAgain(usize),
    Fail { won: usize, effect: FailureEffect },
    Reject { number: usize },
    Order(OperatorCommand),
    Pass { secs: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let effect = prop_oneof![
        4 => Just(FailureEffect::Retry),
        5 => Just(FailureEffect::Unknown),
        1 => Just(FailureEffect::State(GrantState::Dead)),
        1 => Just(FailureEffect::State(GrantState::Suspended)),
    ];
    let order = prop_oneof![1 => Just(OperatorCommand::Pause), 6 => Just(OperatorCommand::Resume), 1 => Just(OperatorCommand::Disconnect)];
    let act = prop_oneof![6 => Just(Act::Redeem), 1 => Just(Act::Orphan), 1 => Just(Act::Acquire)];
    let trigger = prop_oneof![Just(Trigger::Automatic), Just(Trigger::Rejected)];
    let recovering = prop::bool::weighted(0.6);
    let claim = (any::<bool>(), prop::bool::weighted(0.05), recovering, act, any::<bool>(), trigger);
    prop_oneof![
        1 => (prop::option::weighted(0.2, any::<usize>()), prop::bool::weighted(0.1))
            .prop_map(|(old, stale)| Step::Connect { old, stale }),
        8 => claim.prop_map(|(process, stale, recovering, act, insist, trigger)| {
            Step::Claim { process, stale, recovering, act, insist, trigger }
        }),
        1 => any::<usize>().prop_map(Step::ClaimAgain),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(won, process)| Step::Commit { won, process }),
        1 => any::<usize>().prop_map(Step::CommitAgain),
        4 => (any::<usize>(), effect).prop_map(|(won, effect)| Step::Fail { won, effect }),
        1 => any::<usize>().prop_map(|number| Step::Reject { number }),
        1 => order.prop_map(Step::Order),
        4 => prop_oneof![1 => Just(1_u64), 2 => Just(5), 4 => Just(45), 1 => Just(4000)].prop_map(|secs| Step::Pass { secs }),
    ]
}

/// Runs random sequences, each on a store of its own.
///
/// # Panics
/// When a store and the model differ, or a promise is broken, with the shortest sequence that shows it.
pub fn random_interleavings_follow_the_rules<F: Future<Output = Fixture>>(open: impl Fn() -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let config = Config { cases: 160, failure_persistence: None, ..Config::default() };
    let played = TestRunner::new(config).run(&vec(any_step(), 1..100), |steps| {
        let told = runtime.block_on(async { Interleaving::on(open().await).await.all(steps).await });
        told.map_err(|error| TestCaseError::fail(error.to_string()))
    });
    if let Err(failure) = played {
        panic!("{failure}");
    }
}

/// A claim that won, and the refresh token that the row held then.
#[derive(Clone, Debug)]
struct WonClaim {
    claim: Claim,
    held: Option<Fingerprint>,
}

struct Interleaving {
    fixture: Fixture,
    other_process: std::sync::Arc<dyn crate::Store>,
    model: Model,
    won: Vec<WonClaim>,
    committed: Vec<Commit>,
    /// The number of the last token set that the provider gave.
    newest: u8,
    promises: Promises,
}

impl Interleaving {
    async fn on(fixture: Fixture) -> Self {
        let other_process = fixture.another_process().await;
        Self {
            fixture,
            other_process,
            model: Model::default(),
            won: Vec::new(),
            committed: Vec::new(),
            newest: 0,
            promises: Promises::default(),
        }
    }

    async fn all(mut self, steps: Vec<Step>) -> Result<(), StoreError> {
        let begin = Step::Connect { old: None, stale: false };
        for step in std::iter::once(begin).chain(steps) {
            self.step(step).await?;
            let stored = self.fixture.store.find(&name("acme")).await?;
            if let (Some(stored), Some(row)) = (&stored, &mut self.model.row) {
                // How changes are numbered is tested other_process.
                row.revision = stored.revision;
            }
            assert_eq!(stored, self.model.row);
            self.promises.generation_does_not_go_back(stored.as_ref());
            let logged = self.fixture.store.list_attempts(&AttemptFilter::default(), 1000).await?;
            let logged: BTreeMap<_, _> = logged.iter().map(|attempt| (attempt.id, attempt.status)).collect();
            let noted = self.model.attempts.iter().map(|(id, noted)| (*id, noted.status)).collect();
            assert_eq!(logged, noted);
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), StoreError> {
        let now = self.fixture.now();
        match step {
            Step::Connect { old, stale } => self.connect(old, stale).await?,
            Step::Claim { .. } => self.claim(step).await?,
            Step::ClaimAgain(which) => {
                if let Some(WonClaim { claim, .. }) = pick(&self.won, which) {
                    let answer = self.fixture.store.claim(claim.clone()).await?;
                    assert_eq!(answer, self.model.claim(&claim, now));
                }
            }
            Step::Commit { won, process } => self.commit(won, process).await?,
            Step::CommitAgain(which) => {
                if let Some(commit) = pick(&self.committed, which) {
                    assert_eq!(self.fixture.store.commit(commit.clone()).await?, self.model.commit(&commit));
                }
            }
            Step::Fail { won, effect } => {
                if let Some(WonClaim { claim, .. }) = pick(&self.won, won) {
                    let fail = failure(&claim, effect, "broken");
                    self.fixture.store.fail(fail.clone()).await?;
                    self.model.fail(&fail, now);
                    self.promises.outcome_is_known(&fail);
                }
            }
            Step::Reject { number } => {
                let number = u8::try_from(number % (usize::from(self.newest) + 1)).unwrap_or(0);
                let rejection = Rejection {
                    connection: name("acme"),
                    fingerprint: access_print(number),
                    helped_before: false,
                };
                let answer = self.fixture.store.reject(rejection.clone()).await?;
                assert_eq!(answer, self.model.reject(&rejection, now));
            }
            Step::Order(act) => {
                let operation = self.fixture.operation_id();
                for _ in 0..2 {
                    let there =
                        self.fixture.store.administer(&name("acme"), act, operation, &operator()).await?;
                    assert_eq!(there, self.model.row.is_some());
                }
                self.model.administer(act, operation, now);
            }
            Step::Pass { secs } => self.fixture.clock.step(Duration::from_secs(secs)),
        }
        Ok(())
    }

    async fn connect(&mut self, old: Option<usize>, stale: bool) -> Result<(), StoreError> {
        let number = match old {
            Some(old) => u8::try_from(old % (usize::from(self.newest) + 1)).unwrap_or(0),
            None => self.next_number(),
        };
        let seen = self.model.row.as_ref().map_or(0, |row| row.generation.0);
        let generation = Generation(if stale { seen + 1 } else { seen });
        let connect = self.fixture.connect("acme", number, generation);
        for _ in 0..2 {
            let answer = self.fixture.store.connect(connect.clone()).await?;
            assert_eq!(answer, self.model.connect(&connect, self.fixture.now()));
        }
        Ok(())
    }

    fn next_number(&mut self) -> u8 {
        self.newest += 1;
        self.newest
    }

    async fn claim(&mut self, step: Step) -> Result<(), StoreError> {
        let Step::Claim { process, stale, recovering, act, insist, trigger } = step else { return Ok(()) };
        let Some(row) = self.model.row.clone() else { return Ok(()) };
        let held = row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint);
        let seen = if stale { row.generation.next() } else { row.generation };
        let claim = Claim {
            act,
            trigger,
            generation: seen,
            node: node(u8::from(process)),
            through_cooldown: insist,
            recovers: row.open_attempt.filter(|_| recovering),
            spends: held.filter(|_| act == Act::Redeem),
            ..self.fixture.claim(&row)
        };
        let store = if process { &self.fixture.store } else { &self.other_process };
        let answer = store.claim(claim.clone()).await?;
        assert_eq!(answer, self.model.claim(&claim, self.fixture.now()));
        if let ClaimAnswer::Won { until } = answer {
            if row.state == GrantState::Dead && insist {
                self.promises.a_person_decides(&claim, self.fixture.now());
            }
            self.promises.nothing_is_spent_twice(&claim, until, self.fixture.now());
            self.won.push(WonClaim { claim, held });
        }
        Ok(())
    }

    async fn commit(&mut self, won: usize, process: bool) -> Result<(), StoreError> {
        let Some(WonClaim { claim, held }) = pick(&self.won, won) else { return Ok(()) };
        if self.model.attempts.get(&claim.attempt).is_some_and(|noted| noted.status == AttemptStatus::Failed)
        {
            // It was known that the provider gave nothing.
            return Ok(());
        }
        let row = self.model.row.clone().expect("it was claimed");
        let orphan = row.usable_orphan().filter(|_| claim.act == Act::Orphan);
        let commit = Commit {
            replaces: held,
            orphan: orphan.map(|orphan| orphan.attempt),
            ..self.fixture.commit(&claim, 0)
        };
        let number = self.next_number();
        let commit = Commit { tokens: self.fixture.tokens(number), ..commit };
        let store = if process { &self.fixture.store } else { &self.other_process };
        let answer = store.commit(commit.clone()).await?;
        assert_eq!(answer, self.model.commit(&commit));
        self.promises.is_spent(&claim, answer);
        self.committed.push(commit);
        Ok(())
    }
}

fn pick<T: Clone>(from: &[T], which: usize) -> Option<T> {
    // Mostly the latest: sequences that go on with what was begun tell more.
    let back = (which % 12).saturating_sub(8).min(from.len().checked_sub(1)?);
    from.get(from.len() - 1 - back).cloned()
}

/// What must hold, told without the rules that the stores follow.
#[derive(Debug, Default)]
struct Promises {
    generation: Generation,
    /// Refresh tokens whose reply arrived.
    spent: BTreeSet<Fingerprint>,
    /// Attempts with an unknown outcome: the token they may have spent, and until when they may be sending it.
    open: BTreeMap<AttemptId, (Fingerprint, Timestamp)>,
    /// Which attempt was to recover which.
    recovers: BTreeMap<AttemptId, AttemptId>,
}

impl Promises {
    fn generation_does_not_go_back(&mut self, row: Option<&Connection>) {
        let generation = row.map_or(Generation(0), |row| row.generation);
        assert!(generation >= self.generation, "{generation:?} after {:?}", self.generation);
        self.generation = generation;
    }

    fn nothing_is_spent_twice(&mut self, claim: &Claim, until: Timestamp, now: Timestamp) {
        assert!(until.since(now) <= LEASE);
        self.recovers.extend(claim.recovers.map(|attempt| (claim.attempt, attempt)));
        let Some(spends) = claim.spends else { return };
        assert!(!self.spent.contains(&spends), "a spent token was claimed");
        let recovered: BTreeSet<_> =
            std::iter::successors(claim.recovers, |attempt| self.recovers.get(attempt).copied()).collect();
        for (attempt, (fingerprint, lease)) in &self.open {
            if *fingerprint == spends {
                assert!(*lease <= now, "two live leases over one token");
                assert!(recovered.contains(attempt), "claimed again, and not as its recovery");
            }
        }
        self.open.insert(claim.attempt, (spends, until));
    }

    /// The grant is dead: that settled what was unknown of its token, and a person may have it sent once more.
    fn a_person_decides(&mut self, claim: &Claim, now: Timestamp) {
        self.open.retain(|_, (open, lease)| Some(*open) != claim.spends || *lease > now);
    }

    fn outcome_is_known(&mut self, fail: &Fail) {
        let Some((fingerprint, _)) = self.open.get(&fail.attempt).copied() else { return };
        if fail.effect == FailureEffect::Unknown {
            // It is not being sent any more, but it may have been accepted.
            self.open.insert(fail.attempt, (fingerprint, Timestamp::default()));
        } else {
            self.open.remove(&fail.attempt);
        }
    }

    fn is_spent(&mut self, claim: &Claim, answer: CommitAnswer) {
        self.open.remove(&claim.attempt);
        if let (Some(spends), CommitAnswer::Committed { .. } | CommitAnswer::Orphaned { .. }) =
            (claim.spends, answer)
        {
            self.spent.insert(spends);
        }
    }
}
