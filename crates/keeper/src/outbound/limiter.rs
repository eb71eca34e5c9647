//! How many token requests of one client run at one token endpoint, in which order, and none but a trial while it is down.
//!
//! Each process has limiters of its own: on several nodes, each makes its own trials.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::breaker::{
    Admission, Breaker, BreakerChange, BreakerRules, EndpointVerdict, Outage, RequestResult, RunningRequest,
};
use jeton_core::keep::unavailable::{EndpointFailure, UnavailableEndpoint};
use jeton_core::time::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a request waits for its turn before it looks again, whether it was told to or not.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// Whose requests a limiter counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientAtServer {
    /// The client id; absent where the provider knows none.
    pub(crate) client: Option<String>,
    /// The server of the token endpoint.
    pub(crate) server: String,
}

/// The token requests of one client at one token endpoint.
#[derive(Debug)]
pub(crate) struct EndpointLimiter {
    /// Which one it is of [`Definitions::limiters`](crate::definitions::Definitions::limiters).
    pub(crate) index: usize,
    pub(crate) whose: ClientAtServer,
    connections: Vec<ConnectionName>,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// Something ended: those that wait may look again.
    changed: Notify,
    /// How many spill slots its requests hold.
    slots: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    /// Who waits: those whose last request got no answer come after the others.
    queue: BTreeSet<(bool, u64)>,
    tickets: u64,
    /// Of the last request that got no answer.
    last_failure: EndpointFailure,
}

/// A token endpoint is down, as people are told.
#[derive(Clone, Debug)]
pub(crate) struct Unavailable {
    pub(crate) endpoint: UnavailableEndpoint,
    /// How long until it is tried again.
    pub(crate) retry_after: Duration,
}

impl EndpointLimiter {
    pub(crate) fn new(
        index: usize,
        whose: ClientAtServer,
        connections: Vec<ConnectionName>,
        rules: BreakerRules,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let inner = Inner {
            breaker: Breaker::new(rules),
            queue: BTreeSet::new(),
            tickets: 0,
            last_failure: EndpointFailure::default(),
        };
        Self {
            index,
            whose,
            connections,
            clock,
            inner: Mutex::new(inner),
            changed: Notify::new(),
            slots: AtomicUsize::new(0),
        }
    }

    /// The connections whose requests it counts.
    pub(crate) fn connections(&self) -> &[ConnectionName] {
        &self.connections
    }

    /// Whether its requests go to that endpoint.
    pub(crate) fn is_of(&self, endpoint: &UnavailableEndpoint) -> bool {
        (&endpoint.client, &endpoint.server) == (&self.whose.client, &self.whose.server)
    }

    /// Waits for the turn of `connection`. A request that goes `regardless` of the breaker waits as well.
    ///
    /// # Errors
    /// The endpoint is down, and the next trial is not due or not this connection's.
    pub(crate) async fn enter(
        &self,
        connection: &ConnectionName,
        regardless: bool,
    ) -> Result<RequestPermit<'_>, Unavailable> {
        let waiting = self.queue(connection);
        loop {
            let changed = self.changed.notified();
            let pause = match waiting.admit(connection, regardless) {
                Admission::Now(request) => return Ok(RequestPermit::new(self, request)),
                Admission::Unavailable(outage) => {
                    let last_failure = self.inner.lock().last_failure.clone();
                    return Err(self.unavailable(outage, last_failure));
                }
                Admission::Later(pause) => pause.unwrap_or(LONGEST_LOOK).min(LONGEST_LOOK),
            };
            // Either way it looks again.
            let _ = timeout(pause, changed).await;
        }
    }

    fn queue(&self, connection: &ConnectionName) -> Waiting<'_> {
        let mut inner = self.inner.lock();
        inner.tickets += 1;
        let place = (inner.breaker.is_down(connection), inner.tickets);
        inner.queue.insert(place);
        Waiting { limiter: self, place }
    }

    fn unavailable(&self, outage: Outage, last_failure: EndpointFailure) -> Unavailable {
        let (uptime, now) = (self.clock.uptime(), self.clock.now());
        let retry_after = outage.next_trial.saturating_sub(uptime).max(Duration::from_millis(1));
        let ClientAtServer { client, server } = self.whose.clone();
        let (since, next_trial) = (now - uptime.saturating_sub(outage.since), now + retry_after);
        let endpoint = UnavailableEndpoint { client, server, since, next_trial, last_failure };
        Unavailable { endpoint, retry_after }
    }

    /// Whether the endpoint is down.
    pub(crate) fn outage(&self) -> Option<Unavailable> {
        let inner = self.inner.lock();
        let (outage, last_failure) = (inner.breaker.outage()?, inner.last_failure.clone());
        drop(inner);
        Some(self.unavailable(outage, last_failure))
    }

    /// Whether a request of `connection` is worth the preparation now.
    pub(crate) fn may_start(&self, connection: &ConnectionName) -> bool {
        self.inner.lock().breaker.may_start(connection, self.clock.uptime())
    }

    /// Whether `connection` may send again though its own pauses are not over, because the endpoint is tried or came back.
    pub(crate) fn may_retry_early(&self, connection: &ConnectionName) -> bool {
        self.inner.lock().breaker.may_retry_early(connection, self.clock.uptime())
    }

    /// The same for a cool-down whose code is `code`.
    pub(crate) fn may_skip_cooldown(&self, connection: &ConnectionName, code: Option<&str>) -> bool {
        self.inner.lock().breaker.may_skip_cooldown(connection, code, self.clock.uptime())
    }

    /// Whether no request of this process has been answered yet.
    pub(crate) fn is_untried(&self) -> bool {
        self.inner.lock().breaker.is_untried()
    }

    /// The connections whose last request got no answer.
    pub(crate) fn down(&self) -> Vec<ConnectionName> {
        self.inner.lock().breaker.down().cloned().collect()
    }

    /// Whether the last request of `connection` got no answer.
    pub(crate) fn is_down(&self, connection: &ConnectionName) -> bool {
        self.inner.lock().breaker.is_down(connection)
    }

    /// How many refreshes are worth the preparation at once, and how many of them by connections that are down.
    pub(crate) fn concurrency(&self) -> (usize, usize) {
        let all = self.inner.lock().breaker.concurrency();
        (all, (all / 2).max(1))
    }

    /// How soon another look is worth while once a trial is due that nobody can make yet.
    pub(crate) fn step(&self) -> Duration {
        self.inner.lock().breaker.step()
    }

    /// How often what failed was given a new chance, see [`Breaker::returns`].
    pub(crate) fn returns(&self) -> u64 {
        self.inner.lock().breaker.returns()
    }

    fn log(&self, change: BreakerChange, last_failure: EndpointFailure) {
        let (client, server) = (self.whose.client.as_deref().unwrap_or_default(), &self.whose.server);
        match change {
            BreakerChange::None => {}
            BreakerChange::Opened(outage) => {
                let Unavailable { endpoint, retry_after } = self.unavailable(outage, last_failure);
                let UnavailableEndpoint { since, next_trial, last_failure, .. } = endpoint;
                let EndpointFailure { code, http_status, message, provider_message } = last_failure;
                let (status, provider_message) =
                    (http_status.unwrap_or_default(), provider_message.as_deref());
                let retry_after_s = retry_after.as_secs_f32();
                tracing::warn!(
                    client, server, %since, %next_trial, retry_after_s, code, status, reason = message, provider_message,
                    "the token endpoint is unavailable: several requests in a row got no answer; one at a time tries it until \
                     it answers, and nobody needs to do anything"
                );
            }
            BreakerChange::Closed { since } => {
                let down_for = self.clock.uptime().saturating_sub(since);
                let (since, down_for_s) = (self.clock.now() - down_for, down_for.as_secs());
                tracing::info!(client, server, %since, down_for_s, "the token endpoint answers again");
            }
        }
    }
}

