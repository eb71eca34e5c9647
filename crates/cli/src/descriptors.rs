//! How many file descriptors this process may open, and what they are for: callers never get those that refreshes and the
//! store need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::settings::{Settings, StoreSettings};

/// For the store, the log, the runtime, name lookups and whatever a command needs for a moment.
const BASE: u64 = 128;

/// A refresh has a spill slot and connects to its provider, perhaps at two addresses at once.
const PER_REFRESH: u64 = 3;

/// What must be left for callers.
const MIN_FOR_CALLERS: u64 = 64;

/// The most connections of callers, however many descriptors there are.
const MAX_CONNECTIONS: u64 = 10_000;

/// How the descriptors are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorShares {
    /// The limit of open files that this follows from.
    pub(crate) limit: u64,
    /// Connections of callers. Each may need one to an API.
    pub(crate) connections: usize,
    /// Upgraded connections of callers, such as those of WebSocket, which have another one to an API each.
    pub(crate) tunnels: usize,
    /// Idle connections to APIs.
    pub(crate) idle_connections: usize,
}

impl DescriptorShares {
    /// Raises the limit of open files as far as this process may, and shares it out.
    pub(crate) fn reserve(settings: &Settings) -> Result<Self, CommandError> {
        let limit = raise_limit();
        let refreshes = PER_REFRESH.saturating_mul(settings.keeper.spill_slots as u64);
        let store = match &settings.store {
            StoreSettings::Sqlite(_) => 0,
            StoreSettings::Postgres(options) => 2 * options.pool as u64,
        };
        Self::share(limit, BASE + refreshes + store, settings.gateway.tunnels).ok_or_else(|| {
            let text = format!(
                "the limit of open files is {limit}, and these settings need {}: raise it, with `ulimit -n` or \
                 `LimitNOFILE` of systemd",
                BASE + refreshes + store + MIN_FOR_CALLERS
            );
            CommandError::new(ErrorCode::SystemRefused, text)
        })
    }

    /// Shares out what `reserved` leaves of a limit; `None` if that is too little.
    fn share(limit: u64, reserved: u64, tunnels: usize) -> Option<Self> {
        let rest = limit.checked_sub(reserved).filter(|rest| *rest >= MIN_FOR_CALLERS)?;
        let tunnels = (rest / 8).min(tunnels as u64);
        let idle = (rest / 8).min(1_000);
        let connections = ((rest - 2 * tunnels - idle) / 2).min(MAX_CONNECTIONS);
        let count = |number: u64| usize::try_from(number).ok();
        Some(Self {
            limit,
            connections: count(connections)?,
            tunnels: count(tunnels)?,
            idle_connections: count(idle)?,
        })
    }
}

/// Raises the soft limit of open files to the hard one; returns the limit that holds now.
fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Some systems refuse the hard limit that they name.
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_can_hold_open_never_reaches_what_is_reserved() {
        for limit in [256, 1_024, 4_096, 20_000, 524_288, u64::MAX] {
            let shares = DescriptorShares::share(limit, 176, 1_000).unwrap();
            let held = 2 * shares.connections + 2 * shares.tunnels + shares.idle_connections;
            assert!(held as u64 + 176 <= limit, "{shares:?}");
            assert!(
                shares.connections > 0 && shares.tunnels > 0 && shares.idle_connections > 0,
                "{shares:?}"
            );
        }
        let large = DescriptorShares::share(524_288, 176, 1_000).unwrap();
        assert_eq!(
            (large.connections, large.tunnels),
            (10_000, 1_000),
            "only a low limit takes anything away"
        );
        assert_eq!(DescriptorShares::share(200, 176, 1_000), None);
        assert_eq!(DescriptorShares::share(100, 176, 1_000), None);
    }
}
