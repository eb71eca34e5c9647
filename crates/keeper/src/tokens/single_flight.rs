//! Single flight: within one process, at most one refresh of a connection is under way, and all who need it wait for
//! the same one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jeton_core::id::ConnectionName;
use tokio::sync::watch;

use crate::error::TokenError;

/// How a task ended. Whoever waited looks at the connection again.
pub(crate) type TaskOutcome = Result<(), TokenError>;

/// What is under way, by connection.
#[derive(Debug, Default)]
pub(crate) struct SingleFlight(Mutex<HashMap<ConnectionName, watch::Receiver<Option<TaskOutcome>>>>);

/// The leader's end of a task: lands it when it is done, and when it is dropped without having said how it ended.
#[derive(Debug)]
pub(crate) struct Leader {
    in_progress: Arc<SingleFlight>,
    name: ConnectionName,
    outcome: watch::Sender<Option<TaskOutcome>>,
}

/// What joining gives.
#[derive(Debug)]
pub(crate) enum Join {
    /// Nobody was flying: fly, and let others wait here.
    Leader(Leader, Follower),
    /// A flight is under way.
    Follower(Follower),
}

/// Waits for a task.
#[derive(Debug)]
pub(crate) struct Follower(watch::Receiver<Option<TaskOutcome>>);

impl SingleFlight {
    /// Joins the flight of a connection, or begins one.
    pub(crate) fn join(self: &Arc<Self>, name: &ConnectionName) -> Join {
        let mut in_progress = self.0.lock().expect("no panic happens under this lock");
        if let Some(outcome) = in_progress.get(name) {
            return Join::Follower(Follower(outcome.clone()));
        }
        let (outcome, wait) = watch::channel(None);
        in_progress.insert(name.clone(), wait.clone());
        Join::Leader(Leader { in_progress: Arc::clone(self), name: name.clone(), outcome }, Follower(wait))
    }
}

impl Leader {
    /// Ends the flight. It is taken off the board first, so that whoever is told looks at a board without it.
    pub(crate) fn finish(self, outcome: TaskOutcome) {
        self.remove();
        self.outcome.send_replace(Some(outcome));
    }

    fn remove(&self) {
        if let Ok(mut in_progress) = self.in_progress.0.lock()
            && in_progress.get(&self.name).is_some_and(|wait| wait.same_channel(&self.outcome.subscribe()))
        {
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
    /// Waits until the flight has ended; `None` when its task died without an answer.
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
        let Join::Leader(leader, first) = in_progress.join(&name) else { panic!("the first one flies") };
        let Join::Follower(second) = in_progress.join(&name) else { panic!("the second one waits") };
        leader.finish(Err(TokenError::OnHold));
        assert_eq!(first.outcome().await, Some(Err(TokenError::OnHold)));
        assert_eq!(second.outcome().await, Some(Err(TokenError::OnHold)));
        assert!(matches!(in_progress.join(&name), Join::Leader(..)));
    }

    #[tokio::test]
    async fn a_flight_whose_task_dies_wakes_everybody_and_leaves_the_board_empty() {
        let in_progress = Arc::new(SingleFlight::default());
        let name: ConnectionName = "acme".parse().unwrap();
        let Join::Leader(leader, follower) = in_progress.join(&name) else { panic!("the first one flies") };
        drop(leader);
        assert_eq!(follower.outcome().await, None);
        assert!(matches!(in_progress.join(&name), Join::Leader(..)));
    }
}
