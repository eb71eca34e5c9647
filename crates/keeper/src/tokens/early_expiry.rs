//! Which tokens were brought by a cure that helped.
//!
//! A token that is refused soon after it came from a cure looks like an API that refuses for another reason, and the keeper
//! pulls the brake. Who has seen that the cure helped knows better: the token worked, and has died early again.
//!
//! Who has seen it is not always right. An API may refuse one caller for a missing permission and answer another one, with
//! the same token; then a refresh for the first looks as if it had helped the second. Three things tell that from a token
//! that died, and after each nothing is believed of the connection for a while: a refused token is accepted in a call that was
//! sent after the refusal, for the dead stay dead; cures fail with one token after the other; or there are more of them
//! than tokens die.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jeton_core::keep::connection::Generation;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Clock;

/// How long nothing is believed once it turned out wrong: as long as the keeper brakes the first time.
const DOUBT: Duration = Duration::from_mins(1);

/// How many token sets in a row may each fail somebody whom they were to cure: a token may also die while it is on its way.
const FAILURES: u32 = 3;

/// How many tokens are believed to have died early, for each connection and [`WINDOW`]: one in 200 ms.
const MOST: u32 = 300;

/// The time in which they are counted.
const WINDOW: Duration = Duration::from_mins(1);

/// How many refused tokens are remembered: calls with an older one are long over.
const REMEMBERED: usize = 4;

/// What is known of the cures of each connection. Instants are of the clock that counts suspension.
#[derive(Debug)]
pub(crate) struct EarlyExpiryTracker {
    clock: Arc<dyn Clock>,
    all: Mutex<HashMap<String, Cures>>,
}

#[derive(Debug, Default)]
struct Cures {
    /// The token that the last cure brought.
    brought: Option<Fingerprint>,
    /// It was accepted then.
    helped: bool,
    /// Until when nothing is believed.
    doubted_until: Duration,
    /// The last tokens that were refused, and when each was for the first time.
    refused: VecDeque<(Fingerprint, Duration)>,
    /// The last token set that failed, and how many did in a row.
    failed: (Generation, u32),
    window_began: Duration,
    /// How many tokens were believed in this window.
    believed: u32,
    /// The last of them: however many callers were refused with it, it counts once.
    last: Option<Fingerprint>,
}

impl Cures {
    fn doubt(&mut self, now: Duration) {
        self.helped = false;
        self.doubted_until = now + DOUBT;
    }
}

impl EarlyExpiryTracker {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, all: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Cures>> {
        self.all.lock().expect("no panic happens under this lock")
    }

    /// A refresh brought this token, because the one before it was refused.
    pub(crate) fn note_cure(&self, connection: &str, token: Fingerprint) {
        let mut all = self.lock();
        let cures = all.entry(connection.to_owned()).or_default();
        if cures.brought != Some(token) {
            (cures.brought, cures.helped) = (Some(token), false);
        }
    }

    /// The API refused this token.
    pub(crate) fn note_refusal(&self, connection: &str, token: Fingerprint) {
        let now = self.clock.uptime();
        let mut all = self.lock();
        let refused = &mut all.entry(connection.to_owned()).or_default().refused;
        if refused.iter().any(|(known, _)| *known == token) {
            return;
        }
        refused.truncate(REMEMBERED - 1);
        refused.push_front((token, now));
    }

    /// The API took this token in a call that was sent at `sent_at`.
    pub(crate) fn note_acceptance(&self, connection: &str, token: Fingerprint, sent_at: Duration) {
        let now = self.clock.uptime();
        let mut all = self.lock();
        let Some(cures) = all.get_mut(connection) else { return };
        if cures.refused.iter().any(|(known, refused_at)| *known == token && *refused_at < sent_at) {
            cures.doubt(now);
        } else if cures.brought == Some(token) && cures.doubted_until <= now {
            cures.helped = true;
        }
    }

    /// The API refused a token of this generation that a cure had just given.
    pub(crate) fn note_failure(&self, connection: &str, generation: Generation) {
        let now = self.clock.uptime();
        let mut all = self.lock();
        let cures = all.entry(connection.to_owned()).or_default();
        let (last, in_a_row) = cures.failed;
        if last == generation && in_a_row > 0 {
            return;
        }
        let in_a_row = if last.next() == generation { in_a_row + 1 } else { 1 };
        cures.failed = (generation, in_a_row);
        if in_a_row >= FAILURES {
            cures.doubt(now);
        }
    }

