//! Free disk space, and whether the clock can be right.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use jeton_core::keep::connection::Connection;
use jeton_core::time::Timestamp;

use super::report::{Report, Severity};

const DISK: &str = "disk";
const CLOCK: &str = "clock";

const MIB: u64 = 1024 * 1024;
/// Below this the database is soon full; spill slots have their space already.
const MIN_FREE: u64 = 64 * MIB;
const LOW_FREE: u64 = 512 * MIB;

/// How far two clocks may be apart before one of them is wrong.
const TOLERANCE: Duration = Duration::from_mins(1);

pub(super) fn disk(data_dir: &Path, report: &mut Report) {
    // A missing folder will be created on the disk of its parent.
    let there = data_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    match rustix::fs::statvfs(there) {
        Ok(found) => {
            let (verdict, text) = check_free_space(found.f_bavail.saturating_mul(found.f_frsize));
            report.add(DISK, verdict, text);
        }
        Err(error) => report.warning(DISK, format!("its free space cannot be read: {error}")),
    }
}

fn check_free_space(free: u64) -> (Severity, String) {
    let space = format!("{} MiB are free where the data directory is", free / MIB);
    if free < MIN_FREE {
        (Severity::Fault, format!("{space}; free some, or replies stay in spill slots"))
    } else if free < LOW_FREE {
        (Severity::Warning, format!("{space}; free some before the database needs it"))
    } else {
        (Severity::Ok, space)
    }
}

/// Looks for recorded instants that the clock calls the future. SQLite uses this clock for leases and due times; the clock
/// of PostgreSQL is checked with the database.
pub(super) fn clock(now: Timestamp, connections: &[Connection], report: &mut Report) {
    let of_rows = connections.iter().flat_map(|row| {
        let obtained = row.tokens.as_ref().map(|tokens| tokens.obtained_at);
        let said = format!("the database says that something happened to `{}`", row.name);
        [Some(row.created_at), obtained].into_iter().flatten().map(move |at| (said.clone(), at))
    });
    let known: Vec<_> = of_rows.chain(installed()).collect();
    let (verdict, text) = check_clock(now, &known);
    report.add(CLOCK, verdict, text);
}

/// When this binary was installed.
fn installed() -> Option<(String, Timestamp)> {
    let modified =
        std::env::current_exe().and_then(|path| path.metadata()).and_then(|found| found.modified());
    let since = modified.ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = Timestamp::from_secs(0) + since;
    Some(("this binary was installed".to_owned(), at))
}

fn check_clock(now: Timestamp, known: &[(String, Timestamp)]) -> (Severity, String) {
    let shown = now.to_the_second();
    let latest = known.iter().max_by_key(|(_, at)| *at).filter(|(_, at)| *at > now + TOLERANCE);
    match latest {
        Some((what, at)) => {
            let at = at.to_the_second();
            let text = format!(
                "it says {shown}, and {what} at {at}; set it, and keep it right with NTP: tokens are refreshed by it"
            );
            (Severity::Fault, text)
        }
        None => (Severity::Ok, format!("it says {shown}, and no record contradicts it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_disk_space_is_reported_before_it_runs_out() {
        assert_eq!(check_free_space(0).0, Severity::Fault);
        assert_eq!(check_free_space(MIN_FREE).0, Severity::Warning);
        assert_eq!(check_free_space(LOW_FREE).0, Severity::Ok);
        assert!(check_free_space(100 * MIB).1.starts_with("100 MiB are free"));
    }

    #[test]
    fn a_clock_behind_a_recorded_instant_is_wrong() {
        let now = Timestamp::from_secs(1_000_000);
        let instants = |at| vec![("early".to_owned(), Timestamp::from_secs(5)), ("it was".to_owned(), at)];
        assert_eq!(check_clock(now, &[]).0, Severity::Ok);
        assert_eq!(check_clock(now, &instants(now + TOLERANCE)).0, Severity::Ok);
        let (verdict, text) = check_clock(now, &instants(now + TOLERANCE + Duration::from_secs(1)));
        assert_eq!(verdict, Severity::Fault);
        assert!(text.contains("1970-01-12T13:46:40Z, and it was at 1970-01-12T13:47:41Z; set it"), "{text}");
    }
}
