//! How long nothing is sent after failures.

use std::time::Duration;

/// `first`, doubled with each of the `failures` in a row before, up to `longest`, or to `first` where that is longer.
pub fn grown(first: Duration, failures: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(longest.max(first))
}

/// `pause`, lengthened by up to a quarter: connections that failed together do not try again together. `jitter` is in
/// `[0, 1)`, drawn for each pause.
pub fn spread(pause: Duration, jitter: f64) -> Duration {
    pause.saturating_add((pause / 4).mul_f64(jitter.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pause_doubles_with_each_failure_up_to_the_longest() {
        let seconds = |failures| grown(Duration::from_secs(5), failures, Duration::from_mins(1)).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 40].map(seconds), [5, 10, 20, 40, 60, 60]);
        assert_eq!(grown(Duration::from_secs(90), 3, Duration::from_mins(1)), Duration::from_secs(90));
        assert_eq!(grown(Duration::ZERO, 3, Duration::from_mins(1)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shortened_and_lengthened_by_a_quarter_at_most(
            pause in 0u64..1 << 50,
            jitter in -1.0f64..2.0,
        ) {
            let pause = Duration::from_micros(pause);
            let spread = spread(pause, jitter);
            prop_assert!(spread >= pause && spread <= pause + pause / 4 + Duration::from_micros(1));
        }
    }
}
