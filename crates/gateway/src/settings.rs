//! The times and limits of the gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use jeton_core::keep::provider::RateLimitReach;
use jeton_keeper::OutboundSettings;

/// The times and limits of calls, which a connection may have of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSettings {
    /// How long connecting to an API may take: name lookup, TCP and TLS handshake together.
    pub connect_timeout: Duration,
    /// How long an API may take until its answer begins, once it has the whole request; before that, how long no byte of the
    /// request may move.
    pub first_byte_timeout: Duration,
    /// How long no byte of an answer may arrive once it has begun.
    pub idle_timeout: Duration,
    /// How much of a request body is kept to send it once more, in bytes.
    pub replay_body: usize,
    /// Which calls wait after a 429; `None` means what the provider's file says.
    pub rate_limit_reach: Option<RateLimitReach>,
    /// The longest `Retry-After` of a 429 that is obeyed.
    pub max_retry_after: Duration,
    /// How long a call waits for its turn where the provider's file says how many calls the API allows.
    pub rate_wait: Duration,
    /// Whether header names are sent to the API as `Content-Type` rather than `content-type`.
    pub title_case_headers: bool,
    /// The origins of web pages that may call, such as `https://app.example.com`; `*` means all.
    pub allowed_origins: Vec<String>,
}

impl Default for CallSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(1),
            replay_body: 1024 * 1024,
            rate_limit_reach: None,
            max_retry_after: Duration::from_hours(1),
            rate_wait: Duration::from_secs(5),
            title_case_headers: false,
            allowed_origins: Vec::new(),
        }
    }
}

/// The times and limits of the gateway; [`Settings::default`] is what `config.default.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Those of all calls whose connection has none of its own.
    pub calls: CallSettings,
    /// Those of the calls of these connections, by name.
    pub connections: BTreeMap<String, CallSettings>,
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
    /// How much of the bodies of all calls under way is kept together, in bytes; a body beyond that is not kept.
    pub replay_memory: usize,
    /// Whether jeton takes the place of an amoCRM gateway: a missing or wrong key is 401 in its words.
    pub old_gateway: bool,
    /// How APIs are reached.
    pub outbound: OutboundSettings,
}

impl Settings {
    /// The times and limits of the calls of a connection.
    pub(crate) fn of(&self, connection: &str) -> &CallSettings {
        self.connections.get(connection).unwrap_or(&self.calls)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            calls: CallSettings::default(),
            connections: BTreeMap::new(),
            tunnel_idle_timeout: Duration::from_mins(10),
            tunnels: 1_000,
            idle_connections: 1_000,
            max_header_bytes: 64 * 1024,
            max_headers: 256,
            replay_memory: 64 * 1024 * 1024,
            old_gateway: false,
            outbound: OutboundSettings::default(),
        }
    }
}
