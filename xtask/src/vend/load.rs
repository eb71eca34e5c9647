//! Asking one URL over many connections, each as soon as it has its answer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::load::{Latencies, Line, Quantiles};

/// Answers that are not counted: the server and the machine get into their stride.
const WARM_UP: Duration = Duration::from_millis(500);

/// One URL and what asking it has given so far.
pub(crate) struct Course {
    name: &'static str,
    base_url: String,
    path: &'static str,
    header: Option<(HeaderName, HeaderValue)>,
    latencies: Latencies,
    asked_for: Duration,
}

/// The figures of one course.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    name: &'static str,
    requests: usize,
    seconds: f64,
    pub(crate) per_second: f64,
    #[serde(flatten)]
    quantiles: Quantiles,
}

impl Course {
    pub(crate) fn new(
        name: &'static str,
        base_url: &str,
        path: &'static str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Self {
        let base_url = base_url.to_owned();
        Self { name, base_url, path, header, latencies: Latencies::default(), asked_for: Duration::ZERO }
    }

    /// Asks for `length`, after a warm-up.
    ///
    /// # Errors
    /// An answer was missing, or was no 200.
    pub(crate) async fn run(&mut self, connections: u16, length: Duration) -> Result<()> {
        let tasks = TaskTracker::new();
        let (done, mut results) = mpsc::unbounded_channel();
        let from = Instant::now() + WARM_UP;
        for _ in 0..connections {
            let line = Line::open(&self.base_url, &tasks).await?;
            let (path, header, done) = (self.path, self.header.clone(), done.clone());
            tasks.spawn(async move {
                // When nobody listens any more, another connection has failed already.
                drop(done.send(ask_until(line, path, header, from, from + length).await));
            });
        }
        drop(done);
        while let Some(latencies) = results.recv().await {
            self.latencies.absorb(latencies.with_context(|| format!("asking for {}", self.name))?);
        }
        tasks.close();
        tasks.wait().await;
        self.asked_for += length;
        Ok(())
    }

    pub(crate) fn figures(self) -> Figures {
        let (requests, seconds) = (self.latencies.len(), self.asked_for.as_secs_f64());
        let per_second = f64::from(u32::try_from(requests).unwrap_or(u32::MAX)) / seconds;
        Figures { name: self.name, requests, seconds, per_second, quantiles: self.latencies.quantiles() }
    }
}

async fn ask_until(
    mut line: Line,
    path: &str,
    header: Option<(HeaderName, HeaderValue)>,
    from: Instant,
    until: Instant,
) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    loop {
        let asked = Instant::now();
        if asked >= until {
            return Ok(latencies);
        }
        let (status, body) = line.get(path, header.clone()).await?;
        ensure!(status == StatusCode::OK, "status {status}: {}", String::from_utf8_lossy(&body));
        let answered = Instant::now();
        // Answers that come after the end would count requests that had more time than the rest.
        if asked >= from && answered < until {
            latencies.push(answered - asked);
        }
    }
}

impl Figures {
    /// For people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}: {:.0} requests/s, p50 {:.2} ms, p99 {:.2} ms ({} requests in {:.0} s)",
            self.name, self.per_second, self.quantiles.p50, self.quantiles.p99, self.requests, self.seconds
        )
    }
}
