//! What this process knows of the changes of the store, and which of them its follower has not got.
//!
//! Revisions come from a sequence when a row is written, and commits may pass each other: a row may become visible under a
//! lower revision than one that was handed in before. So what the follower asks for, everything above a revision, is not
//! enough. Three ways lead a late row to it:
//!
//! * Every commit of this process, and every NOTIFY of another, names its rows with their revisions ([`Feed::told`]).
//! * Every two seconds a pass ([`Feed::passed`]) looks at all rows above a floor: the highest revision that was visible
//!   longer ago than any transaction may last. Whoever got a lower one has committed it by then. Only time in which passes
//!   succeeded counts: a server that was frozen, or out of reach, may have transactions that were frozen with it.
//! * After each loss of the listening connection a pass is made at once.
//!
//! What was handed in is remembered down to the floor, so that nothing is handed in for each pass again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::Revision;
use jeton_core::keep::ports::{ListedConnection, revision_of};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::batch::Changed;

/// Longer than any transaction of ours may last: after it has its revision it sends a dozen statements at most, in one go,
/// and the server ends each after 5 s, and the transaction when nothing comes for 5 s.
pub(super) const OVERLAP: Duration = Duration::from_mins(2);

/// The most that one pass adds to the time in which the server answered.
const STEP: Duration = Duration::from_secs(10);

/// What this process knows of the changes of the store.
#[derive(Default)]
pub(super) struct Feed {
    state: Mutex<CursorState>,
    /// Counts what may concern a follower who waits.
    stirred: watch::Sender<u64>,
    /// Asks for a pass at once.
    pub(super) pass_wanted: Notify,
}

#[derive(Debug, Default)]
struct CursorState {
    /// Whether anybody follows. Until then only the highest revision is of interest.
    following: bool,
    /// The highest revision known to be visible.
    highest: Revision,
    /// The highest revision that a pass has seen.
    seen_by_pass: Revision,
    /// What was handed in, above the floor, or was there before the following began.
    handed: BTreeSet<Revision>,
    /// What was not handed in yet, as far as it is known.
    known: BTreeMap<Revision, ConnectionName>,
    floor: Revision,
    /// When which revision was the highest, oldest first, by the time in which the server answered.
    sightings: VecDeque<(Duration, Revision)>,
    /// That time.
    answered: Duration,
    last_pass: Option<Instant>,
}

impl CursorState {
    fn learn(&mut self, revision: Revision, name: ConnectionName) {
        self.highest = self.highest.max(revision);
        if self.following && !self.handed.contains(&revision) {
            self.known.insert(revision, name);
        }
    }

    fn has_for(&self, seen: Revision) -> bool {
        self.highest > seen || self.known.range(..=seen).next().is_some()
    }

    fn sight(&mut self, at: Instant, highest: Revision) {
        self.seen_by_pass = highest;
        let passed =
            self.last_pass.replace(at).map_or(Duration::ZERO, |last| at.saturating_duration_since(last));
        self.answered += passed.min(STEP);
        let now = self.answered;
        self.sightings.push_back((now, highest));
        while let Some((_, old)) =
            self.sightings.front().copied().filter(|(since, _)| *since + OVERLAP <= now)
        {
            self.sightings.pop_front();
            self.floor = self.floor.max(old);
        }
        let floor = self.floor;
        self.handed.retain(|revision| *revision > floor);
    }
}

impl Feed {
    fn locked(&self) -> MutexGuard<'_, CursorState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something for a follower who has seen `seen`.
    pub(super) async fn wait(&self, seen: Revision) {
        let mut stirred = self.stirred.subscribe();
        if stirred.wait_for(|_| self.locked().has_for(seen)).await.is_err() {
            unreachable!("the sender is in self");
        }
    }

