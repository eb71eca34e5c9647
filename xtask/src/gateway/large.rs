//! Large bodies, down and up: the memory of the gateway does not grow with them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, header};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jeton_testkit::{ServerProcess, TestInstallation};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::api::Zeros;
use crate::server_memory::memory_mib;

/// How much the gateway may grow meanwhile, in MiB: replay bodies and buffers.
const GROWTH: f64 = 32.0;

#[derive(Debug, Serialize)]
pub(super) struct LargeBodies {
    mib: u64,
    down_seconds: f64,
    up_seconds: f64,
    /// The most resident memory that the process ever had before, and after.
    peak_before_mib: f64,
    peak_after_mib: f64,
}

pub(super) async fn run(server: &ServerProcess, bytes: u64) -> Result<LargeBodies> {
    let peak_before_mib = memory_mib(server.id(), "VmHWM")?;
    let down = exchange(server, &format!("/api/v1/proxy/plain/down/{bytes}"), 0).await?;
    ensure!(down.received == bytes, "{} of {bytes} bytes came down", down.received);
    let up = exchange(server, "/api/v1/proxy/plain/up", bytes).await?;
    ensure!(up.text == bytes.to_string(), "{} of {bytes} bytes went up", up.text);
    Ok(LargeBodies {
        mib: bytes / 1024 / 1024,
        down_seconds: down.took.as_secs_f64(),
        up_seconds: up.took.as_secs_f64(),
        peak_before_mib,
        peak_after_mib: memory_mib(server.id(), "VmHWM")?,
    })
}

struct Exchanged {
    received: u64,
    /// The beginning of the answer.
    text: String,
    took: Duration,
}

async fn exchange(server: &ServerProcess, path: &str, bytes: u64) -> Result<Exchanged> {
    let begun = Instant::now();
    let base = server.base_url();
    let authority = base.strip_prefix("http://").context("the base URL is plain http")?;
    let stream = TcpStream::connect(authority).await.context("connecting to the gateway")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post(path).header(header::HOST, authority);
    let request = request.header("x-api-key", TestInstallation::API_KEY).body(Zeros(bytes))?;
    let exchange = async {
        let reply = sender.send_request(request).await?;
        ensure!(reply.status().is_success(), "{path} answered {}", reply.status());
        let (mut body, mut received, mut text) = (reply.into_body(), 0, String::new());
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame?.into_data() else { continue };
            received += piece.len() as u64;
            if text.len() < 64 {
                text.push_str(&String::from_utf8_lossy(&piece[..piece.len().min(64)]));
            }
        }
        Ok(Exchanged { received, text, took: begun.elapsed() })
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

impl LargeBodies {
    pub(super) fn finding(&self) -> Option<String> {
        let growth = self.peak_after_mib - self.peak_before_mib;
        (growth > GROWTH).then(|| format!("memory grew by {growth:.1} MiB with bodies of {} MiB", self.mib))
    }
}
