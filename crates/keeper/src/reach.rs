//! Whether the host of a token endpoint can be reached, without telling it anything.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::Endpoint;
use jeton_core::time::Clock;
use tokio::time::{Instant, timeout_at};

use crate::outbound::Outbound;

/// Reaches hosts of token endpoints the way a redeem does, and goes away again.
#[derive(Debug)]
pub struct Reach {
    outbound: Outbound,
}

impl Reach {
    /// `allow_private_captured_hosts` is the [setting](crate::Settings::allow_private_captured_hosts) of that name.
    pub fn new(clock: Arc<dyn Clock>, allow_private_captured_hosts: bool) -> Self {
        Self { outbound: Outbound::new(clock, allow_private_captured_hosts) }
    }

    /// Looks the host up, connects, and shakes hands for TLS where the URL says so. No byte of a request is sent.
    ///
    /// # Errors
    /// What failed, in words, or that it took longer than `limit`.
    pub async fn reach(&self, endpoint: &Endpoint, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        match timeout_at(deadline, self.outbound.dial(&endpoint.url, endpoint.captured_host, deadline)).await
        {
            Ok(reached) => reached.map(drop),
            Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
        }
    }
}
