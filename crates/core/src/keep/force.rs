//! How often a service may force a refresh.
//!
//! A force refreshes what is not due, and sends a refresh token again whose outcome is unknown. A person decides that each
//! time; a program may do it in a loop. So what a service forces is spaced, per connection.
//!
//! Who may do what: a service that operates a connection keeps its cool-downs, and sends nothing of a dead grant. One that
//! administers goes through cool-downs, and may have the refresh token of a dead grant sent once more, which revives the grant
//! where the provider accepts it; that is spaced as well. A person at the command line is not held back.

use std::time::Duration;

use super::attempt::Attempt;
use super::connection::Connection;
use crate::time::Timestamp;

/// The least time between two refreshes of one connection that services force. A token set that any refresh brought more
/// recently than this is what a force would bring.
pub const FORCE_INTERVAL: Duration = Duration::from_secs(5);

/// The longest time between two such sends of a refresh token whose outcome stays unknown.
const LONGEST_INTERVAL: Duration = Duration::from_mins(15);

/// Whether the token set is so new that a service that forces a refresh gets it as it is.
pub fn is_fresh(row: &Connection, now: Timestamp) -> bool {
    row.open_attempt.is_none() && row.refreshed_since(now - FORCE_INTERVAL)
}

/// From when on a service may force one more send of a refresh token that was sent by the attempts of `chain`, newest
/// first, without a known outcome, or though each of them was refused; absent where none was sent. The wait doubles with each
/// send: a provider may take each for a reuse.
pub fn next_resend(chain: &[Attempt]) -> Option<Timestamp> {
    let mut sends = chain.iter().filter(|attempt| attempt.fingerprint.is_some());
    let last = sends.next()?;
    let doublings = u32::try_from(sends.count()).unwrap_or(u32::MAX).min(16);
    Some(last.started_at + FORCE_INTERVAL.saturating_mul(1 << doublings).min(LONGEST_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::super::attempt::Trigger;
    use super::super::fixture::{at, attempt_id, live, redeem};
    use super::*;

    #[test]
    fn what_a_refresh_has_just_brought_is_fresh_and_what_was_taken_over_or_is_open_is_not() {
        let refreshed = Connection { refresh_trigger: Some(Trigger::OnDemand), ..live() };
        assert!(is_fresh(&refreshed, at(5)));
        assert!(!is_fresh(&refreshed, at(6)));
        assert!(!is_fresh(&Connection { refresh_trigger: None, ..live() }, at(1)), "nobody sent anything");
        let open = Connection { open_attempt: Some(attempt_id()), ..refreshed };
        assert!(!is_fresh(&open, at(1)), "its outcome is what a force is to find out");
    }

    #[test]
    fn each_send_of_unknown_outcome_doubles_the_wait_up_to_a_quarter_of_an_hour() {
        assert_eq!(next_resend(&[]), None);
        let unsent = Attempt { fingerprint: None, ..redeem() };
        assert_eq!(next_resend(std::slice::from_ref(&unsent)), None, "what sends nothing may be done again");
        let begun = redeem().started_at;
        for (sends, wait) in [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (40, 900)] {
            let chain = vec![redeem(); sends];
            assert_eq!(next_resend(&chain), Some(begun + Duration::from_secs(wait)), "{sends} sends");
        }
    }
}
