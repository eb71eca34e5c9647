//! The times and limits of the gateway.

use std::time::Duration;

use jeton_keeper::Roots;

/// The times and limits of the gateway; [`Settings::default`] is what `config.default.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long reaching an API may take: looking its name up, connecting, shaking hands for TLS.
    pub connect_timeout: Duration,
    /// How long an API may take until its answer begins, once it has the whole request; while the request is being sent,
    /// how long nothing may move.
    pub first_byte_timeout: Duration,
    /// How long an answer that has begun may stand still.
    pub idle_timeout: Duration,
    /// How long an upgraded connection, such as a WebSocket, may stand still.
    pub tunnel_idle_timeout: Duration,
    /// How many upgraded connections are open at once; more are refused.
    pub tunnels: usize,
    /// How much of a request body is kept to send it once more, in bytes.
    pub replay_body: usize,
    /// How much of the bodies of all calls under way is kept together, in bytes; what finds no room is not kept.
    pub replay_memory: usize,
    /// Whether APIs may be on private or loopback addresses though a captured variable names them.
    pub allow_private_captured_hosts: bool,
    /// Whom APIs may be certified by besides the public authorities.
    pub roots: Roots,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(1),
            tunnel_idle_timeout: Duration::from_mins(10),
            tunnels: 1_000,
            replay_body: 1024 * 1024,
            replay_memory: 64 * 1024 * 1024,
            allow_private_captured_hosts: false,
            roots: Roots::default(),
        }
    }
}
