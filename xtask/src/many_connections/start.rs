//! One start of a server: how soon it answers, for whom, and how much memory it takes.

use std::time::Duration;

use anyhow::{Result, ensure};
use jeton_testkit::{ServerProcess, TestInstallation};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::calls;
use crate::latency::{Latencies, Quantiles, millis};
use crate::proof::TIMEOUT;
use crate::server_memory::memory_mib;

/// What the server writes once it has read everything.
const IN_MEMORY: &str = "ready: every connection is loaded";

/// A server that was started.
#[derive(Serialize)]
pub(super) struct Start {
    /// From the start of the process to the first 200 of `/readyz`.
    pub(super) ready_ms: f64,
    /// The first call after that, on a connection that has just been opened.
    pub(super) first_call_ms: f64,
    /// From the start of the process until it has logged that every connection is in memory.
    pub(super) in_memory_ms: f64,
    /// Calls one after the other until then, the connections that are read last first.
    pub(super) early_calls: usize,
    pub(super) early: Quantiles,
    pub(super) idle_resident_mib: f64,
}

impl Start {
    /// Starts a server in `installation`, asks for the tokens of the connections `names` while it reads them, and measures its memory
    /// when it has done nothing for `idle`.
    ///
    /// # Errors
    /// It does not start, or a call was not answered with the token that it should be.
    pub(super) async fn of(
        installation: &TestInstallation,
        idle: Duration,
        names: &[String],
    ) -> Result<(ServerProcess, Self)> {
        let command = installation.command(["serve"])?;
        let begun = Instant::now();
        let mut server = command.serve()?;
        server.wait_until_ready(TIMEOUT).await?;
        let ready = begun.elapsed();
        let mut connection = server.client().connect().await?;
        let mut names = names.iter().rev().cycle();
        let (mut early, mut first_call) = (Latencies::default(), None);
        let in_memory = loop {
            for name in names.by_ref().take(10) {
                let took = calls::ask_once(&mut connection, name).await?;
                first_call.get_or_insert(took);
                early.push(took);
            }
            if server.output()?.contains(IN_MEMORY) {
                break begun.elapsed();
            }
            ensure!(begun.elapsed() < TIMEOUT, "the server never logged {IN_MEMORY:?}");
        };
        drop(connection);
        sleep(idle).await;
        let start = Self {
            ready_ms: millis(ready),
            first_call_ms: first_call.map_or(0.0, millis),
            in_memory_ms: millis(in_memory),
            early_calls: early.len(),
            early: early.quantiles(),
            idle_resident_mib: memory_mib(server.id(), "VmRSS")?,
        };
        Ok((server, start))
    }

    /// The start in the middle of several, by how soon each was ready.
    pub(super) fn middle(mut starts: Vec<Self>) -> Self {
        starts.sort_by(|one, other| one.ready_ms.total_cmp(&other.ready_ms));
        starts.swap_remove(starts.len() / 2)
    }
}
