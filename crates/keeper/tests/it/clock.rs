//! The clock of this machine, moved ahead at will: the store, the provider and all processes of a test read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jeton_core::time::{Clock, SystemClock, Timestamp};

/// A clock that tests move ahead.
#[derive(Debug, Default)]
pub(crate) struct MovableClock {
    ahead_micros: AtomicU64,
}

impl MovableClock {
    /// Lets time pass for everybody, as if the machine had slept.
    pub(crate) fn pass(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).expect("tests pass days, not ages");
        self.ahead_micros.fetch_add(micros, Ordering::SeqCst);
    }

    fn ahead(&self) -> Duration {
        Duration::from_micros(self.ahead_micros.load(Ordering::SeqCst))
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.ahead()
    }

    fn uptime(&self) -> Duration {
        SystemClock.uptime() + self.ahead()
    }
}
