//! Clocks that a test moves.

use std::sync::atomic::{AtomicU64, Ordering};
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

/// The clock of this machine, which a test can move ahead.
#[derive(Debug, Default)]
pub struct OffsetClock(Microseconds);

impl OffsetClock {
    /// Moves it further ahead.
    pub fn advance(&self, time: Duration) {
        self.0.add(time);
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0.get()
    }

    fn uptime(&self) -> Duration {
        SystemClock.uptime() + self.0.get()
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
