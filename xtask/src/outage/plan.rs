//! The outages of a run.

use std::time::Duration;

use serde::Serialize;

use super::kind::OutageKind;
use super::proxy::Treatment;
use super::timing::Timing;

/// What happens besides an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutageDisturbance {
    Nothing,
    /// It begins while many requests are in progress, and their replies are lost.
    LosesReplies,
    /// Every process is killed half way through it.
    Kill,
    /// Every process is killed as it ends.
    KillAtTheEnd,
    /// The providers come back every few seconds, for as long.
    Flapping,
    /// Every second request is answered.
    Half,
    /// In its second half the providers answer, and limit the rate.
    RateLimit,
}

/// One outage of all providers, each in its own way.
#[derive(Clone, Debug)]
pub(super) struct OutagePlan {
    /// How long it is in use.
    pub(super) length: Duration,
    pub(super) kinds: [OutageKind; 3],
    pub(super) disturbance: OutageDisturbance,
}

/// How long a provider is up or down that flaps.
pub(super) const FLAP: Duration = Duration::from_secs(20);

/// What `Retry-After` says.
const RETRY_AFTER: Duration = Duration::from_secs(90);

impl OutagePlan {
    fn new(minutes: u64, kinds: [OutageKind; 3], disturbance: OutageDisturbance) -> Self {
        Self { length: Duration::from_mins(minutes), kinds, disturbance }
    }

    /// How requests are treated, in the order of the providers.
    pub(super) fn treatments(&self, timing: Timing) -> Vec<Treatment> {
        let treat = |kind| Treatment {
            percent: if self.disturbance == OutageDisturbance::Half { 50 } else { 100 },
            loses_replies: self.disturbance == OutageDisturbance::LosesReplies,
            retry_after: retry_after(timing),
            ..Treatment::down(kind)
        };
        self.kinds.map(treat).to_vec()
    }

    /// The same, once the providers limit the rate.
    pub(super) fn rate_limits(timing: Timing) -> Vec<Treatment> {
        let limit =
            Treatment { retry_after: retry_after(timing), ..Treatment::down(OutageKind::RateLimited) };
        vec![limit; 3]
    }

    /// Whether it is one that the breaker makes promises about.
    pub(super) fn is_whole(&self) -> bool {
        !matches!(self.disturbance, OutageDisturbance::Flapping | OutageDisturbance::Half)
    }

    /// Whether it lasts long enough for everybody to be told of it.
    pub(super) fn is_told(&self) -> bool {
        self.is_whole() && self.length >= Duration::from_mins(5)
    }

    /// The longest pause between two trials of any outage.
    pub(super) fn longest_wait(timing: Timing) -> Duration {
        timing.longest_pause().max(Duration::from_secs(retry_after(timing)))
    }

    /// How long after its end every connection of the provider of this index must be live again: a minute in use, after what the
    /// provider asked for and after the hold of a send of unknown outcome.
    pub(super) fn recovery(&self, index: usize, timing: Timing) -> Duration {
        let kind = self.kinds[index];
        let unknown = if kind.leaves_unknown() { timing.hold() + timing.exchange() } else { Duration::ZERO };
        let limited = self.disturbance == OutageDisturbance::RateLimit || kind.retry_after(1).is_some();
        let asked = if limited { Duration::from_secs(retry_after(timing)) } else { Duration::ZERO };
        timing.of(Duration::from_mins(1)) + unknown + asked
    }

    pub(super) fn name(&self) -> String {
        let length = match self.length.as_secs() {
            seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
            seconds => format!("{seconds} s"),
        };
        match self.disturbance {
            OutageDisturbance::Nothing => length,
            disturbance => format!("{length}, {disturbance:?}"),
        }
    }
}

fn retry_after(timing: Timing) -> u64 {
    timing.of(RETRY_AFTER).as_secs().max(1)
}

/// Outages of 30 seconds, 5 minutes and half an hour, of every kind, and with every disturbance. Each of the providers is down in
/// each way at least once, over all; `seed` decides about the shortest ones.
pub(super) fn all(seed: u64) -> Vec<OutagePlan> {
    use OutageKind::{
        BadGateway, Hang, HtmlPage, LostReply, NoName, Refused, ResetAfter, ResetBefore, ServerError,
        TlsAlert, Unavailable, UnavailableFor, WrongCertificate,
    };
    let five = |kinds, disturbance| OutagePlan::new(5, kinds, disturbance);
    let mut short = five([Hang, NoName, ServerError], OutageDisturbance::Nothing);
    if seed.is_multiple_of(2) {
        short.kinds = [ResetAfter, TlsAlert, BadGateway];
    }
    short.length = Duration::from_secs(30);
    vec![
        five([Refused, NoName, Hang], OutageDisturbance::Nothing),
        short,
        five([ResetAfter, TlsAlert, ServerError], OutageDisturbance::Nothing),
        five([HtmlPage, WrongCertificate, Unavailable], OutageDisturbance::Nothing),
        five([BadGateway, ResetBefore, UnavailableFor], OutageDisturbance::Nothing),
        five([LostReply, Hang, Refused], OutageDisturbance::Nothing),
        five([ServerError; 3], OutageDisturbance::LosesReplies),
        five([Hang, NoName, Unavailable], OutageDisturbance::Kill),
        five([ResetAfter, TlsAlert, BadGateway], OutageDisturbance::KillAtTheEnd),
        five([Unavailable, Refused, ResetAfter], OutageDisturbance::Flapping),
        five([BadGateway; 3], OutageDisturbance::Half),
        five([Unavailable, BadGateway, ServerError], OutageDisturbance::RateLimit),
        OutagePlan::new(30, [Hang, NoName, Unavailable], OutageDisturbance::Nothing),
    ]
}

/// What the test command runs: one outage, half way through which the process is killed.
pub(super) fn short() -> Vec<OutagePlan> {
    let kinds = [OutageKind::Unavailable, OutageKind::NoName, OutageKind::ResetAfter];
    vec![OutagePlan::new(5, kinds, OutageDisturbance::Kill)]
}

/// One outage of so many minutes.
pub(super) fn single(minutes: u64) -> Vec<OutagePlan> {
    let kinds = [OutageKind::Hang, OutageKind::NoName, OutageKind::Unavailable];
    vec![OutagePlan::new(minutes, kinds, OutageDisturbance::Nothing)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_outages_of_every_length_and_no_provider_without_tls_fails_at_tls() {
        for plans in [all(1), all(2), short(), single(5)] {
            for plan in &plans {
                let [plain, _, oidc] = plan.kinds;
                let of_tls = [OutageKind::NoName, OutageKind::TlsAlert, OutageKind::WrongCertificate];
                assert!(!of_tls.contains(&plain) && !of_tls.contains(&oidc), "{plan:?}");
            }
        }
        let lengths: Vec<u64> = all(1).iter().map(|plan| plan.length.as_secs()).collect();
        assert!([30, 300, 1_800].iter().all(|length| lengths.contains(length)), "{lengths:?}");
    }

    #[test]
    fn only_what_leaves_outcomes_unknown_may_take_longer_than_a_minute() {
        let refused = OutagePlan::new(5, [OutageKind::Refused; 3], OutageDisturbance::Nothing);
        assert_eq!(refused.recovery(0, Timing(1)), Duration::from_mins(1));
        let hang = OutagePlan::new(5, [OutageKind::Hang; 3], OutageDisturbance::Nothing);
        assert_eq!(hang.recovery(2, Timing(1)), Duration::from_secs(150));
    }
}
