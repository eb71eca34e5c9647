//! Time that passes only where a test says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jeton_core::time::{Clock, Timestamp};

/// A clock that stands still until it is moved. It begins at nothing, for rules that look at differences alone.
#[derive(Debug, Default)]
pub struct StillClock {
    micros: AtomicU64,
}

impl StillClock {
    /// Lets time pass.
    ///
    /// # Panics
    /// Half a million years have passed.
    pub fn pass(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).expect("tests pass hours, not ages");
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::default() + self.uptime()
    }

    fn uptime(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
}
