//! The civil clock of other processes, which a test sets while they run.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

const SOURCE: &str = include_str!("shifted_clock.c");

/// A civil clock for processes that are started with its environment: right at first, and off by so much as it is set. The
/// steady clocks of those processes stay as they are.
///
/// The C compiler that links the tests makes it: a library that the processes load first.
#[derive(Debug)]
pub struct ShiftedClock {
    folder: TempDir,
    shift: File,
}

impl ShiftedClock {
    /// A clock that is right.
    ///
    /// # Errors
    /// It cannot be compiled.
    pub fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("jeton-clock-").context("making a folder for a clock")?;
        // Servers of another user load it as well.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let source = folder.path().join("shifted_clock.c");
        fs::write(&source, SOURCE)?;
        let library = folder.path().join("shifted_clock.so");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source);
        let output = compile.output().context("starting `cc`")?;
        ensure!(output.status.success(), "`cc` failed: {}", String::from_utf8_lossy(&output.stderr));
        let path = folder.path().join("shift");
        fs::write(&path, [0; 8])?;
        let shift = File::options().write(true).open(&path).context("opening the shift of a clock")?;
        Ok(Self { folder, shift })
    }

    /// Sets it: it is so many seconds ahead of the right time from now on, or behind where that is negative.
    pub fn set(&self, secs: i64) -> Result<()> {
        self.shift.write_all_at(&(secs * 1_000_000).to_ne_bytes(), 0).context("setting a clock")
    }

    /// What processes that go by it have in their environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        [("LD_PRELOAD", path("shifted_clock.so")), ("JETON_TEST_CLOCK", path("shift"))]
    }
}

#[cfg(test)]
mod tests {
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
