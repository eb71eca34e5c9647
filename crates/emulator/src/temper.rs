//! How a request is treated, besides what the rules of OAuth say.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// How the exchange ends. The first half never accepts the token, the second half spends it first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As RFC 6749 says.
    #[default]
    Honest,
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

impl Ending {
    /// Whether a good token is spent although the exchange ends this way.
    pub fn accepts(self) -> bool {
        !matches!(
            self,
            Self::CutBefore
                | Self::ErrorIn200
                | Self::RateLimited { .. }
                | Self::FailBefore { .. }
                | Self::Redirect
                | Self::WrongClient
        )
    }
}

/// How one request is treated: two delays and an ending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mood {
    /// How long the request waits before it is looked at.
    pub delay_before: Duration,
    /// How long the reply waits after the token has been accepted.
    pub delay_after: Duration,
    /// How the exchange ends.
    pub ending: Ending,
}

impl Mood {
    /// No delay, and this ending.
    pub fn ending(ending: Ending) -> Self {
        Self { ending, ..Self::default() }
    }

    /// Accepts the token and never answers.
    pub fn lose_reply() -> Self {
        Self::ending(Ending::LoseReply)
    }

    /// The same mood, slow before acceptance.
    #[must_use]
    pub fn slow_before(self, delay_before: Duration) -> Self {
        Self { delay_before, ..self }
    }

    /// The same mood, slow after acceptance.
    #[must_use]
    pub fn slow_after(self, delay_after: Duration) -> Self {
        Self { delay_after, ..self }
    }
}

/// A mood and how likely it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// Share of the requests, from 0 to 1.
    pub probability: f64,
    /// How they are treated.
    pub mood: Mood,
}

/// How the requests to come are treated: first the queue, one mood a request; after it by chance; else honestly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Temper {
    /// Moods of the next requests, in order.
    pub queue: VecDeque<Mood>,
    /// Moods by chance; the probabilities are laid end to end, and what they leave of 1 is honest.
    pub chances: Vec<Chance>,
}

impl Temper {
    /// Every request is treated honestly and at once.
    pub fn calm() -> Self {
        Self::default()
    }

    /// The next requests are treated like this, in order, those after them honestly.
    pub fn next(moods: impl IntoIterator<Item = Mood>) -> Self {
        Self { queue: moods.into_iter().collect(), chances: Vec::new() }
    }

    /// The same temper, with one more mood by chance.
    #[must_use]
    pub fn with_chance(mut self, probability: f64, mood: Mood) -> Self {
        self.chances.push(Chance { probability, mood });
        self
    }

    /// The mood for one request; `fraction`, from 0 to below 1, decides where chance does.
    pub(crate) fn draw(&mut self, fraction: f64) -> Mood {
        if let Some(mood) = self.queue.pop_front() {
            return mood;
        }
        let mut edge = 0.0;
        for chance in &self.chances {
            edge += chance.probability;
            if fraction < edge {
                return chance.mood;
            }
        }
        Mood::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_goes_before_chance_and_chance_before_honesty() {
        let lost = Mood::lose_reply();
        let slow = Mood::default().slow_before(Duration::from_millis(5));
        let mut temper = Temper::next([slow]).with_chance(0.25, lost);
        assert_eq!(temper.draw(0.0), slow);
        assert_eq!(temper.draw(0.24), lost);
        assert_eq!(temper.draw(0.25), Mood::default());
    }
}
