//! What follows when a caller says that the API refused a token: compare, and refresh at most once.

use std::time::Duration;

use crate::id::ConnectionName;
use crate::seal::Fingerprint;
use crate::time::Timestamp;

use super::attempt::Trigger;
use super::connection::{Connection, RejectionBackoff};

/// How long the backoff holds the first time.
pub const FIRST_BACKOFF: Duration = Duration::from_mins(1);

/// The longest that the backoff holds, and the age at which a token is no longer fresh from its refresh.
pub const LONGEST_BACKOFF: Duration = Duration::from_hours(1);

/// A caller's report that a token was refused.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The connection.
    pub connection: ConnectionName,
    /// Names the access token that was refused.
    pub fingerprint: Fingerprint,
    /// Whoever reports it knows that this token came from a refresh after a rejection, and was accepted then: such a
    /// refresh helps, and the token has really died since.
    pub helped_before: bool,
}

/// What to do about a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionAnswer {
    /// The stored token is another one: hand that out.
    Differs,
    /// The stored token is the refused one: refresh.
    Refresh,
    /// Refreshing did not help a moment ago: pass the API's own answer on and spend nothing.
    BackingOff {
        /// Until when.
        until: Timestamp,
    },
    /// There is no such connection.
    Unknown,
}

/// The answer to a rejection, and the backoff to be written with it, if it changes.
///
/// A token that came from a `rejected` refresh and is refused while it is fresh shows that refreshing does not cure
/// this refusal; an API that answers 401 for a missing permission would otherwise burn one refresh a call.
pub fn answer(
    row: Option<&Connection>,
    rejection: &Rejection,
    now: Timestamp,
) -> (RejectionAnswer, Option<RejectionBackoff>) {
    let Some(row) = row else { return (RejectionAnswer::Unknown, None) };
    let Some(tokens) = row.tokens.as_ref() else { return (RejectionAnswer::Refresh, None) };
    if tokens.access_fingerprint != Some(rejection.fingerprint) {
        return (RejectionAnswer::Differs, None);
    }
    if let Some(backoff) = row.backoff.filter(|backoff| now < backoff.until) {
        return (RejectionAnswer::BackingOff { until: backoff.until }, None);
    }
    let fresh = row.refresh_trigger == Some(Trigger::Rejected)
        && !rejection.helped_before
        && now.since(tokens.obtained_at) < LONGEST_BACKOFF;
    let backed_off_before = row.backoff.filter(|backoff| backoff.generation == row.generation);
    if !fresh || backed_off_before.is_some() {
        // Once the backoff has run out, one more refresh is tried; if that does not help either, the backoff doubles.
        return (RejectionAnswer::Refresh, None);
    }
    let step = row.backoff.map_or(FIRST_BACKOFF, |backoff| (backoff.step * 2).min(LONGEST_BACKOFF));
    let backoff = RejectionBackoff { generation: row.generation, until: now + step, step };
    (RejectionAnswer::BackingOff { until: backoff.until }, Some(backoff))
}

/// The backoff that stays when a token set of a refresh by `trigger` is committed: only a chain of rejections keeps it.
pub fn backoff_after_commit(backoff: Option<RejectionBackoff>, trigger: Trigger) -> Option<RejectionBackoff> {
    backoff.filter(|_| trigger == Trigger::Rejected)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{at, fingerprint, live};
    use super::*;
    use crate::id::Generation;

    fn rejection(number: u8) -> Rejection {
        Rejection { connection: live().name, fingerprint: fingerprint(number), helped_before: false }
    }

    #[test]
    fn a_newer_stored_token_is_handed_out_and_nothing_is_spent() {
        assert_eq!(answer(Some(&live()), &rejection(9), at(1)), (RejectionAnswer::Differs, None));
        assert_eq!(answer(None, &rejection(9), at(1)), (RejectionAnswer::Unknown, None));
    }

    #[test]
    fn the_stored_token_is_refreshed_though_it_has_not_expired() {
        assert_eq!(answer(Some(&live()), &rejection(1), at(1)), (RejectionAnswer::Refresh, None));
    }

    #[test]
    fn a_token_fresh_from_a_rejection_starts_a_backoff_that_doubles_up_to_an_hour() {
        let mut row = Connection { refresh_trigger: Some(Trigger::Rejected), ..live() };
        let mut steps = Vec::new();
        for generation in 4..12 {
            let (judged, backoff) = answer(Some(&row), &rejection(1), at(1));
            let backoff = backoff.expect("there is a backoff");
            assert_eq!(judged, RejectionAnswer::BackingOff { until: backoff.until });
            steps.push(backoff.step.as_secs());
            // While it holds, and once it has run out.
            row.backoff = Some(backoff);
            assert_eq!(answer(Some(&row), &rejection(1), at(2)), (judged, None));
            let after = backoff.until;
            let refreshed = answer(Some(&row), &rejection(1), after);
            assert_eq!(refreshed, (RejectionAnswer::Refresh, None));
            // That refresh does not help either.
            row.backoff = backoff_after_commit(row.backoff, Trigger::Rejected)
                .map(|backoff| RejectionBackoff { until: at(0), ..backoff });
            row.generation = Generation(generation);
        }
        assert_eq!(steps, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }

    #[test]
    fn a_token_that_helped_and_died_early_is_refreshed_however_fresh_it_is_unless_a_backoff_holds() {
        let row = Connection { refresh_trigger: Some(Trigger::Rejected), ..live() };
        let helped = Rejection { helped_before: true, ..rejection(1) };
        assert_eq!(answer(Some(&row), &helped, at(1)), (RejectionAnswer::Refresh, None));
        let (backing_off, backoff) = answer(Some(&row), &rejection(1), at(1));
        let row = Connection { backoff, ..row };
        assert_eq!(answer(Some(&row), &helped, at(2)), (backing_off, None));
    }

    #[test]
    fn a_refresh_that_nobody_rejected_ends_the_backoff() {
        let backoff = RejectionBackoff { generation: Generation(3), until: at(60), step: FIRST_BACKOFF };
        assert_eq!(backoff_after_commit(Some(backoff), Trigger::Automatic), None);
        assert_eq!(backoff_after_commit(Some(backoff), Trigger::Rejected), Some(backoff));
    }

    #[test]
    fn an_old_token_that_came_from_a_rejection_is_refreshed_again() {
        let row = Connection { refresh_trigger: Some(Trigger::Rejected), ..live() };
        assert_eq!(answer(Some(&row), &rejection(1), at(3600)), (RejectionAnswer::Refresh, None));
    }
}
