//! The times and limits of the keeper.

use std::time::Duration;

use crate::outbound::proxy::Proxy;
use crate::outbound::roots::Roots;

/// The times and limits of the keeper; [`Settings::default`] is what `config.default.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long a claim holds. Longer than `redeem_timeout`, so that a redeem ends before its lease lapses.
    pub lease: Duration,
    /// How long one exchange with a token endpoint may take, from resolving its name to the last byte of the reply.
    pub redeem_timeout: Duration,
    /// How long a caller waits to reach the store and a claim.
    pub claim_wait: Duration,
    /// How long a caller waits for a refresh that is under way, unless it says otherwise.
    pub wait: Duration,
    /// How often a waiter looks at the store when no change is announced.
    pub poll: Duration,
    /// How long nothing is tried after a failure.
    pub cooldown: Duration,
    /// How often every connection is looked at, due or not.
    pub visit: Duration,
    /// How many redeems of one client run at once at one token endpoint.
    pub provider_concurrency: usize,
    /// How long apart requests to a token endpoint that is down are at most: one connection at a time tries it.
    pub outage_retry: Duration,
    /// How many redeems run at once in this process; each has its spill slot, and one client at one token endpoint has no more of
    /// them than it leaves free.
    pub spill_slots: usize,
    /// How old memory may be for a provider whose old access token dies on refresh.
    pub memory_age: Duration,
    /// How many callers may wait at once; more are refused at once.
    pub waiters: usize,
    /// How long shutdown waits for redeems under way before their replies are spilled or left to recovery.
    pub drain: Duration,
    /// How token endpoints are reached.
    pub outbound: OutboundSettings,
}

/// How hosts of providers are reached: token endpoints and APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundSettings {
    /// Whether they may be on private or loopback addresses though a captured variable names them.
    pub allow_private_captured_hosts: bool,
    /// Whom they may be certified by besides the public authorities.
    pub roots: Roots,
    /// What they are reached through.
    pub proxy: Option<Proxy>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(45),
            redeem_timeout: Duration::from_secs(30),
            claim_wait: Duration::from_secs(10),
            wait: Duration::from_secs(30),
            poll: Duration::from_millis(100),
            cooldown: Duration::from_secs(5),
            visit: Duration::from_hours(12),
            provider_concurrency: 8,
            outage_retry: Duration::from_mins(1),
            spill_slots: 16,
            memory_age: Duration::from_millis(250),
            waiters: 10_000,
            drain: Duration::from_secs(35),
            outbound: OutboundSettings::default(),
        }
    }
}
