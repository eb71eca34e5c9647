//! The steady clock: what runs for a duration is neither ended nor lengthened by whoever sets the civil clock.
//!
//! It is the time that the machine counts through suspensions, plus an offset that a row keeps together with the boot it
//! holds for, so that all processes of one boot have one steady clock. In ports and rows instants stay civil. Beside
//! them a row keeps its *drift*: how far the steady clock was ahead of the civil one when the row was written. Whoever
//! reads the row moves the ends of its durations (lease, cool-down, backoff, and the times of an attempt whose outcome is
//! not known) by what the drift has changed since, and so reads them as the civil clock would show them now. Due times
//! and expiries mean the civil time, and are not moved.
//!
//! A new boot begins where the civil clock says that the last one had come to, and never before an attempt that is in the log //! record: a machine that wakes up in 1970 has no lease that lasts half a century. Where the system does not name its
//! boots, durations hang on the civil clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jeton_core::time::{Clock, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::open::retry_while_busy;

/// A change of the drift that is not worth noticing: reading two clocks takes a while, and civil time is slewed.
const TOLERANCE: i64 = 100_000;

/// A change that somebody should know of.
const NOTABLE_STEP: i64 = 5_000_000;

/// How many of the newest attempts tell how far the steady clock had come.
const NEWEST: i64 = 1_000;

/// How far the steady clock is ahead of the civil one, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockDrift(pub(super) i64);

impl ClockDrift {
    /// An instant of a row that was written at the drift `written`, as the civil clock would show it now.
    pub(super) fn rebased(self, instant: i64, written: Self) -> i64 {
        instant.saturating_add(written.0.saturating_sub(self.0))
    }

    /// The steady instant at `now`, as rows of any drift are compared with it.
    fn steady(self, now: Timestamp) -> i64 {
        now.as_micros().saturating_add(self.0)
    }
}

/// The civil time, and how far the steady clock is ahead of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockReading {
    pub(super) now: Timestamp,
    pub(super) drift: ClockDrift,
}

/// The clock of one store.
#[derive(Debug)]
pub(super) struct BootClock {
    clock: Arc<dyn Clock>,
    /// From the time that the machine counts to the steady clock; absent where boots have no name.
    offset: Option<i64>,
    drift: AtomicI64,
}

impl BootClock {
    /// The civil time, and the drift that goes with it.
    pub(super) fn read(&self) -> ClockReading {
        let now = self.clock.now();
        let known = self.drift.load(Ordering::Relaxed);
        let Some(offset) = self.offset else { return ClockReading { now, drift: ClockDrift(known) } };
        let drift = drift_of(&*self.clock, now, offset);
        let change = drift.saturating_sub(known).saturating_abs();
        if change < TOLERANCE {
            return ClockReading { now, drift: ClockDrift(known) };
        }
        if change >= NOTABLE_STEP {
            tracing::warn!(%now, by_micros = change, "the civil clock was set; leases and holds go on as they were");
        }
        self.drift.store(drift, Ordering::Relaxed);
        ClockReading { now, drift: ClockDrift(drift) }
    }
}

/// The name of this boot of the machine, where the system has one.
pub(crate) fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// The steady clock of a database. A boot that is new to it is recorded.
pub(super) fn open(
    conn: &Connection,
    clock: Arc<dyn Clock>,
    boot: Option<&str>,
    busy_timeout: Duration,
) -> rusqlite::Result<BootClock> {
    let mut anchor = look(conn, &*clock, boot)?;
    if let (Some(boot), true) = (boot, anchor.is_new) {
        match record(conn, &*clock, boot, busy_timeout) {
            Ok(recorded) => anchor = recorded,
            // A database that cannot be written, such as one on a full disk, is still read; processes that work it out
            // for themselves differ by no more than it takes to look.
            Err(error) => tracing::warn!(%error, "the clock of this boot cannot be recorded yet"),
        }
    }
    Ok(BootClock { clock, offset: anchor.offset, drift: AtomicI64::new(anchor.drift.0) })
}

/// The drift of a database that is only looked at.
pub(super) fn drift(conn: &Connection, clock: &dyn Clock) -> rusqlite::Result<ClockDrift> {
    look(conn, clock, boot().as_deref()).map(|anchor| anchor.drift)
}

struct ClockAnchor {
    offset: Option<i64>,
    drift: ClockDrift,
    is_new: bool,
}

fn look(conn: &Connection, clock: &dyn Clock, boot: Option<&str>) -> rusqlite::Result<ClockAnchor> {
    let now = clock.now();
    if let Some(boot) = boot
        && let Some(offset) = conn
            .query_row("SELECT steady_offset FROM store WHERE boot = ?", params![boot], |row| row.get(0))
            .optional()?
            .flatten()
    {
        return Ok(ClockAnchor {
            offset: Some(offset),
            drift: ClockDrift(drift_of(clock, now, offset)),
            is_new: false,
        });
    }
    let last: Option<i64> = conn
        .query_row("SELECT drift FROM connections ORDER BY revision DESC LIMIT 1", (), |row| row.get(0))
        .optional()?;
    let last = ClockDrift(last.unwrap_or(0));
    if boot.is_none() {
        return Ok(ClockAnchor { offset: None, drift: last, is_new: false });
    }
    let reached: Option<i64> = conn.query_row(
        "SELECT max(started_at + drift) FROM (SELECT started_at, drift FROM attempts ORDER BY id DESC LIMIT ?)",
        params![NEWEST],
        |row| row.get(0),
    )?;
    let steady = last.steady(now).max(reached.unwrap_or(i64::MIN));
    let offset = steady.saturating_sub(counted(clock));
    Ok(ClockAnchor { offset: Some(offset), drift: ClockDrift(drift_of(clock, now, offset)), is_new: true })
}

fn record(
    conn: &Connection,
    clock: &dyn Clock,
    boot: &str,
    busy_timeout: Duration,
) -> rusqlite::Result<ClockAnchor> {
    retry_while_busy(busy_timeout, || conn.execute_batch("BEGIN IMMEDIATE"))?;
    let recorded = look(conn, clock, Some(boot)).and_then(|anchor| {
        if anchor.is_new {
            conn.execute("UPDATE store SET boot = ?, steady_offset = ?", params![boot, anchor.offset])?;
        }
        conn.execute_batch("COMMIT")?;
        Ok(anchor)
    });
    if recorded.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    recorded
}

fn counted(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.uptime().as_micros()).unwrap_or(i64::MAX)
}

fn drift_of(clock: &dyn Clock, now: Timestamp, offset: i64) -> i64 {
    counted(clock).saturating_add(offset).saturating_sub(now.as_micros())
}
