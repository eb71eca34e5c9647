//! The times of a run, shortened alike, and what the breaker promises about them.

use std::time::Duration;

/// How long a token request may take at least, however much else is shortened: the machine of a run is busy.
const SHORTEST_EXCHANGE: Duration = Duration::from_secs(3);

/// How many requests in a row get no answer before a token endpoint counts as down.
const OPENS_AFTER: usize = 3;

/// The steps of a slow start, and how many of them there are in the longest pause between trials.
pub(super) const SLOW_START_STEPS: u32 = 8;
const STEPS_IN_PAUSE: u32 = 60;

/// How many times shorter everything is than in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing(pub(super) u32);

impl Timing {
    /// What is `real` in use.
    pub(super) fn of(self, real: Duration) -> Duration {
        real / self.0
    }

    /// `keeper.outage_retry`: the longest pause between two trials.
    pub(super) fn longest_pause(self) -> Duration {
        self.of(Duration::from_mins(1))
    }

    /// `keeper.cooldown`: the first pause between two trials.
    pub(super) fn first_pause(self) -> Duration {
        self.of(Duration::from_secs(5))
    }

    /// `policy.unknown_hold`.
    pub(super) fn hold(self) -> Duration {
        self.of(Duration::from_mins(1))
    }

    /// `policy.confirm_dead`.
    pub(super) fn confirmation(self) -> Duration {
        self.of(Duration::from_mins(2))
    }

    /// `keeper.redeem_timeout`.
    pub(super) fn exchange(self) -> Duration {
        self.of(Duration::from_secs(30)).max(SHORTEST_EXCHANGE)
    }

    /// `keeper.lease`.
    pub(super) fn lease(self) -> Duration {
        self.exchange() * 3 / 2
    }

    /// How long a step of a slow start takes.
    pub(super) fn step(self) -> Duration {
        self.longest_pause() / STEPS_IN_PAUSE
    }

    /// The most requests that one process sends to an endpoint that is down for `length`: those that find it down, and the
    /// trials, whose pauses double up to the longest and may each end a quarter early.
    pub(super) fn most_sends(self, length: Duration, first: FirstRequests) -> usize {
        let finding = match first {
            FirstRequests::AfterAnswers { concurrency } => concurrency + OPENS_AFTER - 1,
            // One of them may be sent again meanwhile.
            FirstRequests::OfAProcess => OPENS_AFTER + 1,
        };
        let (mut at, mut pause, mut trials) = (Duration::ZERO, self.first_pause(), 0);
        loop {
            at += pause / 4 * 3;
            if at > length {
                return finding + trials;
            }
            trials += 1;
            pause = (pause * 2).min(self.longest_pause());
        }
    }
}

/// What a process knows of an endpoint that it finds down.
#[derive(Clone, Copy, Debug)]
pub(super) enum FirstRequests {
    /// It was answered before, so that this many requests may be in progress.
    AfterAnswers { concurrency: usize },
    /// The process has just started.
    OfAProcess,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_hour_takes_at_most_fifty_five_requests() {
        let real = Timing(1);
        let known = FirstRequests::AfterAnswers { concurrency: 8 };
        let minutes = |minutes| Duration::from_mins(minutes);
        assert_eq!(real.most_sends(Duration::ZERO, known), 10);
        // After 3.75, 11.25, 26.25 and 56.25 seconds, and every 45 from then on.
        assert_eq!(real.most_sends(minutes(1), known), 14);
        assert_eq!(real.most_sends(minutes(5), known), 19);
        assert_eq!(real.most_sends(minutes(30), known), 52);
        assert_eq!(real.most_sends(minutes(30), FirstRequests::OfAProcess), 46);
        let short = Timing(10);
        assert_eq!(short.most_sends(short.of(minutes(30)), known), 52, "in shortened time as well");
    }
}
