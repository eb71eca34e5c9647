//! Sends requests over many connections, each as soon as the one before it is answered.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use jeton_testkit::{Client, ClientConnection};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::latency::{Latencies, Quantiles};

/// Answers that are not counted: connections and caches are filled meanwhile.
const WARM_UP: Duration = Duration::from_millis(500);

/// Loads take turns, so that a slow moment of the machine meets all of them.
const TURNS: u32 = 2;

/// One URL, and what was measured there so far.
pub(crate) struct Load {
    name: &'static str,
    client: Client,
    path: &'static str,
    latencies: Latencies,
}

/// The figures of one load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LoadFigures {
    name: &'static str,
    requests: usize,
    seconds: f64,
    pub(crate) per_second: f64,
    #[serde(flatten)]
    quantiles: Quantiles,
}

/// Sends each load for `length` in all, in turns.
///
/// # Errors
/// An answer was missing, or was not 200.
pub(crate) async fn measure(
    mut loads: Vec<Load>,
    connections: u16,
    length: Duration,
) -> Result<Vec<LoadFigures>> {
    for _ in 0..TURNS {
        for load in &mut loads {
            load.send(connections, length / TURNS).await?;
        }
    }
    Ok(loads.into_iter().map(|load| load.figures(length)).collect())
}

impl Load {
    pub(crate) fn new(name: &'static str, client: Client, path: &'static str) -> Self {
        Self { name, client, path, latencies: Latencies::default() }
    }

    async fn send(&mut self, connections: u16, length: Duration) -> Result<()> {
        let mut senders = JoinSet::new();
        let from = Instant::now() + WARM_UP;
        for _ in 0..connections {
            senders.spawn(send_until(self.client.connect().await?, self.path, from, from + length));
        }
        for latencies in senders.join_all().await {
            self.latencies.extend(latencies.with_context(|| format!("measuring {}", self.name))?);
        }
        Ok(())
    }

    fn figures(self, length: Duration) -> LoadFigures {
        let (requests, seconds) = (self.latencies.len(), length.as_secs_f64());
        let per_second = f64::from(u32::try_from(requests).unwrap_or(u32::MAX)) / seconds;
        LoadFigures { name: self.name, requests, seconds, per_second, quantiles: self.latencies.quantiles() }
    }
}

async fn send_until(
    mut connection: ClientConnection,
    path: &'static str,
    from: Instant,
    until: Instant,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    loop {
        let sent = Instant::now();
        if sent >= until {
            return Ok(latencies);
        }
        let reply = connection.get(path, &[]).await?;
        ensure!(reply.status == StatusCode::OK, "status {}: {}", reply.status, reply.text());
        let answered = Instant::now();
        // Answers that come after the end would count requests that had more time than the rest.
        if sent >= from && answered < until {
            latencies.push(answered - sent);
        }
    }
}
