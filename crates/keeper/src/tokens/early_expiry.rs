//! Which tokens ended before their time.
//!
//! A token that is refused soon after a refresh brought it looks like an API that refuses for another reason, and the keeper
//! stops refreshing for a while. Whoever makes calls knows more. One early end of each token set is believed: of a token that
//! an API took before it refused it, unless a call that was made again with it was refused too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::seal::Fingerprint;
use jeton_core::time::Clock;
use parking_lot::Mutex;

/// How many early ends are believed of one connection in each [`WINDOW`]: one in 200 ms.
const MAX_PER_WINDOW: u32 = 300;

/// The time in which they are counted.
const WINDOW: Duration = Duration::from_mins(1);

/// What callers saw of the token that the last rejection brought, for each connection.
#[derive(Debug)]
pub(crate) struct EarlyExpiryTracker {
    clock: Arc<dyn Clock>,
    tokens: Mutex<HashMap<String, Replacement>>,
}

#[derive(Debug)]
struct Replacement {
    token: Fingerprint,
    accepted: bool,
    /// A call that was made again with it was refused.
    refused_again: bool,
    /// However many callers were refused with it, it ends once.
    believed: bool,
    /// By the clock that counts suspension.
    window_began: Duration,
    believed_in_window: u32,
}

impl EarlyExpiryTracker {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, tokens: Mutex::default() }
    }

    /// A refresh brought this token, because the one before it was refused.
    pub(crate) fn note_replacement(&self, connection: &str, token: Fingerprint) {
        let mut tokens = self.tokens.lock();
        let last = tokens.get(connection);
        if last.is_some_and(|last| last.token == token) {
            return;
        }
        let replacement = Replacement {
            token,
            accepted: false,
            refused_again: false,
            believed: false,
            window_began: last.map_or(Duration::ZERO, |last| last.window_began),
            believed_in_window: last.map_or(0, |last| last.believed_in_window),
        };
        tokens.insert(connection.to_owned(), replacement);
    }

    /// The API took this token.
    pub(crate) fn note_acceptance(&self, connection: &str, token: Fingerprint) {
        self.update(connection, token, |replacement| replacement.accepted = true);
    }

    /// The API refused this token in a call that was made again with it.
    pub(crate) fn note_second_refusal(&self, connection: &str, token: Fingerprint) {
        self.update(connection, token, |replacement| replacement.refused_again = true);
    }

    fn update(&self, connection: &str, token: Fingerprint, change: impl FnOnce(&mut Replacement)) {
        if let Some(known) = self.tokens.lock().get_mut(connection).filter(|known| known.token == token) {
            change(known);
        }
    }

    /// Whether this token, which was refused now, has ended before its time.
    pub(crate) fn has_ended_early(&self, connection: &str, token: Fingerprint) -> bool {
        let now = self.clock.uptime();
        let mut tokens = self.tokens.lock();
        let worked =
            |known: &&mut Replacement| known.token == token && known.accepted && !known.refused_again;
        let Some(known) = tokens.get_mut(connection).filter(worked) else { return false };
        if known.believed {
            return true;
        }
        if now.saturating_sub(known.window_began) >= WINDOW {
            (known.window_began, known.believed_in_window) = (now, 0);
        }
        known.believed = known.believed_in_window < MAX_PER_WINDOW;
        known.believed_in_window += u32::from(known.believed);
        known.believed
    }
}

#[cfg(test)]
mod tests {
    use jeton_testkit::ManualClock;

    use super::*;

    fn tracker() -> (Arc<ManualClock>, EarlyExpiryTracker) {
        let clock = Arc::new(ManualClock::default());
        (Arc::clone(&clock), EarlyExpiryTracker::new(clock))
    }

    fn token(number: u32) -> Fingerprint {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Fingerprint::from_bytes(bytes)
    }

    #[test]
    fn only_the_last_replacement_is_believed_once_it_was_accepted_and_as_often_as_callers_ask() {
        let (_, tracker) = tracker();
        tracker.note_acceptance("acme", token(1));
        assert!(!tracker.has_ended_early("acme", token(1)), "no rejection brought it");
        tracker.note_replacement("acme", token(1));
        assert!(!tracker.has_ended_early("acme", token(1)), "nobody has seen it work");
        tracker.note_acceptance("acme", token(1));
        assert!((0..1_000).all(|_| tracker.has_ended_early("acme", token(1))));
        assert!(!tracker.has_ended_early("other", token(1)));
        tracker.note_replacement("acme", token(2));
        tracker.note_acceptance("acme", token(2));
        assert!(!tracker.has_ended_early("acme", token(1)) && tracker.has_ended_early("acme", token(2)));
    }

    #[test]
    fn a_token_with_which_a_call_was_refused_again_has_not_ended() {
        let (_, tracker) = tracker();
        tracker.note_replacement("acme", token(1));
        tracker.note_second_refusal("acme", token(1));
        tracker.note_acceptance("acme", token(1));
        assert!(!tracker.has_ended_early("acme", token(1)), "the API refuses that call for another reason");
    }

    #[test]
    fn a_minute_brings_a_bounded_number_of_early_ends() {
        let (clock, tracker) = tracker();
        let believed = |from: u32| {
            (from..from + 1_000).filter(|number| {
                tracker.note_replacement("acme", token(*number));
                tracker.note_acceptance("acme", token(*number));
                tracker.has_ended_early("acme", token(*number))
            })
        };
        assert_eq!(believed(0).count(), 300);
        clock.advance(WINDOW);
        assert_eq!(believed(1_000).count(), 300);
    }
}
