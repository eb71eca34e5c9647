//! Callers that ask for tokens all the time, and check what they receive at the provider.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_emulator::{Emulator, SeededEntropy};
use jeton_testkit::{Client, Reply};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::figures::{SoakCalls, TokenState};
use crate::callers::{Callers, any};
use crate::token_reply::{TokenReply, error_code};

const CALLERS: u64 = 8;
const DEADLINE: Duration = Duration::from_secs(15);

/// Starts callers, each asking any process for any connection.
pub(super) fn start(
    seed: u64,
    names: &[String],
    clients: &[Client],
    emulator: &Arc<Emulator>,
) -> Callers<SoakCalls> {
    Callers::start(CALLERS, seed, |random, calls| {
        let clients = clients.iter().map(|client| client.clone().with_deadline(DEADLINE)).collect();
        let caller =
            SoakCaller { random, names: names.to_vec(), clients, emulator: Arc::clone(emulator), calls };
        async move { caller.call_on().await }
    })
}

struct SoakCaller {
    random: SeededEntropy,
    names: Vec<String>,
    clients: Vec<Client>,
    emulator: Arc<Emulator>,
    calls: Arc<Mutex<SoakCalls>>,
}

impl SoakCaller {
    async fn call_on(&self) {
        loop {
            let name = any(&self.random, &self.names);
            let asked_at = SystemClock.now();
            let client = any(&self.random, &self.clients);
            let reply = client.get(&format!("/api/v1/connections/{name}/token")).await;
            self.count(name, asked_at, reply.ok());
            sleep(Duration::from_millis(self.random.between(1, 40))).await;
        }
    }

    fn count(&self, name: &str, asked_at: Timestamp, reply: Option<Reply>) {
        let mut calls = self.calls.lock();
        let Some(reply) = reply else {
            calls.unanswered += 1;
            return;
        };
        match TokenReply::read(&reply) {
            Some(token) => {
                let state = self.state(token.access_token.reveal());
                calls.receive(name, &token, state, asked_at, SystemClock.now());
            }
            None => *calls.errors.entry(error_code(&reply)).or_default() += 1,
        }
    }

    fn state(&self, access_token: &str) -> TokenState {
        if self.emulator.accepts(access_token) {
            TokenState::Good
        } else if self.emulator.died_with_grant(access_token) {
            TokenState::Killed
        } else {
            TokenState::Dead
        }
    }
}
