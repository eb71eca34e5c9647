//! What refusals by a token endpoint add up to: the end of a grant, or a report to a person.

use std::time::Duration;

use super::attempt::{Attempt, AttemptStatus};
use super::connection::{Connection, GrantState};
use super::due::RECOVERY_REFUSED;
use crate::time::Timestamp;

/// How often the same refusal is repeated, and for how long, before a person is told.
const TELL_AFTER: (usize, Duration) = (6, Duration::from_hours(1));

/// How many attempts of a connection [`RepeatedRefusal::find`] needs to see.
pub const REFUSALS_READ: usize = 64;

/// Whether the provider has refused the refresh token of `row` before, so that one more refusal ends the grant. `chain` are the
/// attempts that the present one is to recover. What came between the two refusals, such as a send of unknown outcome, makes
/// the second one no less the second.
pub fn is_confirmed(row: &Connection, chain: &[Attempt]) -> bool {
    row.state == GrantState::Dead
        || row.refused().is_some()
        || chain.iter().any(|attempt| attempt.code.as_deref() == Some(RECOVERY_REFUSED))
}

/// A refusal that is repeated: what the provider says at every try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedRefusal {
    /// The code of the refusal.
    pub code: String,
    /// How often in a row.
    pub count: usize,
    /// When the first of them was sent.
    pub since: Timestamp,
    /// When the last of them was sent.
    pub last: Timestamp,
}

impl RepeatedRefusal {
    /// The refusal that ends a list of attempts of one connection, newest first. Attempts that got no answer say nothing, and
    /// are passed over.
    pub fn find(attempts: &[Attempt]) -> Option<Self> {
        let mut answered = attempts.iter().filter(|attempt| attempt.http_status.is_some());
        let newest = answered.clone().next().filter(|attempt| is_refusal(attempt))?;
        let same = |attempt: &&Attempt| {
            is_refusal(attempt) && (&attempt.code, attempt.generation) == (&newest.code, newest.generation)
        };
        let (mut count, mut since) = (0, newest.started_at);
        for attempt in answered.by_ref().take_while(same) {
            count += 1;
            since = attempt.started_at;
        }
        Some(Self { code: newest.code.clone()?, count, since, last: newest.started_at })
    }

    /// Whether it has been repeated for so long that a person must know: at least 6 times, over at least an hour.
    pub fn is_lasting(&self) -> bool {
        let (times, span) = TELL_AFTER;
        self.count >= times && self.last.since(self.since) >= span
    }

    /// The refusal that ends the list, where the newest attempt made it a lasting one.
    pub fn that_became_lasting(attempts: &[Attempt]) -> Option<Self> {
        // Both are judged by equally many attempts, so that a list that is cut off does not make one of them short.
        let from = |newest: usize| {
            Self::find(attempts.get(newest..)?.get(..REFUSALS_READ - 1).unwrap_or(&attempts[newest..]))
        };
        let was_lasting = from(1).is_some_and(|before| before.is_lasting());
        from(0).filter(|now| now.is_lasting() && !was_lasting)
    }
}

/// Whether the token endpoint said no, for another reason than too many requests.
fn is_refusal(attempt: &Attempt) -> bool {
    attempt.status == AttemptStatus::Failed
        && attempt.http_status.is_some_and(|status| (400..=499).contains(&status) && status != 429)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{at, live, redeem};
    use super::*;
    use crate::id::Generation;

    /// Refused with this status at that second.
    fn refused(status: u16, second: i64) -> Attempt {
        Attempt {
            status: AttemptStatus::Failed,
            started_at: at(second),
            http_status: Some(status),
            code: Some(format!("http_{status}")),
            ..redeem()
        }
    }

    /// `count` refusals, newest first, this many seconds apart.
    fn refusals(count: i64, apart: i64) -> Vec<Attempt> {
        (0..count).rev().map(|index| refused(400, index * apart)).collect()
    }

    #[test]
    fn a_refusal_is_the_second_one_whatever_came_between() {
        let row = live();
        assert!(!is_confirmed(&row, &[]));
        let refused_live = Connection { state_code: Some("invalid_grant".to_owned()), ..live() };
        assert!(is_confirmed(&refused_live, &[]));
        let suspended = Connection { state: GrantState::Suspended, ..refused_live };
        assert!(!is_confirmed(&suspended, &[]), "that is the code of the suspension");
        let dead = Connection { state: GrantState::Dead, ..live() };
        assert!(is_confirmed(&dead, &[]), "a person has it sent once more");
        let refused = Attempt { code: Some(RECOVERY_REFUSED.to_owned()), ..redeem() };
        let unknown = || Attempt { code: Some("no_reply".to_owned()), ..redeem() };
        assert!(!is_confirmed(&row, &[unknown(), unknown()]));
        assert!(is_confirmed(&row, &[refused.clone(), unknown()]));
        assert!(is_confirmed(&row, &[unknown(), unknown(), refused, unknown()]));
    }

    #[test]
    fn the_same_refusal_lasts_from_the_sixth_time_on_and_after_an_hour() {
        let lasts = |count, apart| RepeatedRefusal::find(&refusals(count, apart)).unwrap().is_lasting();
        assert!(lasts(6, 720) && lasts(61, 60));
        assert!(!lasts(5, 3_600) && !lasts(6, 719) && !lasts(60, 60));
    }

    #[test]
    fn what_got_no_answer_is_passed_over_and_another_answer_begins_anew() {
        let unsent = Attempt { http_status: None, code: Some("not_sent".to_owned()), ..refused(400, 9_000) };
        let mut attempts = refusals(6, 720);
        attempts.insert(0, unsent.clone());
        attempts.insert(3, unsent);
        let found = RepeatedRefusal::find(&attempts).unwrap();
        assert_eq!((found.count, found.since, found.last), (6, at(0), at(3_600)));
        for other in [
            refused(404, 1_500),
            refused(429, 1_500),
            Attempt { generation: Generation(2), ..refused(400, 1_500) },
            Attempt { status: AttemptStatus::Success, http_status: Some(200), ..refused(400, 1_500) },
        ] {
            let mut attempts = refusals(6, 720);
            attempts.insert(3, other);
            assert_eq!(RepeatedRefusal::find(&attempts).unwrap().count, 3);
        }
        assert_eq!(RepeatedRefusal::find(&[refused(429, 0)]), None);
        assert_eq!(RepeatedRefusal::find(&[]), None);
    }

    proptest! {
        #[test]
        fn a_refusal_that_goes_on_is_told_once(apart in 60i64..2_000, count in 1i64..100) {
            let attempts = refusals(count, apart);
            let told = (0..attempts.len())
                .filter(|newer| RepeatedRefusal::that_became_lasting(&attempts[*newer..]).is_some())
                .count();
            let lasting = RepeatedRefusal::find(&attempts).unwrap().is_lasting();
            prop_assert_eq!(told, usize::from(lasting));
        }
    }
}
