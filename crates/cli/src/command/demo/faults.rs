//! How a provider of the demo treats one request after another.

use std::time::Duration;

use jeton_emulator::{Fault, FaultKind, SeededEntropy};

/// How many moods are laid out ahead: more than two days of a connection that asks twice a minute. After them the
/// provider is calm.
const AHEAD: usize = 8_192;

/// A kind of ill temper. None is worse than a keeper can bear while the old token still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    /// As the standard says.
    Calm,
    /// Slow, and otherwise as the standard says.
    Slow,
    /// Up to two refusals with a 5xx, or one cut before anything is accepted.
    Flaky,
    /// Accepts, and loses the first reply or the first two.
    Lossy,
    /// Up to two answers of 429 with `Retry-After`.
    Limited,
}

impl Faults {
    /// The moods of the requests to come. The first request is treated well, so that callers have a token to go on with.
    pub(super) fn moods(self, random: &SeededEntropy) -> Vec<Fault> {
        let mut moods = vec![self.fair(random)];
        while self != Self::Calm && moods.len() < AHEAD {
            moods.extend(self.foul(random));
            moods.push(self.fair(random));
        }
        moods
    }

    /// How a request is treated that is answered in the end.
    fn fair(self, random: &SeededEntropy) -> Fault {
        let delay = match self {
            Self::Slow => random.between(2_000, 4_000),
            _ => random.between(20, 120),
        };
        Fault::none().slow_before(Duration::from_millis(delay))
    }

    /// What comes before it.
    fn foul(self, random: &SeededEntropy) -> Vec<Fault> {
        match self {
            Self::Calm | Self::Slow => Vec::new(),
            Self::Flaky if random.between(0, 3) == 0 => vec![Fault::new(FaultKind::CutBefore)],
            Self::Flaky => {
                let statuses = [500, 502, 503];
                let status = |_| statuses[usize::try_from(random.between(0, 3)).unwrap_or_default()];
                (0..random.between(1, 3))
                    .map(|n| Fault::new(FaultKind::FailBefore { status: status(n) }))
                    .collect()
            }
            Self::Lossy => (0..random.between(1, 3)).map(|_| Fault::lose_reply()).collect(),
            Self::Limited => (0..random.between(1, 3))
                .map(|_| {
                    let retry_after_secs = u32::try_from(random.between(2, 6)).unwrap_or(2);
                    Fault::new(FaultKind::RateLimited { retry_after_secs })
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Faults; 5] = [Faults::Calm, Faults::Slow, Faults::Flaky, Faults::Lossy, Faults::Limited];

    proptest! {
        #[test]
        fn every_provider_answers_first_and_never_refuses_more_than_twice_in_a_row(seed: u64) {
            for faults in ALL {
                let moods = faults.moods(&SeededEntropy::new(seed));
                prop_assert_eq!(moods[0].kind, FaultKind::None);
                let good = |run: &[Fault]| run.iter().any(|mood| mood.kind == FaultKind::None);
                prop_assert!(moods.windows(3).all(good), "{:?}", faults);
            }
        }

        /// A second unknown outcome would end in asking a person.
        #[test]
        fn a_request_that_was_cut_is_answered_the_next_time(seed: u64) {
            let moods = Faults::Flaky.moods(&SeededEntropy::new(seed));
            let answered = |pair: &[Fault]| pair[0].kind != FaultKind::CutBefore || pair[1].kind == FaultKind::None;
            prop_assert!(moods.windows(2).all(answered));
        }
    }

    #[test]
    fn the_weather_follows_from_the_seed() {
        let moods = |seed| Faults::Flaky.moods(&SeededEntropy::new(seed));
        assert_eq!(moods(1), moods(1));
        assert_ne!(moods(1), moods(2));
    }
}
