//! Whether token requests go to a token endpoint that may be down: a circuit breaker for one client at one endpoint.
//!
//! While the endpoint answers, the breaker is *closed*, and as many requests run at once as the settings allow. When several in
//! a row got no answer, it *opens*: from then on one request at a time, a *trial*, finds out whether the endpoint is back. The
//! first answer closes it, and the requests that waited start slowly.
//!
//! A breaker begins closed, and *untried* until the first answer: no more requests run at once than would open it, so that a process
//! that is started again and again during an outage sends few.
//!
//! Instants are durations of one clock that never goes back; whose clock that is makes no difference here.

use std::collections::HashMap;
use std::time::Duration;

use super::provider::ErrorClass;
use crate::id::ConnectionName;

/// After this many requests in a row with no answer, by as many connections where there are as many, the breaker opens: one
/// connection with a fault of its own must not stop the others.
const OPENS_AFTER: usize = 3;

/// The longest that a trial waits because a reply asked for it (`Retry-After`).
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// A slow start has this many steps, each with twice the starts of the one before.
const SLOW_START_STEPS: u32 = 8;

/// How many steps of a slow start there are in the longest pause between trials.
const STEPS_IN_PAUSE: u32 = 60;

/// What a breaker goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// How many requests run at once; at least one.
    pub concurrency: usize,
    /// How many connections send requests here.
    pub connections: usize,
    /// How long after it opened the first trial is made.
    pub first_pause: Duration,
    /// The pause between trials doubles up to this.
    pub longest_pause: Duration,
}

/// What a token request says about its token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointVerdict {
    /// The token endpoint answered, with a token set or with a refusal.
    Answered,
    /// It did not: it cannot be reached, does not answer, or something else answers in its place.
    Down,
    /// Neither: a rate limit, or a request that was not sent for a reason of this machine.
    Unclear,
}

impl EndpointVerdict {
    /// What a failed request says of the endpoint; `status` is that of the reply, where there was one.
    ///
    /// A reply with a status of success that cannot be read counts as no answer, whoever wrote it: where it is the page of something
    /// in front of the endpoint that is so, and where the provider has changed its replies each further request would spend one
    /// more refresh token for a reply that cannot be used.
    pub fn of_failure(class: ErrorClass, status: Option<u16>) -> Self {
        match (class, status) {
            (ErrorClass::RateLimited, _) | (_, Some(429)) => Self::Unclear,
            (
                ErrorClass::DeadGrant | ErrorClass::BadClient | ErrorClass::Suspended | ErrorClass::TooEarly,
                _,
            ) => Self::Answered,
            // A 403 that is transient is the page of a front end; the token endpoint itself would say what is wrong.
            (_, None | Some(200..=299 | 408 | 500..)) | (ErrorClass::Transient, Some(403)) => Self::Down,
            (ErrorClass::Transient | ErrorClass::Ambiguous | ErrorClass::Unknown, Some(_)) => Self::Answered,
        }
    }
}

/// What a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestResult<'a> {
    /// What it says about the endpoint.
    pub verdict: EndpointVerdict,
    /// The code of the failure; empty for a token set.
    pub code: &'a str,
    /// How long the reply asked to wait.
    pub retry_after: Option<Duration>,
}

/// Since when an endpoint is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first request was sent that got no answer.
    pub since: Duration,
    /// When the next trial may be made, by who has the turn.
    pub next_trial: Duration,
}

/// Whether a request may be sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Now. [`Breaker::end`] must be told of it.
    Now(RunningRequest),
    /// When another one has ended, or after that time.
    Later(Option<Duration>),
    /// Not while the endpoint is down.
    Unavailable(Outage),
}

/// A request that was admitted and has not ended.
#[derive(Debug, PartialEq, Eq)]
pub struct RunningRequest {
    connection: ConnectionName,
    started: Duration,
    trial: bool,
    was_down: bool,
}

impl RunningRequest {
    /// Whether nobody should count on an answer: it is a trial, or the last request of its connection got none.
    pub fn is_doubtful(&self) -> bool {
        self.trial || self.was_down
    }
}

/// What the end of a request changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// Nothing.
    None,
    /// The endpoint counts as down from now on.
    Opened(Outage),
    /// It answers again.
    Closed {
        /// Since when it had been down.
        since: Duration,
    },
}

/// The last request of a connection, which got no answer.
#[derive(Clone, Debug)]
struct LastDown {
    code: String,
    /// How many answers the endpoint had given by then.
    answers: u64,
    /// How often the breaker had closed by then.
    closings: u64,
    /// The endpoint answered others between this connection's failures: they say nothing about the others.
    alone: bool,
    /// When it ended.
    ended: Duration,
    /// The reply asked to wait until then.
    not_before: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// When it closed; absent once the slow start is over.
        closed_at: Option<Duration>,
        /// The next request of a slow start may not start before then.
        next_start: Duration,
    },
    Open {
        since: Duration,
        /// When the last trial began, or the breaker opened.
        last_trial: Duration,
        pause: Duration,
        trials: u32,
        under_way: bool,
    },
}

