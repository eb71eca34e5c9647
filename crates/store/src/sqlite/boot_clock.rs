//! The clock of the store: a steady one, which all processes of the machine share.
//!
//! It is the time that the machine counts through suspensions, plus an offset that a row keeps together with the boot it holds for.
//! Rows keep instants of that scale, whoever sets the civil clock. A process shows them on a scale of its own, which is as far
//! from that one as the civil clock was when the process opened the store. So within a process instants never jump, and a process
//! that has just begun shows the civil time.
//!
//! The store writes down how far the clock has come, and how far it was ahead of the civil one: the *mark*. What follows from it
//! is in [`jeton_core::clocks`]: where the clock goes on after a boot, and how much time it may have missed, as when a virtual
//! machine was paused. So much is taken off the lives of the access tokens that the store holds. Where the system does not name
//! its boots, each process takes the clock up where the civil clock says.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::clocks::{SteadyMark, StoreReading, UncountedTime};
use jeton_core::time::{Clock, Timestamp};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::open::retry_while_busy;

/// The setting that keeps the mark: two numbers of 8 bytes, the steady instant and the drift.
const MARK: &str = "steady_mark";

/// How old the mark may be.
const MARK_EVERY: Duration = Duration::from_secs(10);

/// How many of the newest attempts tell how far the steady clock had come, in a store that has no mark yet.
const NEWEST: i64 = 1_000;

/// The clock of one store.
#[derive(Debug)]
pub(super) struct BootClock {
    clock: Arc<dyn Clock>,
    /// What the civil clock showed, within a moment, when this process opened the store, and what the machine had counted.
    opened: (Timestamp, Duration),
    shift: i64,
    /// The last mark that this process knows of.
    mark: Mutex<SteadyMark>,
}

impl BootClock {
    /// The instant by the clock of the store.
    pub(super) fn now(&self) -> Timestamp {
        let (shown, counted) = self.opened;
        shown + self.clock.uptime().saturating_sub(counted)
    }

    /// The same, and what the civil clock shows.
    pub(super) fn reading(&self) -> StoreReading {
        StoreReading { now: self.now(), civil: Some(self.clock.now()) }
    }

    /// How far instants in rows are ahead of the instants that this process shows, in microseconds.
    pub(super) fn shift(&self) -> i64 {
        self.shift
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_micros(self.now().as_micros().saturating_add(self.shift))
    }

    /// Writes down how far the clock has come, where that was not done for a while or the civil clock was set. Belongs to a
    /// transaction that writes.
    pub(super) fn mark(&self, conn: &Connection) -> rusqlite::Result<()> {
        let known = *self.mark.lock();
        let now = SteadyMark::of(self.steady(), self.clock.now());
        if !known.differs_from(now) && now.steady.since(known.steady) < MARK_EVERY {
            return Ok(());
        }
        // Another process may have noticed it before.
        let before = read_mark(conn)?.unwrap_or(known);
        if before.differs_from(now) {
            let by_seconds = before.drift.saturating_sub(now.drift) / 1_000_000;
            tracing::warn!(
                by_seconds,
                "the civil clock was set, or this machine was paused: leases go on as they were, and access tokens lose the time \
                 that may have passed unnoticed"
            );
        }
        let missed = before.uncounted_until(now);
        take_off(conn, missed, now.steady)?;
        let mark = if before.differs_from(now) { now } else { SteadyMark { steady: now.steady, ..before } };
        write_mark(conn, mark)?;
        *self.mark.lock() = mark;
        Ok(())
    }
}

/// The name of this boot of the machine, where the system has one.
pub(crate) fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// The clock of a database. A boot that is new to it is recorded.
pub(super) fn open(
    conn: &Connection,
    clock: Arc<dyn Clock>,
    boot: Option<&str>,
    busy_timeout: Duration,
) -> rusqlite::Result<BootClock> {
    let mut anchor = look(conn, &*clock, boot)?;
    if anchor.has_news {
        match record(conn, &*clock, boot, busy_timeout) {
            Ok(recorded) => anchor = recorded,
            // A database that cannot be written, such as one on a full disk, is still read; processes that work it out
            // for themselves differ by no more than it takes to look.
            Err(error) => tracing::warn!(%error, "the clock of this boot cannot be recorded yet"),
        }
    }
    let (shift, opened) = (anchor.shift(), (anchor.shown(), anchor.counted));
    Ok(BootClock { clock, opened, shift, mark: Mutex::new(anchor.mark) })
}

/// The instant now and the shift, for a database that is only looked at.
pub(super) fn inspect(conn: &Connection, clock: &dyn Clock) -> rusqlite::Result<(Timestamp, i64)> {
    let anchor = look(conn, clock, boot().as_deref())?;
    Ok((anchor.shown(), anchor.shift()))
}

/// What ties the clock of the store to those of the machine.
struct ClockAnchor {
    civil: Timestamp,
    counted: Duration,
    /// The clock of the store then.
    steady: Timestamp,
    mark: SteadyMark,
    /// What the clock missed since the mark.
    missed: UncountedTime,
    /// The boot is new, or the civil clock was set since the mark.
    has_news: bool,
    /// There is no mark: rows may still be on the scale of the civil clock.
    is_first: bool,
}

impl ClockAnchor {
    /// The drift of the mark, unless the civil clock was set since: then all processes show the same instant for the same row,
    /// though each has read two clocks one after the other.
    fn shift(&self) -> i64 {
        let now = SteadyMark::of(self.steady, self.civil);
        if self.mark.differs_from(now) { now.drift } else { self.mark.drift }
    }

