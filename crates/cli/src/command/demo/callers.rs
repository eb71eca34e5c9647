//! Callers: they request tokens from the server all the time, and try each at the provider's API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_core::time::{Clock as _, SystemClock, Timestamp};
use jeton_emulator::SeededEntropy;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::providers::{CallCounts, DemoConnection};
use crate::http::{HttpClient, HttpReply};

/// How many callers each connection has.
const CALLERS_EACH: u64 = 2;

/// The pause of a caller between two requests, in milliseconds.
const PAUSE: (u64, u64) = (40, 160);

/// The pause of a caller that got no token.
const LONG_PAUSE: Duration = Duration::from_millis(500);

/// Longer than the server keeps a caller waiting.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(45);

/// Starts the callers of every connection, which request tokens at `server`. Their pauses follow from `seed`. A request under
/// way when they stop is not counted.
pub(super) fn start(
    connections: &[Arc<DemoConnection>],
    server: SocketAddr,
    api_key: &Secret,
    seed: u64,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let client = HttpClient::new(REQUEST_TIMEOUT);
    let each = connections.iter().flat_map(|connection| (0..CALLERS_EACH).map(move |_| connection));
    for (number, connection) in (0..).zip(each) {
        let caller = Caller {
            random: SeededEntropy::new(!seed.wrapping_add(number)),
            client: client.clone(),
            server,
            api_key: api_key.clone(),
            connection: Arc::clone(connection),
        };
        let stop = stop.clone();
        tasks.spawn(async move { stop.run_until_cancelled(caller.run()).await });
    }
}

struct Caller {
    random: SeededEntropy,
    client: HttpClient,
    server: SocketAddr,
    api_key: Secret,
    connection: Arc<DemoConnection>,
}

/// A token as the API of jeton answers with it.
#[derive(Deserialize)]
struct ReceivedToken {
    access_token: Secret,
    expires_at: Option<Timestamp>,
    generation: u64,
    fingerprint: String,
}

impl Caller {
    async fn run(&self) {
        loop {
            let pause = match self.request_token().await {
                Some(token) if self.call_api(&token).await => {
                    Duration::from_millis(self.random.between(PAUSE.0, PAUSE.1))
                }
                _ => LONG_PAUSE,
            };
            sleep(pause).await;
        }
    }

    async fn request_token(&self) -> Option<ReceivedToken> {
        let key = [("x-api-key", self.api_key.reveal())];
        let reply = self.client.get(self.server, &self.path(""), &key).await;
        self.read_token(reply)
    }

    fn path(&self, end: &str) -> Secret {
        Secret::from(format!("/api/v1/connections/{}/token{end}", self.connection.scenario.name))
    }

    fn read_token(&self, reply: Result<HttpReply, String>) -> Option<ReceivedToken> {
        let problem = match reply {
            Ok(HttpReply { status: 200, body }) => match serde_json::from_slice(&body) {
                Ok(token) => return Some(token),
                Err(error) => format!("the reply is no token ({error})"),
            },
            Ok(HttpReply { status, body }) => format!("{status}: {}", String::from_utf8_lossy(&body)),
            Err(error) => error,
        };
        if self.connection.can_have_token() {
            self.count_problem(|counts| &mut counts.errors, &problem);
        } else {
            self.connection.calls.lock().refused += 1;
        }
        None
    }

    fn count_problem(&self, count: impl FnOnce(&mut CallCounts) -> &mut u64, problem: &str) {
        let mut counts = self.connection.calls.lock();
        *count(&mut counts) += 1;
        counts.first_problem.get_or_insert_with(|| format!("{}: {problem}", self.connection.scenario.name));
    }

    /// Calls the API with the token, and reports one that it rejects. Returns whether it was accepted.
    async fn call_api(&self, token: &ReceivedToken) -> bool {
        let bearer = format!("Bearer {}", token.access_token.reveal());
        let api = self.connection.emulator.address();
        match self.client.get(api, &"/api/things".into(), &[("authorization", &bearer)]).await {
            Ok(HttpReply { status: 401, .. }) => {
                self.count_rejected(token);
                self.report_rejected(token).await;
                false
            }
            Ok(_) => {
                self.connection.calls.lock().served += 1;
                true
            }
            Err(error) => {
                self.count_problem(|counts| &mut counts.errors, &format!("the API did not answer ({error})"));
                false
            }
        }
    }

    fn count_rejected(&self, token: &ReceivedToken) {
        let now = SystemClock.now();
        let was_revoked = !self.connection.can_have_token();
        if was_revoked && self.connection.emulator.died_with_grant(token.access_token.reveal()) {
            self.connection.calls.lock().revoked += 1;
        } else if token.expires_at.is_none_or(|expiry| now < expiry) {
            let ReceivedToken { generation, fingerprint, .. } = token;
            let problem = format!("the token {fingerprint} of generation {generation} was dead");
            self.count_problem(|counts| &mut counts.dead, &problem);
        }
    }

    /// Reports to jeton that the API rejected the token. The next round requests one again, whatever the answer is.
    async fn report_rejected(&self, token: &ReceivedToken) {
        let body = json!({ "fingerprint": token.fingerprint }).to_string();
        let key = [("x-api-key", self.api_key.reveal())];
        let reply = self.client.post(self.server, &self.path("/reject"), &key, body).await;
        self.read_token(reply);
    }
}
