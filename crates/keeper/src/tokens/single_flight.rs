//! Single flight: within one process, at most one refresh of a connection is under way, and all who need it wait for
//! the same one.

use std::collections::HashMap;
use std::sync::Arc;

use jeton_core::id::ConnectionName;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::TokenError;

/// How a shared task ended. Whoever waited reads the connection again.
pub(crate) type TaskOutcome = Result<(), TokenError>;

/// What is under way, by connection.
#[derive(Debug, Default)]
pub(crate) struct SingleFlight(Mutex<HashMap<ConnectionName, watch::Receiver<Option<TaskOutcome>>>>);

/// Runs the shared task, and tells the followers how it ended: when it finishes, and when it is dropped without.
#[derive(Debug)]
pub(crate) struct Leader {
    in_progress: Arc<SingleFlight>,
    name: ConnectionName,
    outcome: watch::Sender<Option<TaskOutcome>>,
}

/// What joining gives.
#[derive(Debug)]
pub(crate) enum Join {
    /// Nothing is under way: run it, and let others wait for it.
    Leader(Leader, Follower),
    /// It is under way.
    Follower(Follower),
}

/// Waits for the shared task.
#[derive(Debug)]
pub(crate) struct Follower(watch::Receiver<Option<TaskOutcome>>);

impl SingleFlight {
    /// Joins the task of a connection that is under way, or leads one.
    pub(crate) fn join(self: &Arc<Self>, name: &ConnectionName) -> Join {
        let mut in_progress = self.0.lock();
        if let Some(outcome) = in_progress.get(name) {
            return Join::Follower(Follower(outcome.clone()));
        }
        let (outcome, wait) = watch::channel(None);
        in_progress.insert(name.clone(), wait.clone());
        Join::Leader(Leader { in_progress: Arc::clone(self), name: name.clone(), outcome }, Follower(wait))
    }
}

impl Leader {
    /// Ends the task. It is removed first, so that nobody who is told joins it again.
    pub(crate) fn finish(self, outcome: TaskOutcome) {
        self.remove();
        self.outcome.send_replace(Some(outcome));
    }

    fn remove(&self) {
        let mut in_progress = self.in_progress.0.lock();
        if in_progress.get(&self.name).is_some_and(|wait| wait.same_channel(&self.outcome.subscribe())) {
            in_progress.remove(&self.name);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Follower {
    /// Waits until the task has ended; `None` when it died without an outcome.
    pub(crate) async fn outcome(mut self) -> Option<TaskOutcome> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_joins_gets_the_one_outcome() {
        let in_progress = Arc::new(SingleFlight::default());
        let name: ConnectionName = "acme".parse().unwrap();
        let Join::Leader(leader, first) = in_progress.join(&name) else { panic!("the first one leads") };
        let Join::Follower(second) = in_progress.join(&name) else { panic!("the second one waits") };
        leader.finish(Err(TokenError::OnHold(crate::memory::high_water::Hold::Copied)));
        assert_eq!(
            first.outcome().await,
            Some(Err(TokenError::OnHold(crate::memory::high_water::Hold::Copied)))
        );
        assert_eq!(
            second.outcome().await,
            Some(Err(TokenError::OnHold(crate::memory::high_water::Hold::Copied)))
        );
        assert!(matches!(in_progress.join(&name), Join::Leader(..)));
    }

    #[tokio::test]
    async fn a_leader_that_dies_wakes_everybody_and_leaves_nothing_under_way() {
        let in_progress = Arc::new(SingleFlight::default());
        let name: ConnectionName = "acme".parse().unwrap();
        let Join::Leader(leader, follower) = in_progress.join(&name) else { panic!("the first one leads") };
        drop(leader);
        assert_eq!(follower.outcome().await, None);
        assert!(matches!(in_progress.join(&name), Join::Leader(..)));
    }
}
