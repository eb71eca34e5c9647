//! The whole act of a refresh: look, claim, redeem, commit, and again until what was asked for is there.
//!
//! It runs in a task of its own. Whoever asked for it may go away; it goes on.

mod attempt;
mod consequence;
mod record;
mod reread;
mod withdraw;

use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::keep::attempt::{Attempt, Trigger};
use jeton_core::keep::connection::{Connection, Generation};
use jeton_core::keep::due;
use jeton_core::keep::plan::{self, Capabilities, Goal, InterruptedAttempt, Plan};
use jeton_core::keep::ports::Skip;
use jeton_core::time::Timestamp;
use tokio::time::timeout;

use crate::error::TokenError;
use crate::flight::{Landing, Passenger, Seat};
use crate::memory::Known;
use crate::shared::{Defined, Shared};

/// More attempts than any honest course of events needs: rules that contradict each other end here, and do not spin.
const MOST_ROUNDS: usize = 32;

/// Clocks that are less apart than this count as one: asking takes a while.
const SAME_CLOCK: Duration = Duration::from_secs(1);

/// What a flight is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// What satisfies it.
    pub(crate) wish: Goal,
    /// What asked for it.
    pub(crate) trigger: Trigger,
    /// A person decided that a token of unknown fate may be sent.
    pub(crate) person_decides: bool,
}

impl Order {
    /// What nobody decided about.
    pub(crate) fn new(wish: Goal, trigger: Trigger) -> Self {
        Self { wish, trigger, person_decides: false }
    }
}

/// A place on a flight.
#[derive(Debug)]
pub(crate) struct Boarding {
    pub(crate) passenger: Passenger,
    /// The flight was begun for this order, and not for another one.
    pub(crate) own: bool,
}

/// Joins the flight of a connection, or begins one in a task of its own.
pub(crate) fn begin(shared: &Arc<Shared>, defined: &Arc<Defined>, order: Order) -> Boarding {
    match shared.flights.join(&defined.name) {
        Seat::Passenger(passenger) => {
            tracing::debug!(connection = %defined.name, "a refresh is under way already");
            Boarding { passenger, own: false }
        }
        Seat::Pilot(pilot, passenger) => {
            let (shared, defined) = (Arc::clone(shared), Arc::clone(defined));
            let tracker = shared.tracker.clone();
            tracker.spawn(async move {
                let refresh = Refresh::new(&shared, &defined, order);
                pilot.land(refresh.run().await);
            });
            Boarding { passenger, own: true }
        }
    }
}

/// One refresh under way.
struct Refresh<'a> {
    shared: &'a Arc<Shared>,
    defined: &'a Defined,
    order: Order,
    progress: Progress,
    /// The generation that the progress is about; what is connected meanwhile knows nothing of it.
    progress_of: Generation,
    /// How many attempts of this very flight have an unknown outcome: whoever forced it did not decide about those.
    left_unknown: u32,
    /// The attempt whose outcome is not known, and those that it was to recover.
    chain: Vec<Attempt>,
    /// The instant of the store that leases, holds and graces are judged by.
    there: There,
    /// When the attempt began, by our own clock, that the present one recovers: a token given a second time may be as old as that.
    recovers_since: Option<Timestamp>,
}

/// An instant by the clock of the store, and by our own that counts suspension: the store was asked then or later.
#[derive(Clone, Copy, Debug)]
struct There {
    now: Timestamp,
    uptime: Duration,
}

/// How far a flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing has come of it yet.
    Begun,
    /// The refresh token was refused as dead: a stray or acquiring may still help.
    RefusedAsDead,
    /// The pair that was recovered is past its end: its refresh token buys one that is not.
    RecoveredTooLate,
    /// A new token set is stored. Whatever its life, one flight spends no more than one token for it.
    Committed,
}

/// How a round ended.
enum Round {
    /// Look again, at once.
    Again,
    /// Look again when something has changed, or after a moment.
    After(Duration),
}

impl<'a> Refresh<'a> {
    fn new(shared: &'a Arc<Shared>, defined: &'a Defined, order: Order) -> Self {
        Self {
            shared,
            defined,
            order,
            progress: Progress::Begun,
            progress_of: Generation::default(),
            left_unknown: 0,
            chain: Vec::new(),
            there: There { now: shared.clock.now(), uptime: shared.clock.uptime() },
            recovers_since: None,
        }
    }

    async fn run(mut self) -> Landing {
        let mut rounds = 0;
        while rounds < MOST_ROUNDS {
            let known = self.look().await?;
            let row = &known.row;
            let now = self.shared.clock.now();
            if self.progress == Progress::Committed {
                return Ok(());
            }
            if self.progress_of != row.generation {
                self.advance(Progress::Begun, row.generation);
            }
            let satisfied = self.order.wish.is_satisfied_by(row, &self.defined.pace, now);
            if satisfied && self.progress == Progress::Begun {
                return self.satisfied(row, now).await;
            }
            if self.shared.is_closing() {
                return Err(TokenError::ShuttingDown);
            }
            self.there = self.instant_there(row).await?;
            let there = self.there.now;
            if let Some(lease) = row.live_lease(there) {
                self.wait(&known, lease.until.since(there).min(self.shared.settings.poll)).await;
                continue;
            }
            rounds += 1;
            let chain = self.chain(row.interrupted_attempt(there)).await?;
            if self.shared.hold().is_none() && self.reread(row, &chain).await? {
                continue;
            }
            self.recovers_since = chain.last().map(|first| self.here(first.started_at));
            let plan = self.plan(row, &chain, there);
            self.chain = chain;
            match self.follow(plan, row, now).await? {
                Round::Again => {}
                Round::After(pause) => self.wait(&known, pause).await,
            }
        }
        Err(TokenError::Busy { what: "changes of one connection" })
    }

