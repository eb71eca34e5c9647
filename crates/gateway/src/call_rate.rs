//! How many calls an API allows (`api.rate` in a provider file): each call gets its turn.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jeton_core::keep::provider::Rate;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The turns of the calls that this process makes, by connection.
///
/// In any span of `within` there are at most `max` turns. A token bucket would let twice as many through around the moment
/// at which it is full.
#[derive(Debug, Default)]
pub(crate) struct CallRates(Mutex<HashMap<String, VecDeque<Instant>>>);

impl CallRates {
    /// Reserves the next turn, and returns when it is.
    ///
    /// # Errors
    /// It is later than `longest` from now; how much later than now it is.
    pub(crate) fn reserve(
        &self,
        connection: &str,
        rate: Rate,
        longest: Duration,
    ) -> Result<Instant, Duration> {
        let now = Instant::now();
        let most = usize::try_from(rate.max).unwrap_or(usize::MAX).max(1);
        let mut all = self.0.lock();
        if !all.contains_key(connection) {
            all.insert(connection.to_owned(), VecDeque::new());
        }
        let turns = all.get_mut(connection).expect("it was inserted");
        while turns.front().is_some_and(|turn| *turn + rate.within <= now) {
            turns.pop_front();
        }
        let turn = match turns.len().checked_sub(most) {
            None => now,
            Some(index) => now.max(turns[index] + rate.within),
        };
        if turn - now > longest {
            return Err(turn - now);
        }
        turns.push_back(turn);
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    const RATE: Rate = Rate { max: 7, within: Duration::from_secs(1) };

    #[tokio::test(start_paused = true)]
    async fn a_call_beyond_the_rate_waits_for_its_turn_or_learns_how_long_it_would() {
        let rates = CallRates::default();
        let begin = Instant::now();
        for _ in 0..7 {
            assert_eq!(rates.reserve("acme", RATE, Duration::ZERO), Ok(begin));
        }
        assert_eq!(rates.reserve("acme", RATE, Duration::ZERO), Err(Duration::from_secs(1)));
        assert_eq!(rates.reserve("acme", RATE, RATE.within), Ok(begin + RATE.within));
        assert_eq!(rates.reserve("other", RATE, Duration::ZERO), Ok(begin), "each connection has its own");
        advance(RATE.within).await;
        assert_eq!(rates.reserve("acme", RATE, Duration::ZERO), Ok(begin + RATE.within));
    }

    proptest! {
        #[test]
        fn no_span_has_more_turns_than_the_rate_allows(pauses in prop::collection::vec(0_u64..400, 1..80), max in 1_u32..9) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let rate = Rate { max, within: Duration::from_secs(1) };
            let turns = runtime.block_on(async {
                let rates = CallRates::default();
                let mut turns = Vec::new();
                for pause in pauses {
                    advance(Duration::from_millis(pause)).await;
                    turns.extend(rates.reserve("acme", rate, Duration::from_secs(2)));
                }
                turns
            });
            for window in turns.windows(max as usize + 1) {
                prop_assert!(window[max as usize] - window[0] >= rate.within);
            }
        }
    }
}