    /// Whether this token came from a cure that helped, so that it has really died since.
    pub(crate) fn believes(&self, connection: &str, token: Fingerprint) -> bool {
        let now = self.clock.uptime();
        let mut all = self.lock();
        let helped = |cures: &&mut Cures| cures.helped && cures.brought == Some(token);
        let Some(cures) = all.get_mut(connection).filter(helped) else { return false };
        if cures.last == Some(token) {
            return true;
        }
        if now.saturating_sub(cures.window_began) >= WINDOW {
            (cures.window_began, cures.believed) = (now, 0);
        }
        if cures.believed >= MOST {
            return false;
        }
        cures.believed += 1;
        cures.last = Some(token);
        true
    }
}

#[cfg(test)]
mod tests {
    use jeton_testkit::ManualClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl EarlyExpiryTracker {
        /// A cure brought this token, and it was accepted.
        fn note(&self, connection: &str, token: Fingerprint) {
            self.note_cure(connection, token);
            self.note_acceptance(connection, token, Duration::ZERO);
        }
    }

    fn helped() -> (Arc<ManualClock>, EarlyExpiryTracker) {
        let clock = Arc::new(ManualClock::default());
        (Arc::clone(&clock), EarlyExpiryTracker::new(clock))
    }

    fn token(number: u32) -> Fingerprint {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Fingerprint::from_bytes(bytes)
    }

    #[test]
    fn only_the_token_that_helped_last_is_believed_and_as_often_as_callers_ask() {
        let (_, helped) = helped();
        assert!(!helped.believes("acme", token(1)));
        helped.note_acceptance("acme", token(1), SECOND);
        assert!(!helped.believes("acme", token(1)), "no cure brought it");
        helped.note_cure("acme", token(1));
        assert!(!helped.believes("acme", token(1)), "nobody has seen it work");
        helped.note("acme", token(1));
        assert!(helped.believes("acme", token(1)) && helped.believes("acme", token(1)));
        assert!(!helped.believes("other", token(1)));
        helped.note("acme", token(2));
        assert!(!helped.believes("acme", token(1)) && helped.believes("acme", token(2)));
    }

    #[test]
    fn a_refused_token_that_is_accepted_afterwards_lives_and_nothing_is_believed_for_a_minute() {
        let (clock, helped) = helped();
        helped.note("acme", token(1));
        clock.advance(10 * SECOND);
        helped.note_refusal("acme", token(1));
        helped.note_acceptance("acme", token(1), 10 * SECOND);
        assert!(helped.believes("acme", token(1)), "that one was on its way already");
        helped.note_acceptance("acme", token(2), 11 * SECOND);
        assert!(helped.believes("acme", token(1)), "that is another token");
        clock.advance(2 * SECOND);
        helped.note_refusal("acme", token(1));
        helped.note_acceptance("acme", token(1), 11 * SECOND);
        assert!(!helped.believes("acme", token(1)), "the first refusal counts");
        helped.note("acme", token(2));
        assert!(!helped.believes("acme", token(2)), "nor is what another caller sees meanwhile");
        clock.advance(60 * SECOND);
        helped.note("acme", token(3));
        assert!(helped.believes("acme", token(3)));
    }

    #[test]
    fn three_token_sets_in_a_row_that_fail_somebody_are_no_deaths() {
        let (_, helped) = helped();
        for (generation, believed) in [(1, true), (2, true), (2, true), (4, true), (5, true), (6, false)] {
            helped.note("acme", token(1));
            helped.note_failure("acme", Generation(generation));
            assert_eq!(helped.believes("acme", token(1)), believed, "{generation}");
        }
    }

    #[test]
    fn a_minute_brings_a_bounded_number_of_tokens_that_are_believed() {
        let (clock, helped) = helped();
        let believed = |from: u32| {
            (from..from + 1_000).filter(|number| {
                helped.note("acme", token(*number));
                helped.believes("acme", token(*number))
            })
        };
        assert_eq!(believed(0).count(), 300);
        clock.advance(60 * SECOND);
        assert_eq!(believed(1_000).count(), 300);
    }

    #[test]
    fn however_many_callers_were_refused_with_a_token_it_counts_once() {
        let (_, helped) = helped();
        for number in [1, 2] {
            helped.note("acme", token(number));
            assert!((0..1_000).all(|_| helped.believes("acme", token(number))), "{number}");
        }
    }
}
