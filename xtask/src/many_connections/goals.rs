//! What a start and a claim may take.

use std::time::Duration;

use crate::latency::millis;

/// What a start may take of any build, on any machine.
const LONGEST_START: Duration = Duration::from_secs(10);
/// The goals of an optimized build.
const START: Duration = Duration::from_secs(2);
const CLAIM: Duration = Duration::from_millis(5);
/// How many connections the goals are meant for, at most.
const MEANT_FOR: u32 = 100_000;

/// The longest that each may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goals {
    start: Duration,
    claim: Option<Duration>,
}

impl Goals {
    /// Those of a build of `profile` with so many connections.
    pub(super) fn of(profile: &str, connections: u32) -> Self {
        if profile == "release" && connections <= MEANT_FOR {
            Self { start: START, claim: Some(CLAIM) }
        } else {
            Self { start: LONGEST_START, claim: None }
        }
    }

    /// Those that were missed, by the start in the middle and the claim in the middle, in milliseconds.
    pub(super) fn missed(self, start: f64, claim: f64) -> Vec<String> {
        let judged = [("the start", start, Some(self.start)), ("a claim", claim, self.claim)];
        let missed = judged.into_iter().filter_map(|(what, took, longest)| {
            let longest = millis(longest?);
            (took >= longest)
                .then(|| format!("{what} took {took:.1} ms, and the goal is less than {longest:.0} ms"))
        });
        missed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn misses(goals: Goals, start: f64, claim: f64, what: &[&str]) {
        let missed = goals.missed(start, claim);
        let said = missed.iter().zip(what).all(|(missed, what)| missed.contains(what));
        assert!(said && missed.len() == what.len(), "{missed:?}");
    }

    #[test]
    fn an_optimized_build_is_held_to_the_goals_up_to_a_hundred_thousand_connections() {
        let goals = Goals::of("release", 100_000);
        misses(goals, 1_999.0, 4.99, &[]);
        misses(goals, 2_000.0, 4.99, &["the start took 2000.0 ms, and the goal is less than 2000 ms"]);
        misses(goals, 1_999.0, 5.0, &["a claim took 5.0 ms, and the goal is less than 5 ms"]);
        misses(goals, 9_000.0, 9.0, &["the start", "a claim"]);
    }

    #[test]
    fn any_other_run_has_only_the_loose_bound_of_the_start() {
        for goals in [Goals::of("dev", 5_000), Goals::of("release", 100_001)] {
            misses(goals, 9_999.0, 5_000.0, &[]);
            misses(goals, 10_000.0, 0.1, &["the start took 10000.0 ms"]);
        }
    }
}
