//! Clocks that a test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jeton_core::time::{Clock, SystemClock, Timestamp};

/// A clock that moves only when a test moves it. It begins at zero, for rules that compare differences alone.
#[derive(Debug, Default)]
pub struct ManualClock(Microseconds);

impl ManualClock {
    /// Moves it ahead.
    pub fn advance(&self, time: Duration) {
        self.0.add(time);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::default() + self.0.get()
    }

    fn uptime(&self) -> Duration {
        self.0.get()
    }
}

/// The clock of this machine, which a test can move ahead, and whose civil time it can set.
#[derive(Debug, Default)]
pub struct OffsetClock {
    passed: Microseconds,
    /// How far the civil clock was set, in all, in microseconds.
    set: AtomicI64,
}

impl OffsetClock {
    /// Moves it further ahead: time passes.
    pub fn advance(&self, time: Duration) {
        self.passed.add(time);
    }

    /// Sets the civil clock: it shows so many seconds more, and no time passes.
    pub fn set_civil(&self, secs: i64) {
        self.set.fetch_add(secs * 1_000_000, Ordering::SeqCst);
    }

    fn right_time(&self) -> Timestamp {
        SystemClock.now() + self.passed.get()
    }
}

/// The same clock, as it would be if nobody set its civil time: that of others, such as a provider.
#[derive(Debug)]
pub struct RightClock(pub Arc<OffsetClock>);

impl Clock for RightClock {
    fn now(&self) -> Timestamp {
        self.0.right_time()
    }

    fn uptime(&self) -> Duration {
        self.0.uptime()
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let right = self.right_time();
        Timestamp::from_micros(right.as_micros() + self.set.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Duration {
        SystemClock.uptime() + self.passed.get()
    }
}

#[derive(Debug, Default)]
struct Microseconds(AtomicU64);

impl Microseconds {
    fn add(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).expect("tests move clocks by hours at most");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }

    fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }
}
