//! A `jeton serve` that runs, and everything that can be done to it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::command::Command;
use crate::home::TempHome;
use crate::port::FreePort;

/// How often a state is looked at that can only be polled.
const POLL: Duration = Duration::from_millis(10);

/// A running server process. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    port: FreePort,
    outputs: [PathBuf; 2],
    ended: bool,
}

impl Running {
    pub(crate) fn start(command: Command, port: FreePort) -> Result<Self> {
        let command = command.env("JETON__SERVER__LISTEN", &port.address().to_string());
        let outputs = command.outputs();
        let child = command.start()?;
        Ok(Self { child, port, outputs, ended: false })
    }

    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> String {
        self.port.base_url()
    }

    /// A client that has the right to everything `API_KEY` may do.
    pub fn client(&self) -> Client {
        Client::new(&self.base_url()).with_header("x-api-key", TempHome::API_KEY)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// The process ended, or was not ready in time; the error says what it wrote.
    pub async fn ready(&mut self, patience: Duration) -> Result<()> {
        let client = Client::new(&self.base_url()).with_deadline(Duration::from_secs(2));
        let begun = Instant::now();
        let mut last;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                bail!("the server ended before it was ready ({status})\n{}", self.written()?);
            }
            match client.get("/readyz").await {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => last = format!("{}: {}", reply.status, reply.text()),
                Err(error) => last = format!("{error:#}"),
            }
            if begun.elapsed() > patience {
                bail!("the server was not ready in {patience:?}; at last {last}\n{}", self.written()?);
            }
            sleep(POLL).await;
        }
    }

    /// Everything it has written to its outputs.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn written(&self) -> Result<String> {
        let mut text = String::new();
        for output in &self.outputs {
            let bytes = fs::read(output).with_context(|| format!("reading {}", output.display()))?;
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(text)
    }

    /// Kills it (`SIGKILL`) and waits until it is gone.
    ///
    /// # Errors
    /// It had ended before.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10)).await.map(drop)
    }

    /// Stops it in the middle of what it does (`SIGSTOP`), as a paused virtual machine would.
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`pause`](Self::pause) (`SIGCONT`).
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end (`SIGTERM`).
    ///
    /// # Errors
    /// It has ended.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let Some(status) = wait_for_exit(&mut self.child, patience).await? else {
            bail!("the server did not end in {patience:?}\n{}", self.written()?);
        };
        self.ended = true;
        Ok(status)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // After its end the number may name a stranger.
        anyhow::ensure!(!self.ended, "the server has ended");
        kill_process(Pid::from_child(&self.child), signal).context("signalling the server")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended && self.child.kill().is_ok() {
            // Reaped at once, so that the port and the files are free for whatever comes next. There is nobody to tell of an error.
            let _status = self.child.wait();
        }
    }
}

/// Polls for the end of a process; `None` when it has not ended in time.
pub(crate) async fn wait_for_exit(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for a process")? {
            return Ok(Some(status));
        }
        if begun.elapsed() > patience {
            return Ok(None);
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_process_or_with_patience() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        assert!(wait_for_exit(&mut child, Duration::from_millis(50)).await.unwrap().is_none());
        child.kill().unwrap();
        assert!(!wait_for_exit(&mut child, Duration::from_secs(10)).await.unwrap().unwrap().success());
    }
}
