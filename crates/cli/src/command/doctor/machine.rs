//! Room on the disk, and a clock that can be believed.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use jeton_core::keep::connection::Connection;
use jeton_core::time::Timestamp;

use super::report::{Report, Severity};
use crate::time_format::to_the_second;

const DISK: &str = "disk";
const CLOCK: &str = "clock";

const MIB: u64 = 1024 * 1024;
/// Below this the database soon takes nothing more; spill slots have their room already.
const HARDLY_ANY: u64 = 64 * MIB;
const LITTLE: u64 = 512 * MIB;

/// How far two clocks may be apart before one of them is wrong.
const SLACK: Duration = Duration::from_mins(1);

pub(super) fn disk(data_dir: &Path, report: &mut Report) {
    // A folder that is not there yet will be made on the disk of what is above it.
    let there = data_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    match rustix::fs::statvfs(there) {
        Ok(found) => {
            let (verdict, text) = judge_room(found.f_bavail.saturating_mul(found.f_frsize));
            report.add(DISK, verdict, text);
        }
        Err(error) => report.warning(DISK, format!("its free room cannot be told ({error})")),
    }
}

fn judge_room(free: u64) -> (Severity, String) {
    let room = format!("{} MiB are free where the data directory is", free / MIB);
    if free < HARDLY_ANY {
        (Severity::Fault, format!("{room}; free some, or replies that arrive must wait in spill slots"))
    } else if free < LITTLE {
        (Severity::Warning, format!("{room}; free some before the database needs it"))
    } else {
        (Severity::Ok, room)
    }
}

/// Looks for something that happened in what the clock calls the future. Lease and due times of SQLite are by this very
/// clock, so that it cannot differ from the store's; that of PostgreSQL is looked at with the database.
pub(super) fn clock(now: Timestamp, connections: &[Connection], report: &mut Report) {
    let of_rows = connections.iter().flat_map(|row| {
        let obtained = row.tokens.as_ref().map(|tokens| tokens.obtained_at);
        let said = format!("the database says that something happened to `{}`", row.name);
        [Some(row.created_at), obtained].into_iter().flatten().map(move |at| (said.clone(), at))
    });
    let witnesses: Vec<_> = of_rows.chain(installed()).collect();
    let (verdict, text) = judge_clock(now, &witnesses);
    report.add(CLOCK, verdict, text);
}

/// When this binary was put where it is.
fn installed() -> Option<(String, Timestamp)> {
    let modified =
        std::env::current_exe().and_then(|path| path.metadata()).and_then(|found| found.modified());
    let since = modified.ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = Timestamp::from_secs(0) + since;
    Some(("this binary was installed".to_owned(), at))
}

fn judge_clock(now: Timestamp, witnesses: &[(String, Timestamp)]) -> (Severity, String) {
    let shown = to_the_second(now);
    let latest = witnesses.iter().max_by_key(|(_, at)| *at).filter(|(_, at)| *at > now + SLACK);
    match latest {
        Some((what, at)) => {
            let at = to_the_second(*at);
            let text = format!(
                "it says {shown}, and {what} at {at}; set it, and keep it right with NTP: tokens are refreshed by it"
            );
            (Severity::Fault, text)
        }
        None => (Severity::Ok, format!("it says {shown}, and nothing contradicts it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_before_it_runs_out() {
        assert_eq!(judge_room(0).0, Severity::Fault);
        assert_eq!(judge_room(HARDLY_ANY).0, Severity::Warning);
        assert_eq!(judge_room(LITTLE).0, Severity::Ok);
        assert!(judge_room(100 * MIB).1.starts_with("100 MiB are free"));
    }

    #[test]
    fn a_clock_that_lies_before_what_has_happened_is_wrong() {
        let now = Timestamp::from_secs(1_000_000);
        let witness = |at| vec![("early".to_owned(), Timestamp::from_secs(5)), ("it was".to_owned(), at)];
        assert_eq!(judge_clock(now, &[]).0, Severity::Ok);
        assert_eq!(judge_clock(now, &witness(now + SLACK)).0, Severity::Ok);
        let (verdict, text) = judge_clock(now, &witness(now + SLACK + Duration::from_secs(1)));
        assert_eq!(verdict, Severity::Fault);
        assert!(text.contains("1970-01-12T13:46:40Z, and it was at 1970-01-12T13:47:41Z; set it"), "{text}");
    }
}
