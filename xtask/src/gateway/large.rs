//! Large bodies, down and up: the memory of the gateway does not grow with them.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jeton_testkit::ServerProcess;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::api::{Api, Zeros};
use crate::load::api_key;

/// How much the gateway may grow meanwhile, in MiB: what is kept of a body, and buffers.
const GROWTH: f64 = 32.0;

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    mib: u64,
    down_seconds: f64,
    up_seconds: f64,
    /// The most resident memory that the process ever had before, and after.
    peak_before_mib: f64,
    peak_after_mib: f64,
}

pub(super) async fn run(server: &ServerProcess, api: &Api, bytes: u64) -> Result<Figures> {
    let peak_before_mib = peak_mib(server.id())?;
    let down = exchange(server, &format!("/api/v1/proxy/plain/down/{bytes}"), 0).await?;
    ensure!(down.came == bytes, "{} of {bytes} bytes came down from {}", down.came, api.base_url());
    let up = exchange(server, "/api/v1/proxy/plain/up", bytes).await?;
    ensure!(up.text == bytes.to_string(), "{} of {bytes} bytes went up", up.text);
    Ok(Figures {
        mib: bytes / 1024 / 1024,
        down_seconds: down.took.as_secs_f64(),
        up_seconds: up.took.as_secs_f64(),
        peak_before_mib,
        peak_after_mib: peak_mib(server.id())?,
    })
}

struct Exchanged {
    came: u64,
    /// The beginning of the answer.
    text: String,
    took: Duration,
}

async fn exchange(server: &ServerProcess, path: &str, bytes: u64) -> Result<Exchanged> {
    let begun = Instant::now();
    let base = server.base_url();
    let authority = base.strip_prefix("http://").context("plain http on loopback is spoken here")?;
    let stream = TcpStream::connect(authority).await.context("connecting to the gateway")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::post(path).header(header::HOST, authority).body(Zeros(bytes))?;
    request.headers_mut().extend([api_key()]);
    let exchange = async {
        let reply = sender.send_request(request).await?;
        ensure!(reply.status().is_success(), "{path} answered {}", reply.status());
        let (mut body, mut came, mut text) = (reply.into_body(), 0, String::new());
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            came += piece.len() as u64;
            if text.len() < 64 {
                text.push_str(&String::from_utf8_lossy(&piece[..piece.len().min(64)]));
            }
        }
        Ok(Exchanged { came, text, took: begun.elapsed() })
    };
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        exchanged = &mut exchange => exchanged,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}

/// The most resident memory that a process ever had, in MiB.
fn peak_mib(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .with_context(|| format!("{path} says no VmHWM"))?;
    Ok(kib / 1_024.0)
}

impl Figures {
    pub(super) fn line(&self) -> String {
        format!(
            "{} MiB down in {:.1} s and up in {:.1} s; peak resident memory {:.1} MiB before and {:.1} MiB after",
            self.mib, self.down_seconds, self.up_seconds, self.peak_before_mib, self.peak_after_mib
        )
    }

    pub(super) fn findings(&self) -> Option<String> {
        let growth = self.peak_after_mib - self.peak_before_mib;
        (growth > GROWTH).then(|| format!("memory grew by {growth:.1} MiB with bodies of {} MiB", self.mib))
    }
}
