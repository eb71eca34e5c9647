//! Calls that wait to be written, and who may go together: several batches are under way at once, never two of them over one
//! connection. Calls over a row that somebody else holds go alone, so that they delay nobody but themselves.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use jeton_core::id::{AttemptId, ConnectionName, OperationId};
use jeton_core::keep::ports::StoreError;
use jeton_core::seal::Fingerprint;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::batch::Served;
use super::batch_tx::BatchTx;
use super::errors::PostgresError;
use super::{PostgresShared, batch};

/// The most calls that one COMMIT serves.
const MAX_BATCH: usize = 64;

/// What a call works on: what is locked and loaded for it.
#[derive(Clone, Debug)]
pub(super) struct Needs {
    pub(super) connection: ConnectionName,
    pub(super) attempt: Option<AttemptId>,
    pub(super) operation: Option<OperationId>,
    /// It puts a grant in: such calls wait for each other, in all processes, so that two connections never take one refresh
    /// token at the same time.
    pub(super) connects: bool,
    /// The single-use refresh token that it brings.
    pub(super) brings: Option<Fingerprint>,
}

impl Needs {
    pub(super) fn of(connection: &ConnectionName) -> Self {
        Self { connection: connection.clone(), attempt: None, operation: None, connects: false, brings: None }
    }
}

/// One waiting call.
pub(super) trait WriteCall: Send {
    /// What it works on.
    fn needs(&self) -> &Needs;
    /// Does the work and keeps the result. It may be run again, on another tx.
    fn run(&mut self, tx: &BatchTx) -> Result<(), PostgresError>;
    /// Sends the answer.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A call with its result and whoever waits for it.
pub(super) struct QueuedCall<T, F> {
    needs: Needs,
    work: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> QueuedCall<T, F> {
    pub(super) fn new(needs: Needs, work: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { needs, work, result: None, reply }
    }
}

impl<T, F> WriteCall for QueuedCall<T, F>
where
    T: Send,
    F: FnMut(&BatchTx) -> Result<T, PostgresError> + Send,
{
    fn needs(&self) -> &Needs {
        &self.needs
    }

    fn run(&mut self, tx: &BatchTx) -> Result<(), PostgresError> {
        // A panic is a fault of ours in one call; the other callers of the batch have nothing to do with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.work)(tx))).unwrap_or_else(|_| {
            let text = "a call of the store broke off, which is a fault of jeton; the log has the place";
            Err(StoreError::Refused(text.into()).into())
        });
        self.result = Some(outcome?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        let unanswered = || StoreError::Unavailable("the call was not run".into());
        let answer = outcome.and_then(|()| result.ok_or_else(unanswered));
        // Nobody waits any more: what was done stays done, and its id tells whoever asks again.
        drop(reply.send(answer));
    }
}

/// Calls in the order in which they came, and what is under way.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Box<dyn WriteCall>>,
    busy: HashSet<ConnectionName>,
    /// Whose calls go alone, because a batch that they were in has failed for one call's sake.
    alone: HashSet<ConnectionName>,
    running: usize,
}

impl Queue {
    fn locked(&self) -> std::sync::MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch, if a writer is free and a call may go.
    fn take(&self, writers: usize) -> Option<Vec<Box<dyn WriteCall>>> {
        let mut state = self.locked();
        if state.running >= writers {
            return None;
        }
        let calls = state.next_batch();
        if calls.is_empty() {
            return None;
        }
        state.running += 1;
        Some(calls)
    }
}

/// A batch under way. Dropped, however the batch ended, it makes room for others.
struct RunningBatch {
    shared: Arc<PostgresShared>,
    names: HashSet<ConnectionName>,
}

impl RunningBatch {
    fn note(&self, served: Served) {
        let mut state = self.shared.queue.locked();
        match served {
            Served::All => state.alone.retain(|name| !self.names.contains(name)),
            Served::Locked => state.alone.extend(self.names.iter().cloned()),
            Served::Split(calls) => {
                state.alone.extend(self.names.iter().cloned());
                // Before whatever came later for the same connections.
                calls.into_iter().rev().for_each(|call| state.waiting.push_front(call));
            }
        }
    }
}

impl Drop for RunningBatch {
    fn drop(&mut self) {
        {
            let mut state = self.shared.queue.locked();
            state.running -= 1;
            state.busy.retain(|name| !self.names.contains(name));
        }
        // Without a runtime nobody waits for an answer any more.
        if Handle::try_current().is_ok() {
            begin(&self.shared);
        }
    }
}

