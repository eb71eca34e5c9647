//! Programs that ask for tokens all the time, during outages too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::time::{Clock, SystemClock};
use jeton_emulator::SeededEntropy;
use jeton_testkit::{Client, Reply};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::sleep;

use super::environment::Vendor;
use crate::callers::{Callers, any};
use crate::token_reply::{TokenReply, error_code};

const CALLERS: u64 = 4;

/// A server that counts in whole seconds ends a token up to a second before its expiry.
const WHOLE_SECONDS: Duration = Duration::from_secs(1);

/// What the callers were answered.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct OutageCalls {
    /// A token that its provider accepted.
    good: u64,
    /// A token of a grant that the provider has ended, because its reply was lost and its refresh token came again.
    ended: u64,
    /// Another token that its provider did not accept, though it was given without a warning and had not expired.
    dead: u64,
    /// No answer: the process had been killed.
    unanswered: u64,
    /// Errors by code.
    errors: BTreeMap<String, u64>,
    /// Connections whose callers were told that a person must consent again.
    #[serde(skip)]
    pub(super) told_to_consent: Vec<String>,
}

impl OutageCalls {
    /// What must not be.
    pub(super) fn findings(&self) -> Vec<String> {
        let dead = (self.dead > 0).then(|| format!("{} dead tokens were given to callers", self.dead));
        dead.into_iter().collect()
    }
}

/// The processes that callers ask; they change when one is killed.
pub(super) type Clients = Arc<Mutex<Vec<Client>>>;

/// Starts callers, each asking any process for any connection.
pub(super) fn start(seed: u64, vendors: &[Arc<Vendor>], clients: &Clients) -> Callers<OutageCalls> {
    Callers::start(CALLERS, seed, |random, calls| {
        let caller = OutageCaller { random, vendors: vendors.to_vec(), clients: Arc::clone(clients), calls };
        async move { caller.call_on().await }
    })
}

struct OutageCaller {
    random: SeededEntropy,
    vendors: Vec<Arc<Vendor>>,
    clients: Clients,
    calls: Arc<Mutex<OutageCalls>>,
}

impl OutageCaller {
    async fn call_on(&self) {
        loop {
            let vendor = any(&self.random, &self.vendors);
            let name = any(&self.random, &vendor.connections);
            let client = any(&self.random, &self.clients.lock()).clone();
            let asked_at = SystemClock.now();
            let reply = client.get(&format!("/api/v1/connections/{name}/token")).await.ok();
            let token = reply.as_ref().and_then(TokenReply::read);
            match token {
                Some(token) if token.was_past(asked_at) => self.calls.lock().dead += 1,
                Some(token) => {
                    // A provider that cannot be asked says nothing.
                    let accepted = vendor.accepts(token.access_token.reveal()).await.unwrap_or(true);
                    let lived = token.expires_at() > SystemClock.now() + WHOLE_SECONDS;
                    let lost = !accepted && vendor.proxy.journal().lost().contains(name);
                    let mut calls = self.calls.lock();
                    match (accepted, lived, lost) {
                        (true, ..) | (_, false, _) => calls.good += 1,
                        (.., true) => calls.ended += 1,
                        _ => calls.dead += 1,
                    }
                }
                None => self.count_error(name, reply.as_ref()),
            }
            sleep(Duration::from_millis(self.random.between(50, 200))).await;
        }
    }

    fn count_error(&self, name: &str, reply: Option<&Reply>) {
        let mut calls = self.calls.lock();
        let Some(reply) = reply else {
            calls.unanswered += 1;
            return;
        };
        let code = error_code(reply);
        if code == "REAUTHORIZATION_REQUIRED" {
            calls.told_to_consent.push(name.to_owned());
        }
        *calls.errors.entry(code).or_default() += 1;
    }
}
