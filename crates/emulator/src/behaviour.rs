//! How a request is treated, besides what the rules of OAuth say.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// How the exchange ends. The first half never accepts the token, the second half spends it first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No fault: as RFC 6749 says.
    #[default]
    #[serde(rename = "honest")]
    None,
    /// The connection is cut with nothing written; the token is *not* accepted.
    CutBefore,
    /// Status 200 with an error in the body; the token is *not* accepted.
    ErrorIn200,
    /// Status 429 with `Retry-After`; the token is *not* accepted.
    RateLimited {
        /// What `Retry-After` says, in seconds.
        retry_after_secs: u32,
    },
    /// A 5xx before acceptance.
    FailBefore {
        /// The status.
        status: u16,
    },
    /// An HTML page of a front end (load balancer, CDN, maintenance) with this status; the token is *not* accepted.
    FrontEnd {
        /// The status.
        status: u16,
        /// What `Retry-After` says, in seconds.
        retry_after_secs: Option<u32>,
    },
    /// An empty JSON object with this status; the token is *not* accepted.
    Bare {
        /// The status.
        status: u16,
    },
    /// A 400 `invalid_grant`, though the grant lives; the token is *not* accepted.
    RefuseGrant,
    /// A 302 to another path of the same server; the token is *not* accepted.
    Redirect,
    /// A 401 `invalid_client`, whatever the credentials; the token is *not* accepted.
    WrongClient,
    /// The token is accepted, then the connection is cut with nothing written.
    LoseReply,
    /// The token is accepted, then the connection is cut half way through the body.
    CutReply,
    /// The token is accepted, and the answer is a 5xx.
    FailAfter {
        /// The status.
        status: u16,
    },
    /// The token is accepted, and the answer is a 200 that is not JSON.
    Garbage,
    /// The token is accepted, and the answer is JSON without an access token.
    NoAccessToken,
    /// The token is accepted, and the answer is right but padded to this size.
    Huge {
        /// Size of the body.
        size_bytes: usize,
    },
    /// The token is accepted, and the answer comes a byte at a time.
    Trickle {
        /// Pause before each byte.
        pause_ms: u64,
    },
}

impl FaultKind {
    /// Whether a good token is spent although the exchange ends this way.
    pub fn accepts(self) -> bool {
        !matches!(
            self,
            Self::CutBefore
                | Self::ErrorIn200
                | Self::RateLimited { .. }
                | Self::FailBefore { .. }
                | Self::FrontEnd { .. }
                | Self::Bare { .. }
                | Self::RefuseGrant
                | Self::Redirect
                | Self::WrongClient
        )
    }
}

/// How one request is treated: two delays and a kind of fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// How long the request waits before it is looked at.
    pub delay_before: Duration,
    /// How long the reply waits after the token has been accepted.
    pub delay_after: Duration,
    /// How the exchange ends.
    pub kind: FaultKind,
}

impl Fault {
    /// No fault, and no delay.
    pub fn none() -> Self {
        Self::default()
    }

    /// This kind of fault, without delay.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Accepts the token and never answers.
    pub fn lose_reply() -> Self {
        Self::new(FaultKind::LoseReply)
    }

    /// The same fault, slow before acceptance.
    #[must_use]
    pub fn slow_before(self, delay_before: Duration) -> Self {
        Self { delay_before, ..self }
    }

    /// The same fault, slow after acceptance.
    #[must_use]
    pub fn slow_after(self, delay_after: Duration) -> Self {
        Self { delay_after, ..self }
    }
}

/// How the requests to come are treated: first the queue, one fault a request; then one by chance; else none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behaviour {
    /// Faults of the next requests, in order.
    pub queue: VecDeque<Fault>,
    /// Faults by chance: the share of requests, from 0 to 1, and how they are treated. What the shares leave of 1 is without faults.
    pub chances: Vec<(f64, Fault)>,
}

impl Behaviour {
    /// Every request is answered without faults and delays.
    pub fn faultless() -> Self {
        Self::default()
    }

    /// The next requests are treated like this, in order; those after them without faults.
    pub fn from_queue(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { queue: faults.into_iter().collect(), chances: Vec::new() }
    }

    /// The same behaviour, with one more fault by chance.
    #[must_use]
    pub fn with_chance(mut self, probability: f64, fault: Fault) -> Self {
        self.chances.push((probability, fault));
        self
    }

    /// The fault for one request; `fraction`, from 0 to below 1, decides where chance does.
    pub(crate) fn draw(&mut self, fraction: f64) -> Fault {
        if let Some(fault) = self.queue.pop_front() {
            return fault;
        }
        let mut edge = 0.0;
        for (probability, fault) in &self.chances {
            edge += probability;
            if fraction < edge {
                return *fault;
            }
        }
        Fault::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_goes_before_chance() {
        let lost = Fault::lose_reply();
        let slow = Fault::none().slow_before(Duration::from_millis(5));
        let mut behaviour = Behaviour::from_queue([slow]).with_chance(0.25, lost);
        assert_eq!(behaviour.draw(0.0), slow);
        assert_eq!(behaviour.draw(0.24), lost);
        assert_eq!(behaviour.draw(0.25), Fault::none());
    }
}