    fn stir(&self) {
        self.stirred.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// These rows were committed, by this process or another.
    pub(super) fn told(&self, changed: &Changed) {
        {
            let mut state = self.locked();
            for (revision, name) in changed {
                state.learn(*revision, name.clone());
            }
        }
        self.stir();
    }

    /// Above which revision a pass must look; `None` while nobody follows, and the highest is all that matters.
    pub(super) fn floor(&self) -> Option<Revision> {
        let state = self.locked();
        state.following.then_some(state.floor)
    }

    /// A pass that began at `at` has found these rows above the floor, and that revision as the highest.
    pub(super) fn passed(&self, at: Instant, rows: Changed, highest: Revision) {
        {
            let mut state = self.locked();
            if highest < state.seen_by_pass {
                // A backup is in the place of the database: nothing that was known of it counts.
                let following = state.following;
                *state = CursorState { following, highest, ..CursorState::default() };
            }
            state.highest = state.highest.max(highest);
            for (revision, name) in rows {
                state.learn(revision, name);
            }
            state.sight(at, highest);
        }
        self.stir();
    }

    /// What was there before the following began. Only the first call counts.
    pub(super) fn begin(&self, at: Instant, there: &Changed) {
        let mut state = self.locked();
        let highest = there.iter().map(|(revision, _)| *revision).max().unwrap_or_default();
        state.highest = state.highest.max(highest);
        if !state.following {
            state.following = true;
            state.handed = there.iter().map(|(revision, _)| *revision).collect();
            state.sight(at, highest);
        }
    }

    /// What to look for when a follower who has seen `seen` asks.
    pub(super) fn ask(&self, seen: Revision, limit: usize) -> ChangesRequest {
        let state = self.locked();
        let late = state.known.range(..=seen).take(limit);
        ChangesRequest {
            seen,
            believed: state.highest,
            late: late.map(|(revision, name)| (*revision, name.clone())).collect(),
        }
    }

    /// Takes what was found for a follower, and leaves what it has not got.
    pub(super) fn hand_in(
        &self,
        asked: &ChangesRequest,
        mut rows: Vec<ListedConnection>,
    ) -> Vec<ListedConnection> {
        let mut state = self.locked();
        for (revision, _) in &asked.late {
            state.known.remove(revision);
        }
        if asked.late.is_empty()
            && state.highest == asked.believed
            && rows.iter().all(|row| revision_of(row) <= asked.seen)
        {
            // Whatever was told, there is nothing: else a follower would ask for it forever.
            state.highest = state.highest.min(asked.seen);
        }
        rows.retain(|row| revision_of(row) > asked.seen || !state.handed.contains(&revision_of(row)));
        for revision in rows.iter().map(revision_of) {
            state.known.remove(&revision);
            state.handed.insert(revision);
        }
        rows
    }
}

/// What a follower asks for.
pub(super) struct ChangesRequest {
    seen: Revision,
    /// The highest revision that was believed to be there.
    believed: Revision,
    /// Rows to be looked at by name, because they are late.
    pub(super) late: Changed,
}

#[cfg(test)]
mod tests {
    use jeton_core::id::{AttemptId, GrantId, NodeId};
    use jeton_core::keep::connection::{Connection, Generation};
    use jeton_core::keep::ports::Connect;
    use jeton_core::time::Timestamp;

    use super::*;
    use crate::rules;

    const PASS: Duration = Duration::from_secs(2);

    fn changed(revisions: &[u64]) -> Changed {
        revisions.iter().map(|number| (Revision(*number), format!("c{number}").parse().unwrap())).collect()
    }

    fn late(feed: &Feed, seen: u64) -> Vec<u64> {
        feed.ask(Revision(seen), 10).late.into_iter().map(|(revision, _)| revision.0).collect()
    }

    fn row(number: u64) -> Connection {
        let connect = Connect {
            connection: format!("c{number}").parse().unwrap(),
            provider: "strict".parse().unwrap(),
            grant: GrantId::from_bytes([1; 16]),
            generation: Generation(0),
            tokens: None,
            single_use: true,
            due_at: Timestamp::default(),
            attempt: AttemptId::from_bytes([1; 16]),
            node: NodeId::from_bytes([1; 16]),
            by: None,
        };
        Connection { revision: Revision(number), ..rules::first_row(&connect, Timestamp::default()) }
    }