/// A place in the queue, which is given up when it is dropped.
struct Waiting<'a> {
    limiter: &'a EndpointLimiter,
    place: (bool, u64),
}

impl Waiting<'_> {
    fn admit(&self, connection: &ConnectionName, regardless: bool) -> Admission {
        let limiter = self.limiter;
        let mut inner = limiter.inner.lock();
        let Inner { breaker, queue, .. } = &mut *inner;
        // While the endpoint is down nobody queues: what cannot be sent is told at once.
        if queue.first() != Some(&self.place) && breaker.outage().is_none() {
            return Admission::Later(None);
        }
        breaker.admit(connection, regardless, limiter.clock.uptime())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limiter.inner.lock().queue.remove(&self.place);
        self.limiter.changed.notify_waiters();
    }
}

/// Leave to send one request to a token endpoint.
#[derive(Debug)]
pub(crate) struct RequestPermit<'a> {
    limiter: &'a EndpointLimiter,
    /// Absent once the request has ended.
    request: Option<RunningRequest>,
    doubtful: bool,
    holds_slot: bool,
}

impl<'a> RequestPermit<'a> {
    fn new(limiter: &'a EndpointLimiter, request: RunningRequest) -> Self {
        Self { limiter, doubtful: request.is_doubtful(), request: Some(request), holds_slot: false }
    }

    /// Whether nobody should count on an answer.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// How many spill slots the requests of this limiter hold. Whoever takes one for this request adds it.
    pub(crate) fn slots_held(&self) -> &'a AtomicUsize {
        &self.limiter.slots
    }

    /// A spill slot was taken for this request, until the permit is dropped.
    pub(crate) fn note_slot(&mut self) {
        self.holds_slot = true;
    }

    /// The request has ended. What it held of the endpoint's concurrency is free from now on. `failure` says why there is no
    /// token set, where that is so.
    pub(crate) fn end(&mut self, result: RequestResult<'_>, failure: Option<EndpointFailure>) {
        let Some(request) = self.request.take() else { return };
        let mut inner = self.limiter.inner.lock();
        if result.verdict == EndpointVerdict::Down {
            inner.last_failure = failure.unwrap_or_default();
        }
        let change = inner.breaker.end(request, result, self.limiter.clock.uptime());
        let last_failure = inner.last_failure.clone();
        drop(inner);
        self.limiter.log(change, last_failure);
        self.limiter.changed.notify_waiters();
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        if self.holds_slot {
            self.limiter.slots.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(request) = self.request.take() {
            self.limiter.inner.lock().breaker.give_back(&request, self.limiter.clock.uptime());
            self.limiter.changed.notify_waiters();
        }
    }
}