    fn advance(&mut self, progress: Progress, of: Generation) {
        (self.progress, self.progress_of) = (progress, of);
    }

    async fn look(&self) -> Result<Arc<Known>, TokenError> {
        self.shared
            .look(&self.defined.name)
            .await?
            .ok_or_else(|| TokenError::NotConnected { name: self.defined.name.clone() })
    }

    /// The instant that the leases and attempts of `row` are judged by: where there are any, that of the store, whose clock set
    /// their times.
    async fn instant_there(&self, row: &Connection) -> Result<There, TokenError> {
        let uptime = self.shared.clock.uptime();
        if row.lease.is_none() && row.open_attempt.is_none() {
            return Ok(There { now: self.shared.clock.now(), uptime });
        }
        let store = &self.shared.ports.connections;
        let (now, _) = self.shared.patiently(|| store.due(Duration::ZERO, None, 0)).await?;
        Ok(There { now, uptime })
    }

    /// An instant of the store as our own clock shows it: lives are counted by that.
    fn here(&self, instant: Timestamp) -> Timestamp {
        let now = self.shared.clock.now();
        let there = self.there.now + self.shared.clock.uptime().saturating_sub(self.there.uptime);
        if now.since(there).max(there.since(now)) < SAME_CLOCK {
            return instant;
        }
        now - there.since(instant)
    }

    /// Waits until the row changes in memory, or for `pause`.
    async fn wait(&self, known: &Known, pause: Duration) {
        let slot = self.shared.memory.slot(&self.defined.name);
        let mut changes = slot.subscribe();
        if slot.known().is_some_and(|now| now.row.revision > known.row.revision) {
            return;
        }
        // A timeout is as good as a change: either way the store is looked at again.
        drop(timeout(pause, changes.changed()).await);
    }

    /// Nothing needs to be spent; a visit leaves its row in the log and sets the next one.
    async fn satisfied(&self, row: &Connection, now: Timestamp) -> Landing {
        let visit = row.due_at.is_some_and(|due_at| due_at <= now) || self.order.trigger == Trigger::Manual;
        if let (Goal::NotDue, true, Some(tokens)) = (self.order.wish, visit, &row.tokens) {
            let skip = Skip {
                connection: row.name.clone(),
                attempt: AttemptId::generate(now, &*self.shared.entropy),
                generation: row.generation,
                trigger: self.order.trigger,
                node: self.shared.node,
                message: "Token doesn't need refresh yet".to_owned(),
                due_at: due::due_at(tokens, &self.defined.pace, now, self.jitter()),
            };
            self.shared.ports.connections.skip(skip).await?;
        }
        Ok(())
    }

    fn jitter(&self) -> f64 {
        jeton_core::entropy::unit_fraction(&*self.shared.entropy)
    }

    fn plan(&self, row: &Connection, chain: &[Attempt], now: Timestamp) -> Plan {
        let means = Capabilities {
            can_redeem: self.defined.can_redeem(),
            acquire: self.defined.acquiring(),
            refused_as_dead: self.progress == Progress::RefusedAsDead,
            person_decides: self.order.person_decides && self.left_unknown == 0,
        };
        let interrupted = chain.first().map(|open| InterruptedAttempt {
            open: open.id,
            chain,
            policy: self.defined.recovery,
        });
        plan::next(row, means, interrupted, now)
    }

    /// The attempt whose outcome is not known, the one that it was to recover, and so on back to the one that began it.
    async fn chain(&self, open: Option<AttemptId>) -> Result<Vec<Attempt>, TokenError> {
        let mut chain = Vec::new();
        let mut next = open;
        while let Some(id) = next {
            let found = self.shared.patiently(|| self.shared.ports.log.find_attempt(id)).await?;
            let attempt = found.ok_or_else(|| TokenError::Store {
                message: format!("the attempt {id} is not in the refresh log"),
            })?;
            next = attempt.recovers;
            chain.push(attempt);
        }
        Ok(chain)
    }

    async fn follow(&mut self, plan: Plan, row: &Connection, now: Timestamp) -> Result<Round, TokenError> {
        let name = || self.defined.name.clone();
        match plan {
            Plan::Do { act, recovers, before } => self.attempt(row, act, recovers, before).await,
            Plan::Hold { attempt, until } => {
                tracing::debug!(connection = %name(), %attempt, %until, now = %now, "an interrupted attempt is on hold");
                Err(TokenError::Interrupted { name: name(), attempt, until: Some(until) })
            }
            Plan::AskAbout { attempt } => Err(TokenError::Interrupted { name: name(), attempt, until: None }),
            Plan::Dead => {
                let code = row.state_code.clone().or_else(|| row.last_error.clone());
                Err(TokenError::Dead { name: name(), code: code.unwrap_or_else(|| "dead_grant".to_owned()) })
            }
            Plan::NotConnected => Err(TokenError::NotConnected { name: name() }),
            Plan::Paused => Err(TokenError::Paused { name: name() }),
        }
    }
}
