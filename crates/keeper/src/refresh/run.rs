//! A refresh: read the row, claim, redeem, commit, and again until the goal is reached.
//!
//! It runs in a task of its own, which goes on when whoever asked for it is gone.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::audit::Actor;
use jeton_core::id::{AttemptId, Generation};
use jeton_core::keep::attempt::{Attempt, Trigger};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::plan::{self, Capabilities, Force, Goal, InterruptedAttempt, Plan};
use jeton_core::keep::ports::Skip;
use jeton_core::keep::provider::ErrorClass;
use jeton_core::keep::{due, force};
use jeton_core::time::Timestamp;
use tokio::time::timeout;

use super::spend::Spender;
use crate::definitions::{ConnectionDef, Definitions};
use crate::error::TokenError;
use crate::lifecycle::Lifecycle;
use crate::memory::apply::Memory;
use crate::memory::cache::CachedConnection;
use crate::node::Node;
use crate::operator::take_over::begin;
use crate::peers::peer_liveness::PeerLiveness;
use crate::store_access::StoreAccess;
use crate::tokens::request::RefreshMode;
use crate::tokens::single_flight::{Follower, Join, SingleFlight, TaskOutcome};

/// More attempts than any honest course of events needs: rules that contradict each other end here, and do not spin.
const MOST_ROUNDS: usize = 32;

/// What a refresh is for.
#[derive(Clone, Debug)]
pub(crate) struct RefreshRequest {
    /// What must be reached.
    pub(crate) goal: Goal,
    /// What asked for it.
    pub(crate) trigger: Trigger,
    /// Who asked for it; absent where this process begins it by itself.
    pub(crate) by: Option<Actor>,
    /// Who asked decided that a token with an unknown outcome may be sent.
    pub(crate) person_decides: bool,
    /// It is made at once, through every cool-down.
    pub(crate) at_once: bool,
    /// It need not wait for pauses that have grown: the provider is tried, or has come back.
    pub(crate) early: bool,
}

impl RefreshRequest {
    /// A request that no person decided about.
    pub(crate) fn new(goal: Goal, trigger: Trigger, by: Option<Actor>) -> Self {
        Self { goal, trigger, by, person_decides: false, at_once: false, early: false }
    }

    /// What somebody asks for who saw this generation.
    pub(crate) fn asked_for(mode: RefreshMode, seen: Generation, by: &Actor) -> Self {
        let by = Some(by.clone());
        match mode {
            RefreshMode::IfDue => Self::new(Goal::NotDue, Trigger::Manual, by),
            RefreshMode::Forced | RefreshMode::ForcedByAdministrator | RefreshMode::ForcedByPerson => Self {
                person_decides: true,
                at_once: mode != RefreshMode::Forced,
                ..Self::new(Goal::Beyond(seen), Trigger::Forced, by)
            },
        }
    }
}

/// A refresh that was started or joined.
#[derive(Debug)]
pub(crate) struct RefreshHandle {
    pub(crate) follower: Follower,
    /// It was started for this very request, and not for another one.
    pub(crate) own: bool,
}

/// Refreshes connections, each at most once at a time.
#[derive(Debug)]
pub(crate) struct Refresher {
    pub(crate) node: Arc<Node>,
    pub(crate) definitions: Arc<Definitions>,
    pub(crate) store: Arc<StoreAccess>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) spender: Arc<Spender>,
    pub(crate) peers: Arc<PeerLiveness>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) running: Arc<SingleFlight>,
}

impl Refresher {
    /// Joins the refresh of a connection that is under way, or starts one in a task of its own.
    pub(crate) fn start(
        self: &Arc<Self>,
        def: &Arc<ConnectionDef>,
        request: &RefreshRequest,
    ) -> RefreshHandle {
        match self.running.join(&def.name) {
            Join::Follower(follower) => {
                tracing::debug!(connection = %def.name, "a refresh is under way already");
                RefreshHandle { follower, own: false }
            }
            Join::Leader(leader, follower) => {
                let (parts, def, request) = (Arc::clone(self), Arc::clone(def), request.clone());
                self.lifecycle.attempts.spawn(async move {
                    let refresh = Refresh::new(&parts, &def, request);
                    leader.finish(refresh.run().await);
                });
                RefreshHandle { follower, own: true }
            }
        }
    }
}

/// One refresh under way.
pub(super) struct Refresh<'a> {
    pub(super) parts: &'a Refresher,
    pub(super) def: &'a ConnectionDef,
    pub(super) request: RefreshRequest,
    progress: RefreshProgress,
    /// The generation that the progress is about; what is connected meanwhile knows nothing of it.
    progress_of: Generation,
    /// How many attempts of this very refresh have an unknown outcome: whoever forced it did not decide about those.
    pub(super) left_unknown: u32,
    /// The attempt whose outcome is not known, and those that it was to recover.
    pub(super) chain: Vec<Attempt>,
    /// The instant of the store that leases, holds and graces are judged by.
    pub(super) store_clock: StoreClock,
    /// When the attempt began that the present one recovers: a token given a second time may be as old as that.
    pub(super) recovers_since: Option<Timestamp>,
}

