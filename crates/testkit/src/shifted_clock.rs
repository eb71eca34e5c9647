//! The civil clock of other processes, which a test sets while they run.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result};

use crate::preload::Preload;

const SOURCE: &str = include_str!("shifted_clock.c");
const SHIFT: &str = "shift";

/// A civil clock for processes that are started with its environment: right at first, and off by so much as it is set. The
/// steady clocks of those processes stay as they are.
#[derive(Debug)]
pub struct ShiftedClock {
    library: Preload,
    shift: File,
}

impl ShiftedClock {
    /// A clock that is right.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub fn new() -> Result<Self> {
        let library = Preload::compile("shifted_clock", SOURCE)?;
        let path = library.folder().join(SHIFT);
        fs::write(&path, [0; 8])?;
        let shift = File::options().write(true).open(&path).context("opening the shift of a clock")?;
        Ok(Self { library, shift })
    }

    /// Sets it: it is so many seconds ahead of the right time from now on, or behind where that is negative.
    pub fn set(&self, secs: i64) -> Result<()> {
        self.shift.write_all_at(&(secs * 1_000_000).to_ne_bytes(), 0).context("setting a clock")
    }

    /// What processes that go by it have in their environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        self.library.environment("JETON_TEST_CLOCK", SHIFT)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn year_in_a_process(clock: &ShiftedClock) -> String {
        let mut date = Command::new("date");
        let output = date.args(["-u", "+%Y"]).envs(clock.environment()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_process_sees_the_civil_time_that_was_set() {
        let clock = ShiftedClock::new().unwrap();
        let year: i64 = year_in_a_process(&clock).parse().unwrap();
        clock.set(10 * 366 * 86_400).unwrap();
        assert!([year + 10, year + 11].map(|year| year.to_string()).contains(&year_in_a_process(&clock)));
        clock.set(0).unwrap();
        assert_eq!(year_in_a_process(&clock), year.to_string());
    }
}