    fn hand_in(feed: &Feed, seen: u64, rows: &[u64]) -> Vec<u64> {
        let asked = feed.ask(Revision(seen), 10);
        let rows = rows.iter().map(|number| Ok(row(*number))).collect();
        feed.hand_in(&asked, rows).iter().map(|row| revision_of(row).0).collect()
    }

    #[test]
    fn a_lower_revision_that_becomes_visible_later_is_handed_in_once() {
        let feed = Feed::default();
        feed.begin(Instant::now(), &changed(&[1]));
        feed.told(&changed(&[3]));
        assert!(feed.locked().has_for(Revision(1)));
        assert_eq!(hand_in(&feed, 1, &[3]), [3]);
        assert!(!feed.locked().has_for(Revision(3)));
        for _ in 0..2 {
            feed.passed(Instant::now(), changed(&[1, 2, 3]), Revision(3));
            feed.told(&changed(&[2]));
        }
        assert!(feed.locked().has_for(Revision(3)));
        assert_eq!(late(&feed, 3), [2]);
        assert_eq!(hand_in(&feed, 3, &[2]), [2]);
        feed.passed(Instant::now(), changed(&[1, 2, 3]), Revision(3));
        feed.told(&changed(&[2]));
        assert!(!feed.locked().has_for(Revision(3)));
        assert_eq!(hand_in(&feed, 3, &[2]), [0; 0], "not even when somebody names it again");
    }

    #[test]
    fn what_is_committed_while_the_follower_reads_is_not_lost() {
        let feed = Feed::default();
        feed.begin(Instant::now(), &changed(&[1]));
        let asked = feed.ask(Revision(1), 10);
        feed.told(&changed(&[2]));
        assert_eq!(feed.hand_in(&asked, vec![Ok(row(3))]).len(), 1);
        assert!(feed.locked().has_for(Revision(3)), "2 was committed after the rows were read");
    }

    #[test]
    fn what_was_told_and_is_not_there_is_asked_for_once() {
        let feed = Feed::default();
        feed.begin(Instant::now(), &changed(&[1]));
        feed.told(&changed(&[9]));
        assert!(feed.locked().has_for(Revision(1)));
        assert_eq!(hand_in(&feed, 1, &[]), [0; 0]);
        assert!(!feed.locked().has_for(Revision(1)));
        feed.told(&changed(&[2]));
        assert!(feed.locked().has_for(Revision(1)), "what is told later is another matter");
    }

    #[test]
    fn the_floor_rises_only_when_no_transaction_can_be_below_it_and_a_pass_has_looked() {
        let feed = Feed::default();
        let began = Instant::now();
        feed.begin(began, &changed(&[1, 2]));
        for seconds in (STEP.as_secs()..OVERLAP.as_secs()).step_by(10) {
            feed.passed(began + Duration::from_secs(seconds), changed(&[1, 2, 5]), Revision(5));
            assert_eq!(feed.floor(), Some(Revision(0)), "after {seconds} s");
        }
        feed.passed(began + OVERLAP, changed(&[1, 2, 5]), Revision(5));
        assert_eq!(feed.floor(), Some(Revision(2)));
        assert!(feed.locked().handed.is_empty(), "what is below it is forgotten");
    }

    #[test]
    fn the_floor_stays_while_the_server_is_frozen_with_its_transactions() {
        let feed = Feed::default();
        let began = Instant::now();
        feed.begin(began, &changed(&[1, 3]));
        let thawed = began + 10 * OVERLAP;
        feed.passed(thawed, changed(&[1, 3]), Revision(3));
        assert_eq!(feed.floor(), Some(Revision(0)), "a transaction from before goes on now");
        feed.passed(thawed + PASS, changed(&[1, 2, 3]), Revision(3));
        assert_eq!(late(&feed, 3), [2]);
    }

    #[test]
    fn a_database_that_went_back_is_looked_at_anew() {
        let feed = Feed::default();
        feed.begin(Instant::now(), &changed(&[1, 2, 3]));
        feed.passed(Instant::now(), changed(&[1]), Revision(1));
        assert_eq!((feed.floor(), late(&feed, 3)), (Some(Revision(0)), vec![1]));
        assert!(!feed.locked().known.is_empty());
    }
}