/// An instant by the clock of the store, and by our own that counts suspension: the store was asked then or later.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoreClock {
    pub(super) now: Timestamp,
    pub(super) uptime: Duration,
}

/// How far a refresh has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshProgress {
    /// Nothing has come of it yet.
    Begun,
    /// The refresh token was refused as dead: an orphan reply or acquiring may still help.
    RefusedAsDead,
    /// The pair that was recovered is past its end: its refresh token brings one that is not.
    RecoveredTooLate,
    /// A new token set is stored. Whatever its life, one refresh spends no more than one token for it.
    Committed,
}

/// How a round ended.
pub(super) enum NextRound {
    /// Read the row again, at once.
    AtOnce,
    /// Read it again when something has changed, or after a moment.
    After(Duration),
}

impl<'a> Refresh<'a> {
    fn new(parts: &'a Refresher, def: &'a ConnectionDef, request: RefreshRequest) -> Self {
        Self {
            parts,
            def,
            request,
            progress: RefreshProgress::Begun,
            progress_of: Generation::default(),
            left_unknown: 0,
            chain: Vec::new(),
            store_clock: StoreClock { now: parts.node.clock.now(), uptime: parts.node.clock.uptime() },
            recovers_since: None,
        }
    }

    async fn run(mut self) -> TaskOutcome {
        let mut rounds = 0;
        while rounds < MOST_ROUNDS {
            let known = self.read().await?;
            let row = &known.row;
            let now = known.now(self.parts.node.clock.readings());
            if self.progress == RefreshProgress::Committed {
                return Ok(());
            }
            if self.progress_of != row.generation {
                self.advance(RefreshProgress::Begun, row.generation);
            }
            let satisfied = self.request.goal.is_satisfied_by(row, &self.def.timing, now);
            if satisfied && self.progress == RefreshProgress::Begun {
                return self.satisfied(row, now).await;
            }
            if self.parts.lifecycle.is_closing() {
                return Err(TokenError::ShuttingDown);
            }
            self.store_clock = self.read_store_clock(row).await?;
            let store_now = self.store_clock.now;
            if let Some(lease) = row.live_lease(store_now) {
                self.wait(&known, lease.until.since(store_now).min(self.parts.node.settings.poll)).await;
                continue;
            }
            rounds += 1;
            let chain = self.chain(row.interrupted_attempt(store_now)).await?;
            if self.parts.store.hold().is_none() && self.read_kept_replies(row, &chain).await? {
                continue;
            }
            self.recovers_since = chain.last().map(|first| first.started_at);
            self.check_interval(&chain, store_now)?;
            let plan = self.plan(row, &chain, now, store_now);
            self.chain = chain;
            match self.carry_out(plan, row, now).await? {
                NextRound::AtOnce => {}
                NextRound::After(pause) => self.wait(&known, pause).await,
            }
        }
        Err(TokenError::Busy { what: "changes of one connection" })
    }

    pub(super) fn advance(&mut self, progress: RefreshProgress, of: Generation) {
        (self.progress, self.progress_of) = (progress, of);
    }

    async fn read(&self) -> Result<Arc<CachedConnection>, TokenError> {
        let Refresher { node, store, memory, .. } = self.parts;
        let known = match memory.reload(&self.def.name).await? {
            None if self.def.definition.starts_itself() => begin(node, store, memory, self.def).await?,
            known => known,
        };
        known.ok_or_else(|| TokenError::NotConnected { name: self.def.name.clone() })
    }

    /// The instant that the leases and attempts of `row` are judged by: where there are any, that of the store, whose clock set
    /// their times.
    async fn read_store_clock(&self, row: &Connection) -> Result<StoreClock, TokenError> {
        let uptime = self.parts.node.clock.uptime();
        if row.lease.is_none() && row.open_attempt.is_none() {
            return Ok(StoreClock { now: self.parts.node.clock.now(), uptime });
        }
        let store = &self.parts.store.ports.connections;
        let (now, _) = self.parts.store.with_retry(|| store.due(Duration::ZERO, None, 0)).await?;
        self.parts.node.clock.learn(now, uptime);
        Ok(StoreClock { now, uptime })
    }

    /// Waits until the row changes in memory, or for `pause`.
    async fn wait(&self, known: &CachedConnection, pause: Duration) {
        let entry = self.parts.memory.cache.entry(&self.def.name);
        let mut changes = entry.subscribe();
        if entry.known().is_some_and(|now| now.row.revision > known.row.revision) {
            return;
        }
        // A timeout is as good as a change: either way the row is read again.
        let _ = timeout(pause, changes.changed()).await;
    }