    /// What this process shows for the instant of the clocks.
    fn shown(&self) -> Timestamp {
        Timestamp::from_micros(self.steady.as_micros().saturating_sub(self.shift()))
    }
}

fn look(conn: &Connection, clock: &dyn Clock, boot: Option<&str>) -> rusqlite::Result<ClockAnchor> {
    let (civil, counted) = (clock.now(), clock.uptime());
    let found = read_mark(conn)?;
    let mark = found.map_or_else(|| mark_of_rows(conn), Ok)?;
    let offset: Option<i64> = conn
        .query_row("SELECT steady_offset FROM store WHERE boot = ?", params![boot], |row| row.get(0))
        .optional()?
        .flatten();
    let (steady, missed) = if let Some(offset) = offset {
        let steady = Timestamp::from_micros(offset) + counted;
        let now = SteadyMark::of(steady, civil);
        (steady, found.map_or(UncountedTime::Nothing, |mark| mark.uncounted_until(now)))
    } else {
        mark.resume(civil)
    };
    let has_news =
        offset.is_none() || found.is_none_or(|mark| mark.differs_from(SteadyMark::of(steady, civil)));
    Ok(ClockAnchor { civil, counted, steady, mark, missed, has_news, is_first: found.is_none() })
}

fn record(
    conn: &Connection,
    clock: &dyn Clock,
    boot: Option<&str>,
    busy_timeout: Duration,
) -> rusqlite::Result<ClockAnchor> {
    retry_while_busy(busy_timeout, || conn.execute_batch("BEGIN IMMEDIATE"))?;
    let recorded = look(conn, clock, boot).and_then(|mut anchor| {
        if anchor.is_first {
            move_to_steady_scale(conn)?;
        }
        if anchor.has_news {
            let offset = anchor.steady - anchor.counted;
            conn.execute("UPDATE store SET boot = ?, steady_offset = ?", params![boot, offset.as_micros()])?;
            take_off(conn, anchor.missed, anchor.steady)?;
            anchor.mark = SteadyMark::of(anchor.steady, anchor.civil);
            write_mark(conn, anchor.mark)?;
        }
        conn.execute_batch("COMMIT")?;
        Ok(anchor)
    });
    if recorded.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    recorded
}

fn read_mark(conn: &Connection) -> rusqlite::Result<Option<SteadyMark>> {
    let bytes: Option<[u8; 16]> = conn
        .prepare_cached("SELECT value FROM settings WHERE name = ?")?
        .query_row(params![MARK], |row| row.get(0))
        .optional()?;
    Ok(bytes.map(|bytes| {
        let number = |part: usize| {
            bytes[part * 8..][..8].iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte))
        };
        SteadyMark { steady: Timestamp::from_micros(number(0)), drift: number(1) }
    }))
}

fn write_mark(conn: &Connection, mark: SteadyMark) -> rusqlite::Result<()> {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mark.steady.as_micros().to_be_bytes());
    bytes[8..].copy_from_slice(&mark.drift.to_be_bytes());
    conn.prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)")?
        .execute(params![MARK, bytes])
        .map(|_| ())
}

/// What the rows of a store without a mark say: the drift of the last change, and the latest attempt.
fn mark_of_rows(conn: &Connection) -> rusqlite::Result<SteadyMark> {
    let drift: Option<i64> = conn
        .query_row("SELECT drift FROM connections ORDER BY revision DESC LIMIT 1", (), |row| row.get(0))
        .optional()?;
    let reached: Option<i64> = conn.query_row(
        "SELECT max(started_at + drift) FROM (SELECT started_at, drift FROM attempts ORDER BY id DESC LIMIT ?)",
        params![NEWEST],
        |row| row.get(0),
    )?;
    let steady = Timestamp::from_micros(reached.unwrap_or(i64::MIN));
    Ok(SteadyMark { steady, drift: drift.unwrap_or(0) })
}

/// Rows of earlier versions keep civil instants, and how far the steady clock was ahead of them. Attempts are left as they are:
/// that is added whenever they are read.
fn move_to_steady_scale(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(
        "UPDATE tokens SET obtained_at = obtained_at + c.drift, access_expires_at = access_expires_at + c.drift,
                refresh_expires_at = refresh_expires_at + c.drift
             FROM connections AS c WHERE c.name = tokens.connection AND c.drift <> 0;
         UPDATE connections SET due_at = due_at + drift, lease_until = lease_until + drift,
                cooling_until = cooling_until + drift, brake_until = brake_until + drift, created_at = created_at + drift,
                drift = 0
             WHERE drift <> 0;",
    )
}

/// Takes what the clock missed off the lives of access tokens, and makes due what that makes due.
fn take_off(conn: &Connection, missed: UncountedTime, steady: Timestamp) -> rusqlite::Result<()> {
    match missed {
        UncountedTime::Nothing => {}
        UncountedTime::AtMost(time) => {
            let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
            conn.execute(
                "UPDATE tokens SET obtained_at = obtained_at - ?1, access_expires_at = access_expires_at - ?1",
                params![micros],
            )?;
            conn.execute(
                "UPDATE connections SET due_at = due_at - ?1 WHERE due_at IS NOT NULL",
                params![micros],
            )?;
        }
        UncountedTime::Unknown => {
            let now = params![steady.as_micros()];
            conn.execute("UPDATE tokens SET access_expires_at = min(access_expires_at, ?1)", now)?;
            conn.execute("UPDATE connections SET due_at = min(due_at, ?1) WHERE due_at IS NOT NULL", now)?;
        }
    }
    Ok(())
}
