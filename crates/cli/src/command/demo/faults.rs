//! How a provider of the demo answers one request after another.

use std::time::Duration;

use jeton_emulator::{Fault, FaultKind, SeededEntropy};

/// How many answers are planned: more than two days of a connection that refreshes twice a minute. Later requests are
/// answered as the standard says.
const PLANNED: usize = 8_192;

/// How a provider fails. Each is harmless as long as the old token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultPattern {
    /// Not at all.
    None,
    /// Answers after 2 to 4 s.
    Slow,
    /// Answers 5xx once or twice, or cuts the connection once, before it accepts anything.
    Flaky,
    /// Accepts, and loses the first reply or two.
    Lossy,
    /// Answers 429 with `Retry-After` once or twice.
    Limited,
}

impl FaultPattern {
    /// The answers to the requests to come. The first request succeeds, so that callers have a token to start with.
    pub(super) fn plan(self, random: &SeededEntropy) -> Vec<Fault> {
        let mut faults = vec![self.success(random)];
        while self != Self::None && faults.len() < PLANNED {
            faults.extend(self.failures(random));
            faults.push(self.success(random));
        }
        faults
    }

    /// The answer of a request that succeeds.
    fn success(self, random: &SeededEntropy) -> Fault {
        let delay = match self {
            Self::Slow => random.between(2_000, 4_000),
            _ => random.between(20, 120),
        };
        Fault::none().slow_before(Duration::from_millis(delay))
    }

    /// The failures before a success.
    fn failures(self, random: &SeededEntropy) -> Vec<Fault> {
        match self {
            Self::None | Self::Slow => Vec::new(),
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

    const ALL: [FaultPattern; 5] = [
        FaultPattern::None,
        FaultPattern::Slow,
        FaultPattern::Flaky,
        FaultPattern::Lossy,
        FaultPattern::Limited,
    ];

    proptest! {
        #[test]
        fn every_provider_answers_first_and_never_fails_more_than_twice_in_a_row(seed: u64) {
            for pattern in ALL {
                let faults = pattern.plan(&SeededEntropy::new(seed));
                prop_assert_eq!(faults[0].kind, FaultKind::None);
                let good = |run: &[Fault]| run.iter().any(|fault| fault.kind == FaultKind::None);
                prop_assert!(faults.windows(3).all(good), "{:?}", pattern);
            }
        }

        #[test]
        fn a_request_that_was_cut_is_answered_the_next_time(seed: u64) {
            let faults = FaultPattern::Flaky.plan(&SeededEntropy::new(seed));
            let answered = |pair: &[Fault]| pair[0].kind != FaultKind::CutBefore || pair[1].kind == FaultKind::None;
            prop_assert!(faults.windows(2).all(answered));
        }
    }

    #[test]
    fn the_faults_follow_from_the_seed() {
        let plan = |seed| FaultPattern::Flaky.plan(&SeededEntropy::new(seed));
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }
}
