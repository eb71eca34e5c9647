//! The times and limits of the gateway.

use std::time::Duration;

use jeton_keeper::OutboundSettings;

/// The times and limits of the gateway; [`Settings::default`] is what `config.default.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long connecting to an API may take: name lookup, TCP and TLS handshake together.
    pub connect_timeout: Duration,
    /// How long an API may take until its answer begins, once it has the whole request; before that, how long no byte of the
    /// request may move.
    pub first_byte_timeout: Duration,
    /// How long no byte of an answer may arrive once it has begun.
    pub idle_timeout: Duration,
    /// How long no byte may pass through an upgraded connection, such as a WebSocket.
    pub tunnel_idle_timeout: Duration,
    /// How many upgraded connections may be open at once; more are refused.
    pub tunnels: usize,
    /// How many idle connections to APIs are kept in all, for the next calls.
    pub idle_connections: usize,
    /// The largest head of an answer, in bytes: status line and headers together.
    pub max_header_bytes: usize,
    /// The most header lines of an answer.
    pub max_headers: usize,
    /// How much of a request body is kept to send it once more, in bytes.
    pub replay_body: usize,
    /// How much of the bodies of all calls under way is kept together, in bytes; a body beyond that is not kept.
    pub replay_memory: usize,
    /// Whether jeton takes the place of an amoCRM gateway: a missing or wrong key is 401 in its words.
    pub old_gateway: bool,
    /// How APIs are reached.
    pub outbound: OutboundSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(1),
            tunnel_idle_timeout: Duration::from_mins(10),
            tunnels: 1_000,
            idle_connections: 1_000,
            max_header_bytes: 64 * 1024,
            max_headers: 256,
            replay_body: 1024 * 1024,
            replay_memory: 64 * 1024 * 1024,
            old_gateway: false,
            outbound: OutboundSettings::default(),
        }
    }
}