/// The circuit breaker of one client at one token endpoint.
#[derive(Debug)]
pub struct Breaker {
    rules: BreakerRules,
    state: State,
    down: HashMap<ConnectionName, LastDown>,
    /// Requests in a row with no answer, and when the first of them was sent.
    downs: usize,
    down_since: Duration,
    answers: u64,
    closings: u64,
    running: usize,
    running_doubtful: usize,
    /// No trial is made before then.
    not_before: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            state: State::Closed { closed_at: None, next_start: Duration::ZERO },
            down: HashMap::new(),
            downs: 0,
            down_since: Duration::ZERO,
            answers: 0,
            closings: 0,
            running: 0,
            running_doubtful: 0,
            not_before: Duration::ZERO,
        }
    }

    /// Whether a request of `connection` may be sent at `now`. One that goes `regardless` of the breaker, because a person asks
    /// for it or a grace runs out, waits for its turn all the same.
    pub fn admit(&mut self, connection: &ConnectionName, regardless: bool, now: Duration) -> Admission {
        let was_down = self.is_down(connection);
        let mut trial = false;
        match self.state {
            State::Open { .. } if regardless => {
                if self.running >= self.rules.concurrency {
                    return Admission::Later(None);
                }
            }
            State::Open { .. } => {
                if let Some(outage) = self.outage().filter(|_| !self.trial_is_due(connection, now)) {
                    return Admission::Unavailable(outage);
                }
                trial = true;
            }
            State::Closed { closed_at, next_start } => {
                let (concurrency, interval) = self.slow_start(closed_at, now);
                // What may hang leaves room for what does not.
                let doubtful = if self.is_untried() { 1 } else { (concurrency / 2).max(1) };
                let others = self.running - self.running_doubtful;
                let is_enough =
                    if was_down { self.running_doubtful >= doubtful } else { others >= self.most_untried() };
                if self.running >= concurrency || is_enough {
                    return Admission::Later(None);
                }
                if now < next_start {
                    return Admission::Later(Some(next_start.saturating_sub(now)));
                }
                let closed_at = closed_at.filter(|_| !interval.is_zero());
                self.state = State::Closed { closed_at, next_start: now + interval };
            }
        }
        if let State::Open { last_trial, trials, under_way, .. } = &mut self.state
            && trial
        {
            (*last_trial, *trials, *under_way) = (now, *trials + 1, true);
        }
        let request = RunningRequest { connection: connection.clone(), started: now, trial, was_down };
        self.running += 1;
        self.running_doubtful += usize::from(request.is_doubtful());
        Admission::Now(request)
    }

    /// A request has ended.
    pub fn end(
        &mut self,
        request: RunningRequest,
        result: RequestResult<'_>,
        now: Duration,
    ) -> BreakerChange {
        self.running -= 1;
        self.running_doubtful -= usize::from(request.is_doubtful());
        let asked = now + result.retry_after.unwrap_or_default().min(LONGEST_WAIT);
        if result.verdict == EndpointVerdict::Answered {
            return self.answered(&request.connection, now);
        }
        self.not_before = self.not_before.max(asked);
        if let State::Open { pause, under_way, .. } = &mut self.state
            && request.trial
        {
            *under_way = false;
            *pause = (*pause * 2).min(self.rules.longest_pause);
        }
        if result.verdict == EndpointVerdict::Unclear {
            return BreakerChange::None;
        }
        self.note_down(request, result, now)
    }

    /// A request was not sent after all.
    pub fn give_back(&mut self, request: &RunningRequest, now: Duration) {
        self.running -= 1;
        self.running_doubtful -= usize::from(request.is_doubtful());
        if request.trial {
            // Another connection may have better luck, in a moment.
            self.not_before = self.not_before.max(now + self.step());
            if let State::Open { under_way, .. } = &mut self.state {
                *under_way = false;
            }
        }
    }

    fn answered(&mut self, connection: &ConnectionName, now: Duration) -> BreakerChange {
        self.answers += 1;
        self.downs = 0;
        self.down.remove(connection);
        self.not_before = Duration::ZERO;
        let State::Open { since, .. } = self.state else { return BreakerChange::None };
        self.closings += 1;
        self.state = State::Closed { closed_at: Some(now), next_start: now };
        BreakerChange::Closed { since }
    }

    fn note_down(
        &mut self,
        request: RunningRequest,
        result: RequestResult<'_>,
        now: Duration,
    ) -> BreakerChange {
        let before = self.down.get(&request.connection);
        let known_alone = before.is_some_and(|before| before.alone);
        let alone = known_alone || before.is_some_and(|before| before.answers < self.answers);
        let last = LastDown {
            code: result.code.to_owned(),
            answers: self.answers,
            closings: self.closings,
            alone,
            ended: now,
            not_before: now + result.retry_after.unwrap_or_default(),
        };
        self.down.insert(request.connection, last);
        if known_alone {
            return BreakerChange::None;
        }
        if self.downs == 0 {
            self.down_since = request.started;
        }
        self.downs += 1;
        let connections = self.down.values().filter(|last| last.answers == self.answers).count();
        let enough = OPENS_AFTER.min(self.rules.connections);
        if matches!(self.state, State::Closed { .. }) && self.downs >= OPENS_AFTER && connections >= enough {
            let pause = self.rules.first_pause.min(self.rules.longest_pause);
            let since = self.down_since;
            self.state = State::Open { since, last_trial: now, pause, trials: 0, under_way: false };
        } else {
            return BreakerChange::None;
        }
        self.outage().map_or(BreakerChange::None, BreakerChange::Opened)
    }

    /// Since when the endpoint is down; `None` while it answers.
    pub fn outage(&self) -> Option<Outage> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { since, last_trial, pause, .. } => {
                Some(Outage { since, next_trial: (last_trial + pause / 4 * 3).max(self.not_before) })
            }
        }
    }

    /// Whether `connection` may make the trial that is due.
    fn trial_is_due(&self, connection: &ConnectionName, now: Duration) -> bool {
        let State::Open { last_trial, pause, trials, under_way, .. } = self.state else { return false };
        // A connection whose last request got no answer risks nothing more, and one that never failed may be the one that is
        // answered: they take turns, and who has the turn may be a little early.
        let has_turn = self.is_down(connection) == trials.is_multiple_of(2);
        let wait = if has_turn { pause / 4 * 3 } else { pause };
        !under_way && now >= (last_trial + wait).max(self.not_before)
    }

    /// Whether a request of `connection` is worth the preparation at `now`.
    pub fn may_start(&self, connection: &ConnectionName, now: Duration) -> bool {
        match self.state {
            State::Open { .. } => self.trial_is_due(connection, now),
            State::Closed { .. } => true,
        }
    }

    /// Whether `connection` may send again at `now` though its own pause, which has grown with each failure, is not over: it
    /// makes the trial, or the endpoint has come back since its last request, or nobody was answered since, and it is not known
    /// whether the fault is its own.
    pub fn may_retry_early(&self, connection: &ConnectionName, now: Duration) -> bool {
        if let State::Open { .. } = self.state {
            return self.trial_is_due(connection, now);
        }
        let Some(last) = self.down.get(connection) else { return self.closings > 0 };
        let nobody_knows =
            (self.downs >= OPENS_AFTER || self.is_untried()) && !last.alone && last.answers == self.answers;
        // A cool-down that was set to more is meant so.
        let pause = self.rules.longest_pause.max(self.rules.first_pause);
        last.closings < self.closings || (nobody_knows && now >= last.ended + pause)
    }

    /// Whether that goes for a cool-down as well, whose code is `code`: it must come from the request that got no answer, and
    /// what the reply asked for is obeyed.
    pub fn may_skip_cooldown(&self, connection: &ConnectionName, code: Option<&str>, now: Duration) -> bool {
        self.may_retry_early(connection, now)
            && self
                .down
                .get(connection)
                .is_some_and(|last| code == Some(last.code.as_str()) && now >= last.not_before)
    }

    /// Whether the last request of `connection` got no answer.
    pub fn is_down(&self, connection: &ConnectionName) -> bool {
        self.down.contains_key(connection)
    }

    /// The connections whose last request got no answer.
    pub fn down(&self) -> impl Iterator<Item = &ConnectionName> {
        self.down.keys()
    }

    /// Whether nobody has been answered yet.
    pub fn is_untried(&self) -> bool {
        self.answers == 0
    }

    /// How often what failed was given a new chance: with the first answer of all, and each time the endpoint came back.
    pub fn returns(&self) -> u64 {
        self.closings + u64::from(!self.is_untried())
    }

    /// How many requests run at once.
    pub fn concurrency(&self) -> usize {
        self.rules.concurrency
    }

    /// How long each step of a slow start takes, and how long a trial that was not sent leaves the next one.
    pub fn step(&self) -> Duration {
        self.rules.longest_pause / STEPS_IN_PAUSE
    }

    /// How many connections that did not fail send at once before the first answer: as many as it takes to find the endpoint down.
    fn most_untried(&self) -> usize {
        if self.is_untried() { OPENS_AFTER.saturating_sub(self.downs).max(1) } else { usize::MAX }
    }

    /// How many requests run at once at `now`, and how long after each start the next one may follow.
    fn slow_start(&self, closed_at: Option<Duration>, now: Duration) -> (usize, Duration) {
        let steps = closed_at
            .map(|closed_at| now.saturating_sub(closed_at).as_micros() / self.step().as_micros().max(1));
        match steps.and_then(|steps| u32::try_from(steps).ok()).filter(|steps| *steps < SLOW_START_STEPS) {
            None => (self.rules.concurrency, Duration::ZERO),
            Some(steps) => {
                let concurrency = self.rules.concurrency.min(1 + steps as usize);
                (concurrency, self.step() / (2 << steps))
            }
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