/// Puts a call into the queue and begins it when nothing stands in its way.
pub(super) fn order(shared: &Arc<PostgresShared>, call: Box<dyn WriteCall>) -> Result<(), StoreError> {
    {
        let mut state = shared.queue.locked();
        if state.waiting.len() >= shared.most_waiting {
            return Err(StoreError::Unavailable("too many calls wait to write to it: try again".into()));
        }
        state.waiting.push_back(call);
    }
    begin(shared);
    Ok(())
}

/// Begins as many batches as there are writers free and calls that may go.
fn begin(shared: &Arc<PostgresShared>) {
    while let Some(calls) = shared.queue.take(shared.writers) {
        let names = calls.iter().map(|call| call.needs().connection.clone()).collect();
        let underway = RunningBatch { shared: Arc::clone(shared), names };
        shared.tasks.spawn(async move {
            underway.note(batch::serve(&underway.shared, calls).await);
        });
    }
}

impl QueueState {
    /// The calls that may go now, oldest first. The calls of one connection keep their order, and those that put a grant in
    /// go with their like alone: what they ask about other connections is asked before they run. One that is to go alone
    /// does when it is the first.
    fn next_batch(&mut self) -> Vec<Box<dyn WriteCall>> {
        let mut calls: Vec<Box<dyn WriteCall>> = Vec::new();
        let mut rest = VecDeque::new();
        let mut skipped: BTreeSet<ConnectionName> = BTreeSet::new();
        let mut split = false;
        for call in self.waiting.drain(..) {
            let needs = call.needs();
            let alike = calls.first().is_none_or(|first| first.needs().connects == needs.connects);
            let free = !self.busy.contains(&needs.connection) && !skipped.contains(&needs.connection);
            let full = calls.len() >= if split { 1 } else { MAX_BATCH };
            let joins = calls.is_empty() || !self.alone.contains(&needs.connection);
            if !full && alike && free && joins {
                split |= self.alone.contains(&needs.connection);
                calls.push(call);
            } else {
                skipped.insert(needs.connection.clone());
                rest.push_back(call);
            }
        }
        self.waiting = rest;
        self.busy.extend(calls.iter().map(|call| call.needs().connection.clone()));
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(name: &str, connects: bool) -> Box<dyn WriteCall> {
        let needs = Needs { connects, ..Needs::of(&name.parse().unwrap()) };
        Box::new(QueuedCall::new(needs, |_: &BatchTx| Ok(()), oneshot::channel().0))
    }

    fn names(calls: &[Box<dyn WriteCall>]) -> Vec<&str> {
        calls.iter().map(|call| call.needs().connection.as_str()).collect()
    }

    #[test]
    fn calls_of_one_connection_keep_their_order_and_never_run_side_by_side() {
        let mut state = QueueState::default();
        state.waiting.extend([
            waiting("a", false),
            waiting("b", true),
            waiting("a", false),
            waiting("b", false),
        ]);
        assert_eq!(names(&state.next_batch()), ["a", "a"], "b must wait for its connect");
        state.waiting.push_back(waiting("a", true));
        assert_eq!(names(&state.next_batch()), ["b"], "a is under way");
        assert!(state.next_batch().is_empty());
        state.busy.clear();
        assert_eq!(names(&state.next_batch()), ["b"]);
        assert_eq!(names(&state.next_batch()), ["a"]);
    }

    #[test]
    fn what_is_to_go_alone_goes_alone_and_in_its_order() {
        let mut state = QueueState::default();
        state.alone.insert("b".parse().unwrap());
        state.waiting.extend(["a", "b", "c", "b"].map(|name| waiting(name, false)));
        assert_eq!(names(&state.next_batch()), ["a", "c"]);
        assert_eq!(names(&state.next_batch()), ["b"]);
        assert!(state.next_batch().is_empty(), "b is under way");
        state.busy.clear();
        assert_eq!(names(&state.next_batch()), ["b"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut state = QueueState::default();
        state.waiting.extend((0..100).map(|number| waiting(&format!("c{number}"), false)));
        assert_eq!((state.next_batch().len(), state.next_batch().len()), (MAX_BATCH, 100 - MAX_BATCH));
    }
}
