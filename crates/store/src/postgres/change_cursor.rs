//! Which changes the follower of this process has not got.
//!
//! Revisions come from a sequence when a row is written, and commits may pass each other: a row may become visible under a
//! lower revision than one that was delivered before. So everything above a *floor* is looked at again and again, and what was
//! delivered is remembered down to it.
//!
//! The floor rises by ids of transactions. A look notes the highest visible revision and an id that is given out after it.
//! Whoever has a lower revision has a lower id, because each of our transactions locks a row before it takes a revision. Once
//! no transaction below the id runs any more, what is below the revision is complete. No clock is asked: a server that was
//! frozen goes on with its transactions, and their ids still count.

use std::collections::BTreeSet;

use jeton_core::id::Revision;
use parking_lot::Mutex;

/// What a look found, in the order in which it must ask.
#[derive(Clone, Debug)]
pub(super) struct VisibleChanges {
    /// The oldest transaction that still ran before the look.
    pub(super) oldest_running: u64,
    /// The highest revision that is visible.
    pub(super) highest: Revision,
    /// All visible revisions above the floor.
    pub(super) above_floor: BTreeSet<Revision>,
    /// The id of a transaction that was begun after that.
    pub(super) next: u64,
}

#[derive(Debug, Default)]
struct CursorState {
    floor: Revision,
    highest: Revision,
    /// Delivered, or there before the following began; above the floor.
    delivered: BTreeSet<Revision>,
    /// Once no transaction before this id runs, this revision is the floor.
    mark: Option<(u64, Revision)>,
}

/// What the follower has got; nothing while nobody follows.
#[derive(Debug, Default)]
pub(super) struct ChangeCursor(Mutex<Option<CursorState>>);

impl ChangeCursor {
    /// Above which revision a look must ask; `None` while nobody follows.
    pub(super) fn floor(&self) -> Option<Revision> {
        self.0.lock().as_ref().map(|state| state.floor)
    }

    /// Takes what a look found for a follower who has seen `seen`; answers what was not delivered. Whoever follows from now
    /// on has what is not above `seen`.
    pub(super) fn take(&self, look: &VisibleChanges, seen: Revision) -> BTreeSet<Revision> {
        let mut state = self.0.lock();
        let state = state.get_or_insert_with(|| CursorState {
            delivered: look.above_floor.iter().copied().filter(|revision| *revision <= seen).collect(),
            ..CursorState::default()
        });
        if look.highest < state.highest {
            // A backup is in the place of the database: nothing that was known of it counts.
            *state = CursorState::default();
        }
        state.highest = look.highest;
        // Another look may have raised the floor meanwhile.
        let above_floor = look.above_floor.range(state.floor.next()..);
        let missing: BTreeSet<Revision> =
            above_floor.copied().filter(|revision| !state.delivered.contains(revision)).collect();
        if let Some((id, revision)) = state.mark
            && look.oldest_running >= id
            && missing.first().is_none_or(|first| *first > revision)
        {
            state.floor = revision;
            state.delivered = state.delivered.split_off(&revision.next());
            state.mark = None;
        }
        if state.mark.is_none() && look.highest > state.floor {
            state.mark = Some((look.next, look.highest));
        }
        missing
    }

    /// These were handed to the follower.
    pub(super) fn deliver(&self, revisions: impl Iterator<Item = Revision>) {
        if let Some(state) = &mut *self.0.lock() {
            let floor = state.floor;
            state.delivered.extend(revisions.filter(|revision| *revision > floor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Revision = Revision(u64::MAX);

    fn revisions(numbers: &[u64]) -> BTreeSet<Revision> {
        numbers.iter().copied().map(Revision).collect()
    }

    fn look(visible: &[u64], oldest_running: u64, next: u64) -> VisibleChanges {
        let above_floor = revisions(visible);
        VisibleChanges {
            oldest_running,
            highest: above_floor.last().copied().unwrap_or_default(),
            above_floor,
            next,
        }
    }

    #[test]
    fn a_lower_revision_that_becomes_visible_later_is_missing_until_it_is_delivered() {
        let cursor = ChangeCursor::default();
        assert!(cursor.take(&look(&[1], 10, 10), ALL).is_empty(), "it was there before");
        // 2 is written by transaction 11, which is slow; 3 by 12.
        assert_eq!(cursor.take(&look(&[1, 3], 11, 13), Revision(1)), revisions(&[3]));
        cursor.deliver([Revision(3)].into_iter());
        assert!(cursor.take(&look(&[1, 3], 11, 14), Revision(3)).is_empty());
        assert_eq!(cursor.take(&look(&[1, 2, 3], 14, 15), Revision(3)), revisions(&[2]));
        cursor.deliver([Revision(2)].into_iter());
        assert!(cursor.take(&look(&[1, 2, 3], 15, 16), Revision(3)).is_empty());
    }

    #[test]
    fn the_floor_rises_once_no_transaction_from_before_runs_and_nothing_below_is_missing() {
        let cursor = ChangeCursor::default();
        cursor.take(&look(&[1, 3], 5, 8), ALL);
        assert_eq!(cursor.floor(), Some(Revision(0)));
        cursor.take(&look(&[1, 3], 7, 9), Revision(3));
        assert_eq!(cursor.floor(), Some(Revision(0)), "transaction 7 may still bring revision 2");
        assert_eq!(cursor.take(&look(&[1, 2, 3], 9, 10), Revision(3)), revisions(&[2]));
        assert_eq!(cursor.floor(), Some(Revision(0)), "2 is not delivered");
        cursor.deliver([Revision(2)].into_iter());
        cursor.take(&look(&[1, 2, 3], 10, 11), Revision(3));
        assert_eq!(cursor.floor(), Some(Revision(3)));
    }

    #[test]
    fn a_follower_that_begins_with_what_it_has_seen_misses_what_came_after() {
        let cursor = ChangeCursor::default();
        assert_eq!(cursor.take(&look(&[1, 2, 3], 5, 5), Revision(2)), revisions(&[3]));
    }

    #[test]
    fn a_database_that_went_back_is_looked_at_anew() {
        let cursor = ChangeCursor::default();
        cursor.take(&look(&[1, 2, 3], 5, 5), ALL);
        assert_eq!(cursor.take(&look(&[1], 6, 6), Revision(3)), revisions(&[1]));
        assert_eq!(cursor.floor(), Some(Revision(0)));
    }
}
