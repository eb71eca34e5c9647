//! The database of PostgreSQL: that it can be reached and used, and that its clock and ours agree.

use jeton_core::keep::ports::HeartbeatReply;
use jeton_store::postgres::{PostgresInspection, inspect};

use super::report::Report;
use super::store::{STORE, outdated};
use crate::app::HostEnv;
use jeton_store::PostgresOptions;

/// Looks at the database; absent where there is nothing to go on with.
pub(super) async fn check(
    options: &PostgresOptions,
    host: &HostEnv,
    report: &mut Report,
) -> Option<PostgresInspection> {
    let before = host.clock.now();
    let looked = inspect(options).await;
    let after = host.clock.now();
    let found = match looked {
        Ok(found) => found,
        Err(error) => {
            report.fault(STORE, error.to_string());
            return None;
        }
    };
    let shown = &found.shown_url;
    match (HeartbeatReply { now: found.now, others: Vec::new() }).clock_warning(before, after) {
        Some(warning) => report.fault("database clock", warning),
        None => report.ok("database clock", "the database and this machine agree about the time"),
    }
    if !found.encrypted && !is_local(shown) {
        let text = format!(
            "the connection to {shown} is not encrypted; add `sslmode=verify-full` to `store.url`, unless the network \
             between is yours alone"
        );
        report.warning(STORE, text);
    }
    if found.missing_migrations > 0 {
        report.warning(STORE, outdated(shown));
        return None;
    }
    if found.is_copy {
        let text = format!(
            "the database {shown} is a copy, or was moved: it stands elsewhere than where it was founded or adopted last, and \
             nothing is refreshed; stop the original for good, then run `jeton adopt`"
        );
        report.fault("hold", text);
    }
    let (version, count) = (&found.server_version, found.connections.len());
    report.ok(STORE, format!("{shown} (PostgreSQL {version}) answers and holds {count} of the connections"));
    Some(found)
}

/// Whether the URL leads to this very machine.
fn is_local(shown: &str) -> bool {
    let place = shown.rsplit_once('@').map_or(shown, |(_, place)| place).trim_start_matches("postgres://");
    place.starts_with('/') || ["localhost", "127.", "[::1]"].iter().any(|host| place.starts_with(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_and_loopback_are_this_machine() {
        for local in ["postgres://jeton@/keep?host=/run&port=5432", "postgres://jeton@127.0.0.1:5432/keep"] {
            assert!(is_local(local), "{local}");
        }
        assert!(!is_local("postgres://jeton@db.example.com:5432/keep"));
        assert!(!is_local("postgres://db.example.com:5432/keep"));
    }
}