    /// Nothing needs to be spent. A visit leaves its row in the log and sets the next one; asking for what is not due leaves
    /// none, however often it is done.
    async fn satisfied(&self, row: &Connection, now: Timestamp) -> TaskOutcome {
        let visit = row.due_at.is_some_and(|due_at| due_at <= now);
        if let (Goal::NotDue, true, Some(tokens)) = (self.request.goal, visit, &row.tokens) {
            let skip = Skip {
                connection: row.name.clone(),
                attempt: AttemptId::generate(now, &*self.parts.node.entropy),
                generation: row.generation,
                trigger: self.request.trigger,
                asked_by: self.request.by.clone(),
                node: self.parts.node.id,
                message: "Token doesn't need refresh yet".to_owned(),
                due_at: due::due_at(tokens, &self.def.timing, now, self.parts.node.jitter()),
            };
            self.parts.store.ports.connections.skip(skip).await?;
        }
        Ok(())
    }

    /// A service that forces refreshes waits longer from one send of unknown outcome to the next.
    fn check_interval(&self, chain: &[Attempt], now: Timestamp) -> Result<(), TokenError> {
        let decides = self.request.person_decides && !self.request.at_once && self.left_unknown == 0;
        match force::next_resend(chain).filter(|next| decides && now < *next) {
            None => Ok(()),
            Some(next) => Err(TokenError::CoolingDown {
                name: self.def.name.clone(),
                code: chain
                    .first()
                    .and_then(|attempt| attempt.code.clone())
                    .unwrap_or_else(|| "interrupted".to_owned()),
                provider_message: chain.first().and_then(|attempt| attempt.provider_message.clone()),
                retry_after: next.since(now),
            }),
        }
    }

    fn plan(&self, row: &Connection, chain: &[Attempt], now: Timestamp, store_now: Timestamp) -> Plan {
        let tokens = row.tokens.as_ref();
        let capabilities = Capabilities {
            can_redeem: self.def.can_redeem(),
            acquire: self.def.acquiring(),
            refused_as_dead: self.progress == RefreshProgress::RefusedAsDead,
            force: match self.request {
                // Whoever forced it has not decided about the outcome of that very send.
                _ if self.left_unknown > 0 => Force::No,
                RefreshRequest { at_once: true, .. } => Force::ByPerson,
                RefreshRequest { person_decides: true, .. } => Force::ByService,
                RefreshRequest { .. } => Force::No,
            },
            too_early_until: tokens.and_then(|tokens| due::too_early_until(tokens, &self.def.timing, now)),
        };
        let interrupted = chain.first().map(|open| InterruptedAttempt {
            open: open.id,
            chain,
            policy: self.def.recovery,
            early: self.request.early || self.def.limiter.may_retry_early(&self.def.name),
        });
        plan::next(row, capabilities, interrupted, store_now)
    }

    /// The attempt whose outcome is not known, the one that it was to recover, and so on back to the one that began it, or to
    /// the last that is read ([`due::LONGEST_CHAIN`]).
    async fn chain(&self, open: Option<AttemptId>) -> Result<Vec<Attempt>, TokenError> {
        let mut chain = Vec::new();
        let mut next = open;
        while let Some(id) = next.filter(|_| chain.len() < due::LONGEST_CHAIN) {
            let found = self.parts.store.with_retry(|| self.parts.store.ports.log.find_attempt(id)).await?;
            let attempt = found.ok_or_else(|| TokenError::Store {
                message: format!("the attempt {id} is not in the refresh log"),
            })?;
            next = attempt.recovers;
            chain.push(attempt);
        }
        Ok(chain)
    }

    async fn carry_out(
        &mut self,
        plan: Plan,
        row: &Connection,
        now: Timestamp,
    ) -> Result<NextRound, TokenError> {
        let name = || self.def.name.clone();
        match plan {
            Plan::Do { act, recovers, before } => self.attempt(row, act, recovers, before).await,
            Plan::Hold { attempt, until } => {
                tracing::debug!(connection = %name(), %attempt, %until, now = %now, "an interrupted attempt is on hold");
                let endpoint = self.def.limiter.outage().map(|outage| Box::new(outage.endpoint));
                Err(TokenError::Interrupted { name: name(), attempt, until: Some(until), endpoint })
            }
            Plan::AskAbout { attempt } => {
                Err(TokenError::Interrupted { name: name(), attempt, until: None, endpoint: None })
            }
            Plan::TooEarly { until } => Err(TokenError::Failed {
                name: name(),
                class: ErrorClass::TooEarly,
                code: "too_early".to_owned(),
                message: format!("nothing was sent: the provider does not refresh it before {until}"),
                provider_message: None,
                retry_after: Some(until.since(now)),
            }),
            Plan::Dead => {
                let code = row.state_code.clone().or_else(|| row.last_error.clone());
                let code = code.unwrap_or_else(|| "dead_grant".to_owned());
                Err(TokenError::Dead { name: name(), code, provider_message: row.provider_message.clone() })
            }
            Plan::NotConnected => Err(TokenError::NotConnected { name: name() }),
            Plan::Paused => Err(TokenError::Paused { name: name() }),
        }
    }
}
