//! A static answer of `node:http`: what a runtime that people know does on the same machine.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jeton_testkit::{Client, FreePort};
use tokio::time::{Instant, sleep};

const TIMEOUT: Duration = Duration::from_secs(10);

/// As long as an answer with a token.
const PROGRAM: &str = r"
const body = JSON.stringify({ access_token: 'x'.repeat(44), token_type: 'Bearer', filling: 'y'.repeat(150) });
const headers = { 'content-type': 'application/json', 'content-length': body.length };
require('node:http').createServer((_, res) => { res.writeHead(200, headers); res.end(body); })
  .listen(Number(process.env.PORT), '127.0.0.1');
";

/// What it is called in the figures.
pub(super) const NAME: &str = "static answer of node:http";

/// A running server. It is killed when the value is dropped.
pub(super) struct NodeServer {
    child: Child,
    port: FreePort,
}

impl NodeServer {
    /// Starts it; `None` when Node.js is not installed.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn start() -> Result<Option<Self>> {
        let port = FreePort::find()?;
        let mut command = Command::new("node");
        command.args(["-e", PROGRAM]).env("PORT", port.number().to_string()).stdin(Stdio::null());
        let child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child.context("starting `node`")?,
        };
        let server = Self { child, port };
        let (client, begun) = (server.client(), Instant::now());
        while let Err(error) = client.get("/").await {
            if begun.elapsed() > TIMEOUT {
                bail!("node:http does not answer: {error:#}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(server))
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.port.base_url())
    }
}

impl Drop for NodeServer {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            // Reaped; where that fails it has ended all the same.
            let _ = self.child.wait();
        }
    }
}
