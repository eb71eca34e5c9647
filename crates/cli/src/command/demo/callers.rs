//! Callers: they ask the server for tokens all the time, and try at the provider's API what they are given.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_core::time::{Clock, Timestamp};
use jeton_emulator::SeededEntropy;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http::{HttpClient, HttpReply};
use super::scenarios::DemoConnection;

/// How many callers each connection has.
const EACH: u64 = 2;

/// How long a caller rests between two requests, in milliseconds.
const REST: (u64, u64) = (40, 160);

/// How long a caller rests that was told why there is no token.
const LONG_REST: Duration = Duration::from_millis(500);

/// What became of the calls for one connection.
#[derive(Debug, Default)]
pub(super) struct CallCounters {
    served: AtomicU64,
    told: AtomicU64,
    errors: AtomicU64,
    dead: AtomicU64,
    revoked: AtomicU64,
    trouble: OnceLock<String>,
}

/// The same as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CallCounts {
    /// They were given a token, and the API took it.
    pub(super) served: u64,
    /// They were told why there is no token, of a connection that could give none.
    pub(super) told: u64,
    /// They were given no token though the connection could give one.
    pub(super) errors: u64,
    /// They were given a token that was said to live and did not.
    pub(super) dead: u64,
    /// They were given a token whose grant had been revoked a moment ago: nobody can know before trying.
    pub(super) revoked: u64,
    /// The first error or dead token, in words.
    pub(super) trouble: Option<String>,
}

impl CallCounts {
    /// Both together.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            served: self.served + other.served,
            told: self.told + other.told,
            errors: self.errors + other.errors,
            dead: self.dead + other.dead,
            revoked: self.revoked + other.revoked,
            trouble: self.trouble.or(other.trouble),
        }
    }
}

impl CallCounters {
    /// The numbers now.
    pub(super) fn calls(&self) -> CallCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CallCounts {
            served: read(&self.served),
            told: read(&self.told),
            errors: read(&self.errors),
            dead: read(&self.dead),
            revoked: read(&self.revoked),
            trouble: self.trouble.get().cloned(),
        }
    }

    fn count(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts trouble, and keeps the words of the first.
    fn trouble(&self, count: &AtomicU64, words: impl FnOnce() -> String) {
        Self::count(count);
        self.trouble.get_or_init(words);
    }
}

/// Callers at work.
pub(super) struct Callers {
    tasks: TaskTracker,
    stop: CancellationToken,
    tallies: Vec<Arc<CallCounters>>,
}

/// Where callers ask.
#[derive(Clone, Debug)]
pub(super) struct CallTarget {
    pub(super) address: SocketAddr,
    pub(super) api_key: Secret,
    pub(super) clock: Arc<dyn Clock>,
}

impl Callers {
    /// Sends out the callers of every connection. When they rest follows from `seed`.
    pub(super) fn start(connections: &[Arc<DemoConnection>], target: &CallTarget, seed: u64) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let tallies: Vec<Arc<CallCounters>> = connections.iter().map(|_| Arc::default()).collect();
        for (number, (connection, counters)) in (0..).zip(connections.iter().zip(&tallies)) {
            for caller in 0..EACH {
                let mut caller = Caller {
                    random: SeededEntropy::new(!seed.wrapping_add(number * EACH + caller)),
                    server: HttpClient::new(target.address, tasks.clone()),
                    api: HttpClient::new(connection.emulator.address(), tasks.clone()),
                    target: target.clone(),
                    connection: Arc::clone(connection),
                    counters: Arc::clone(counters),
                };
                let stop = stop.clone();
                tasks.spawn(async move { stop.run_until_cancelled(caller.ask_on()).await });
            }
        }
        Self { tasks, stop, tallies }
    }

    /// What became of the calls, in the order of the connections.
    pub(super) fn calls(&self) -> Vec<CallCounts> {
        self.tallies.iter().map(|counters| counters.calls()).collect()
    }

    /// Stops them. What one of them waited for is not counted.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Caller {
    random: SeededEntropy,
    server: HttpClient,
    api: HttpClient,
    target: CallTarget,
    connection: Arc<DemoConnection>,
    counters: Arc<CallCounters>,
}

/// A token as the target gives it.
#[derive(Deserialize)]
struct GivenToken {
    access_token: Secret,
    expires_at: Option<Timestamp>,
    generation: u64,
    fingerprint: String,
}

impl Caller {
    async fn ask_on(&mut self) {
        loop {
            let rest = match self.ask().await {
                Some(given) if self.try_out(&given).await => self.random.between(REST.0, REST.1),
                _ => u64::try_from(LONG_REST.as_millis()).unwrap_or(REST.1),
            };
            sleep(Duration::from_millis(rest)).await;
        }
    }

    fn path(&self, end: &str) -> String {
        format!("/api/v1/connections/{}/token{end}", self.connection.name)
    }

    /// Asks for a token.
    async fn ask(&mut self) -> Option<GivenToken> {
        let path = self.path("");
        let reply = self.server.get(&path, ("x-api-key", self.target.api_key.reveal())).await;
        self.read(reply)
    }

    fn read(&self, reply: Result<HttpReply, String>) -> Option<GivenToken> {
        let problem = match reply {
            Ok(HttpReply { status: 200, body }) => match serde_json::from_slice(&body) {
                Ok(given) => return Some(given),
                Err(error) => format!("an answer that is no token ({error})"),
            },
            Ok(HttpReply { status, body }) => {
                let said: Value = serde_json::from_slice(&body).unwrap_or_default();
                let detail = said["detail"].as_str().unwrap_or("no reason was given");
                format!("{status}: {detail}")
            }
            Err(error) => error,
        };
        if self.connection.could_give() {
            self.counters.trouble(&self.counters.errors, || format!("{}: {problem}", self.connection.name));
        } else {
            CallCounters::count(&self.counters.told);
        }
        None
    }

    /// Calls the API with the token; answers whether the API took it. One that it refuses is reported, as good callers do.
    async fn try_out(&mut self, given: &GivenToken) -> bool {
        let bearer = format!("Bearer {}", given.access_token.reveal());
        let refused = match self.api.get("/api/things", ("authorization", &bearer)).await {
            Ok(HttpReply { status: 401, .. }) => true,
            Ok(_) => {
                CallCounters::count(&self.counters.served);
                return true;
            }
            Err(error) => {
                let words = || format!("{}: the API did not answer ({error})", self.connection.name);
                self.counters.trouble(&self.counters.errors, words);
                false
            }
        };
        if refused {
            self.judge(given);
            self.report(given).await;
        }
        false
    }

    fn judge(&self, given: &GivenToken) {
        let now = self.target.clock.now();
        let was_revoked = !self.connection.could_give();
        if was_revoked && self.connection.emulator.died_with_grant(given.access_token.reveal()) {
            CallCounters::count(&self.counters.revoked);
        } else if given.expires_at.is_none_or(|expiry| now < expiry) {
            let GivenToken { generation, fingerprint, .. } = given;
            let name = &self.connection.name;
            let words = || format!("{name}: the token {fingerprint} of generation {generation} was dead");
            self.counters.trouble(&self.counters.dead, words);
        }
    }

    /// Says that the token was refused. Whatever comes of it, the next round asks for a token again.
    async fn report(&mut self, given: &GivenToken) {
        let body = json!({ "fingerprint": given.fingerprint }).to_string();
        let path = self.path("/reject");
        let reply = self.server.post(&path, ("x-api-key", self.target.api_key.reveal()), body).await;
        if !matches!(reply, Ok(HttpReply { status: 200, .. })) {
            self.read(reply);
        }
    }
}
