//! The one state of a running emulator: grants, behaviour, records and counts, behind one lock that is never held across I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jeton_core::entropy::unit_fraction;
use jeton_core::time::{Clock, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::behaviour::{Behaviour, Fault};
use crate::grants::{Grants, Redeemed};
use crate::random::SeededEntropy;
use crate::record::{RequestOutcome, RequestRecord, Stats, short_hash};
use crate::settings::Settings;

/// Shared by all connections of one emulator.
pub(crate) struct SharedState {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    /// Told whenever an exchange is over.
    pub(crate) finished: Notify,
}

pub(crate) struct State {
    pub(crate) grants: Grants,
    pub(crate) behaviour: Behaviour,
    pub(crate) stats: Stats,
    faults: SeededEntropy,
    records: VecDeque<RequestRecord>,
    max_records: usize,
    /// By the text of the refresh token: the requests that present it now and whose client is still there.
    under_way: HashMap<String, Vec<u64>>,
}

impl SharedState {
    pub(crate) fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            grants: Grants::new(settings.clone()),
            behaviour: Behaviour::faultless(),
            stats: Stats::default(),
            // Apart from the tokens' stream, so that minting more grants does not change the faults.
            faults: SeededEntropy::new(!settings.seed),
            records: VecDeque::new(),
            max_records: settings.max_records.max(1),
            under_way: HashMap::new(),
        };
        Self { state: Mutex::new(state), clock, finished: Notify::new() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The state. The lock is never held across I/O.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Begins the record of a request that has been read.
    pub(crate) fn open(&self, presented: Option<&str>) -> (u64, Fault) {
        let at = self.now();
        let mut state = self.lock();
        let draw = unit_fraction(&state.faults);
        let fault = state.behaviour.draw(draw);
        state.stats.requests += 1;
        state.stats.in_flight += 1;
        let sequence = state.stats.requests;
        let rivals = presented.map(|token| state.enter(token, sequence)).unwrap_or_default();
        state.stats.overlaps += u64::from(!rivals.is_empty());
        for rival in &rivals {
            state.amend(*rival, |record| record.overlapping = true);
        }
        let grant = presented.and_then(|token| state.grants.grant_of(token));
        state.push(RequestRecord {
            sequence,
            at,
            presented: presented.map(short_hash),
            grant,
            generation: None,
            outcome: RequestOutcome::Undecided,
            note: None,
            fault: fault.kind,
            accepted: false,
            accepted_at: None,
            reply_written: false,
            overlapping: !rivals.is_empty(),
            client_left_at: None,
            finished_at: None,
        });
        (sequence, fault)
    }

    /// Presents a refresh token and writes down what became of it, in one step.
    pub(crate) fn redeem(&self, sequence: u64, presented: &str) -> Redeemed {
        let now = self.now();
        let mut state = self.lock();
        let redeemed = state.grants.redeem(presented, now);
        state.decide(sequence, redeemed.outcome, now);
        state.amend(sequence, |record| {
            record.grant = redeemed.grant;
            record.generation = redeemed.generation;
        });
        redeemed
    }

    /// Writes down what was decided where no refresh token was looked at.
    pub(crate) fn decide(&self, sequence: u64, outcome: RequestOutcome) {
        let now = self.now();
        self.lock().decide(sequence, outcome, now);
    }

    /// Writes down that a request was not what the provider asks for, and what was wrong with it.
    pub(crate) fn refuse(&self, sequence: u64, outcome: RequestOutcome, note: String) {
        self.decide(sequence, outcome);
        self.lock().amend(sequence, |record| record.note = Some(note));
    }

    /// The client closed its connection before the answer: from now on it no longer counts as a rival.
    pub(crate) fn client_left(&self, sequence: u64, presented: Option<&str>) {
        let now = self.now();
        let mut state = self.lock();
        state.amend(sequence, |record| record.client_left_at = Some(now));
        if let Some(token) = presented {
            state.leave(token, sequence);
        }
    }

    /// Ends the record. Only the first call counts.
    pub(crate) fn finish(&self, sequence: u64, presented: Option<&str>, reply_written: bool) {
        let now = self.now();
        let mut state = self.lock();
        let mut lost = None;
        state.amend(sequence, |record| {
            if record.finished_at.is_none() {
                record.finished_at = Some(now);
                record.reply_written = reply_written;
                lost = Some(record.is_lost());
            }
        });
        let Some(lost) = lost else { return };
        state.stats.in_flight -= 1;
        state.stats.lost += u64::from(lost);
        state.stats.replies_written += u64::from(reply_written);
        if let Some(token) = presented {
            state.leave(token, sequence);
        }
        drop(state);
        self.finished.notify_waiters();
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        self.lock().records.iter().cloned().collect()
    }
}

impl State {
    /// Joins the requests that present `token` now; answers those that were there before.
    fn enter(&mut self, token: &str, sequence: u64) -> Vec<u64> {
        let present = self.under_way.entry(token.to_owned()).or_default();
        let rivals = present.clone();
        present.push(sequence);
        rivals
    }

    fn leave(&mut self, token: &str, sequence: u64) {
        if let Some(present) = self.under_way.get_mut(token) {
            present.retain(|other| *other != sequence);
            if present.is_empty() {
                self.under_way.remove(token);
            }
        }
    }

    /// Keeps a record. One whose exchange is not over is never dropped: its end would not be counted.
    fn push(&mut self, record: RequestRecord) {
        while self.records.len() >= self.max_records
            && self.records.front().is_some_and(|oldest| oldest.finished_at.is_some())
        {
            self.records.pop_front();
            self.stats.records_dropped += 1;
        }
        self.records.push_back(record);
    }

    /// Changes a record, if it is still kept. Records lie in the order of their sequence without gaps.
    fn amend(&mut self, sequence: u64, change: impl FnOnce(&mut RequestRecord)) {
        let first = self.records.front().map_or(0, |record| record.sequence);
        let place = sequence.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(record) = place.and_then(|place| self.records.get_mut(place)) {
            change(record);
        }
    }

    fn decide(&mut self, sequence: u64, outcome: RequestOutcome, now: Timestamp) {
        let accepted = outcome.is_accepted();
        self.amend(sequence, |record| {
            record.outcome = outcome;
            record.accepted = accepted;
            record.accepted_at = accepted.then_some(now);
        });
        let stats = &mut self.stats;
        stats.accepted += u64::from(accepted);
        match outcome {
            RequestOutcome::Rotated => stats.rotations += 1,
            RequestOutcome::Replayed => stats.replays += 1,
            RequestOutcome::Reuse => {
                stats.reuse_kills += 1;
                stats.invalid_grant += 1;
            }
            RequestOutcome::UnknownToken | RequestOutcome::ExpiredToken | RequestOutcome::DeadGrant => {
                stats.invalid_grant += 1;
            }
            RequestOutcome::BadClient => stats.invalid_client += 1,
            RequestOutcome::Issued
            | RequestOutcome::BadRequest
            | RequestOutcome::NotAccepted
            | RequestOutcome::Undecided => {}
        }
    }
}
