//! What a run does.

use std::time::Duration;

/// One run: a provider that forgives a second use of a refresh token, or one that does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct SoakPlan {
    pub(super) grace: bool,
    pub(super) seed: u64,
    /// How many rounds; without it, as long as `length`.
    pub(super) rounds: Option<u32>,
    pub(super) length: Option<Duration>,
    pub(super) connections: u16,
    pub(super) processes: u8,
    /// How long an access token lives.
    pub(super) life: Duration,
}

impl SoakPlan {
    pub(super) fn name(&self) -> String {
        format!("soak, seed {}, {}", self.seed, if self.grace { "grace" } else { "strict" })
    }
}
