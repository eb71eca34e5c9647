//! The server as a process: how soon it answers, and what it weighs.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jeton_testkit::{ServerProcess, TestInstallation};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use super::PATIENCE;
use crate::load::{Line, api_key};

/// How long is waited before a server that does not answer yet is asked again.
const PAUSE: Duration = Duration::from_millis(1);

/// Starts a server in `home`; answers it, and how long it took from there to the first token.
///
/// # Errors
/// It did not give a token in time.
pub(super) async fn first_answer(home: &TestInstallation, path: &str) -> Result<(ServerProcess, Duration)> {
    let command = home.command(["serve"])?;
    let begun = Instant::now();
    let mut process = command.serve()?;
    let tasks = TaskTracker::new();
    loop {
        let answer =
            async { Line::open(&process.base_url(), &tasks).await?.get(path, Some(api_key())).await };
        let said = match answer.await {
            Ok((status, _)) if status == 200 => return Ok((process, begun.elapsed())),
            Ok((status, body)) => format!("{status}: {}", String::from_utf8_lossy(&body)),
            Err(error) => format!("{error:#}"),
        };
        if let Ok(status) = process.wait(Duration::ZERO).await {
            bail!("the server ended before it gave a token ({status})\n{}", process.output()?);
        }
        ensure!(begun.elapsed() < PATIENCE, "no token came; at last {said}\n{}", process.output()?);
        sleep(PAUSE).await;
    }
}

/// From the start of the process to the first token, in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Start {
    median_ms: f64,
    /// Of each start, the quickest first.
    each_ms: Vec<f64>,
}

impl Start {
    /// Starts and ends a server so many times.
    ///
    /// # Errors
    /// One did not start or end.
    pub(super) async fn measure(home: &TestInstallation, path: &str, times: usize) -> Result<Self> {
        let mut each_ms = Vec::new();
        for _ in 0..times {
            let (mut process, took) = first_answer(home, path).await?;
            each_ms.push(took.as_secs_f64() * 1_000.0);
            process.terminate()?;
            process.wait(PATIENCE).await?;
        }
        each_ms.sort_by(f64::total_cmp);
        let median_ms = match each_ms.len() / 2 {
            half if each_ms.len() % 2 == 0 => f64::midpoint(each_ms[half - 1], each_ms[half]),
            half => each_ms[half],
        };
        Ok(Self { median_ms, each_ms })
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let (first, last) = (self.each_ms.first().unwrap_or(&0.0), self.each_ms.last().unwrap_or(&0.0));
        format!(
            "start to first token: median {:.0} ms of {} ({first:.0} to {last:.0} ms)",
            self.median_ms,
            self.each_ms.len()
        )
    }
}

/// The resident memory of a process, in MiB.
///
/// # Errors
/// The system does not tell: this works on Linux.
pub(crate) fn resident_mib(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    resident_kib(&text).map(|kib| kib / 1_024.0).with_context(|| format!("{path} says no VmRSS"))
}

fn resident_kib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_what_the_system_says() {
        assert_eq!(resident_kib("VmPeak:\t  9 kB\nVmRSS:\t   12345 kB\n"), Some(12_345.0));
        assert_eq!(resident_kib("Name:\tx\n"), None);
        assert!(resident_mib(std::process::id()).unwrap() > 1.0);
    }
}
