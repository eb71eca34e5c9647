//! The memory of a server's process.

use std::fs;

use anyhow::{Context, Result};

/// The resident memory of a process, in MiB: `VmRSS` now, `VmHWM` at its highest.
///
/// # Errors
/// The system does not say it: this works on Linux alone.
pub(crate) fn memory_mib(process: u32, field: &str) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    kib(&text, field).map(|kib| kib / 1_024.0).with_context(|| format!("{path} has no {field}"))
}

fn kib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_of_a_process() {
        assert_eq!(kib("VmPeak:\t  9 kB\nVmRSS:\t   12345 kB\n", "VmRSS"), Some(12_345.0));
        assert_eq!(kib("Name:\tx\n", "VmRSS"), None);
        assert!(memory_mib(std::process::id(), "VmRSS").unwrap() > 1.0);
    }
}
