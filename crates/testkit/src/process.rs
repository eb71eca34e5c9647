//! Processes: the `jeton` binary as a command that runs to its end or as a server, and the end of an nginx.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::paths::jeton_binary;
use crate::port::FreePort;

/// What `API_KEY` is for every process, unless its command says otherwise.
pub(crate) const API_KEY: &str = "testkit-api-key-7c1f0a5e9d3b4826";

/// How often a state is looked at that can only be polled.
const POLL: Duration = Duration::from_millis(10);

static COMMANDS: AtomicU32 = AtomicU32::new(0);

/// What a command wrote and how it ended.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl CommandOutput {
    /// The standard output of a command that ended with 0.
    ///
    /// # Errors
    /// It did not; the error holds what it wrote.
    pub fn success(self) -> Result<String> {
        ensure!(self.code == Some(0), "exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// The standard output of a command that ended with 0, as JSON.
    pub fn json(self) -> Result<Value> {
        let text = self.success()?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }
}

/// A command of the binary, not yet started. Of this process's environment it sees `PATH` alone.
#[derive(Debug)]
pub struct JetonCommand {
    process: Command,
    stdin: Option<String>,
    stdout: PathBuf,
    stderr: PathBuf,
    name: String,
}

impl JetonCommand {
    /// The command `jeton --config SETTINGS ARGUMENTS` in `directory`; its outputs go to files in `outputs`.
    pub(crate) fn new<'a>(
        directory: &Path,
        settings: &Path,
        outputs: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let name = format!("jeton {}", arguments.join(" "));
        let number = COMMANDS.fetch_add(1, Ordering::Relaxed);
        let output = |kind: &str| outputs.join(format!("{number:04}.{kind}"));
        let (stdout, stderr) = (output("stdout"), output("stderr"));
        let mut process = Command::new(jeton_binary()?);
        process
            .arg("--config")
            .arg(settings)
            .args(&arguments)
            .current_dir(directory)
            .env_clear()
            .env("HOME", directory)
            .env("API_KEY", API_KEY)
            .env("RUST_BACKTRACE", "1");
        if let Some(path) = std::env::var_os("PATH") {
            process.env("PATH", path);
        }
        Ok(Self { process, stdin: None, stdout, stderr, name })
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.process.env(name, value);
        self
    }

    /// Sets environment variables, such as those of a [`ShiftedClock`](crate::ShiftedClock).
    #[must_use]
    pub fn envs<'a>(mut self, variables: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        self.process.envs(variables);
        self
    }

    /// Removes an environment variable that every command has, such as `API_KEY`.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.process.env_remove(name);
        self
    }

    /// Starts it with these limits of open files, soft and hard (`ulimit -n`).
    #[must_use]
    pub fn with_open_files(mut self, soft: u32, hard: u32) -> Self {
        let mut limited = Command::new("sh");
        limited
            .args(["-c", r#"ulimit -Sn "$0" && ulimit -Hn "$1" && shift && exec "$@""#])
            .args([soft.to_string(), hard.to_string()])
            .arg(self.process.get_program())
            .args(self.process.get_args())
            .env_clear();
        for (name, value) in self.process.get_envs() {
            limited.env(name, value.unwrap_or_default());
        }
        if let Some(directory) = self.process.get_current_dir() {
            limited.current_dir(directory);
        }
        self.process = limited;
        self
    }

    /// The whole of its standard input.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// The file of its standard error, which can be read while it runs.
    pub fn stderr_file(&self) -> PathBuf {
        self.stderr.clone()
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, or runs longer than `limit`; then it is killed.
    pub async fn run(self, limit: Duration) -> Result<CommandOutput> {
        let stdin = self.stdin.clone();
        self.run_with_stdin(limit, async { stdin.unwrap_or_default() }).await
    }

    /// Starts it, waits for `answer`, writes that as a line to its standard input, and waits for its end.
    ///
    /// # Errors
    /// It cannot be started, or runs longer than `limit` from the answer on; then it is killed.
    pub async fn run_with_answer(
        self,
        limit: Duration,
        answer: impl Future<Output = String>,
    ) -> Result<CommandOutput> {
        self.run_with_stdin(limit, async { answer.await + "\n" }).await
    }

    async fn run_with_stdin(
        mut self,
        limit: Duration,
        text: impl Future<Output = String>,
    ) -> Result<CommandOutput> {
        let (mut child, stdin) = self.spawn()?;
        write_stdin(stdin, &text.await)?;
        let status = wait_for_exit(&mut child, limit).await;
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (stdout, stderr) = (read(&self.stdout)?, read(&self.stderr)?);
        let Some(status) = status? else {
            child
                .kill()
                .and_then(|()| child.wait().map(drop))
                .context("killing a command that took too long")?;
            bail!("`{}` did not end in {limit:?}\n{stdout}\n{stderr}", self.name);
        };
        Ok(CommandOutput { code: status.code(), stdout, stderr })
    }

    /// Starts it as a server that listens at a free port.
    pub fn serve(self) -> Result<ServerProcess> {
        self.serve_at(FreePort::find()?)
    }

    /// Starts it as a server that listens at this port, which others were told beforehand.
    pub fn serve_at(self, port: FreePort) -> Result<ServerProcess> {
        let mut command = self.env("JETON__SERVER__LISTEN", &port.address().to_string());
        let (child, stdin) = command.spawn()?;
        write_stdin(stdin, command.stdin.as_deref().unwrap_or_default())?;
        Ok(ServerProcess { child, port, outputs: [command.stdout, command.stderr], ended: false })
    }

    fn spawn(&mut self) -> Result<(Child, ChildStdin)> {
        self.process.stdout(File::create(&self.stdout)?).stderr(File::create(&self.stderr)?);
        self.process.stdin(Stdio::piped());
        let mut child = self.process.spawn().with_context(|| format!("starting `{}`", self.name))?;
        let stdin = child.stdin.take().context("a pipe was asked for")?;
        Ok((child, stdin))
    }
}

/// Writes all of a standard input, and closes it.
fn write_stdin(mut stdin: ChildStdin, text: &str) -> Result<()> {
    match stdin.write_all(text.as_bytes()) {
        // It may end without reading; what it wrote then is what the test checks.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard input"),
    }
}

/// A `jeton serve` that runs. It is killed when the value is dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    port: FreePort,
    outputs: [PathBuf; 2],
    ended: bool,
}

impl ServerProcess {
    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> String {
        self.port.base_url()
    }

    /// A client that may do everything that `API_KEY` may.
    pub fn client(&self) -> Client {
        Client::new(&self.base_url()).with_header("x-api-key", API_KEY)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// The process ended, or was not ready within `limit`; the error holds what it wrote.
    pub async fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        let client = Client::new(&self.base_url()).with_deadline(Duration::from_secs(2));
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                bail!("the server ended before it was ready ({status})\n{}", self.output()?);
            }
            let last = match client.get("/readyz").await {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => format!("{}: {}", reply.status, reply.text()),
                Err(error) => format!("{error:#}"),
            };
            if started.elapsed() > limit {
                bail!(
                    "the server was not ready in {limit:?}; the last answer was {last}\n{}",
                    self.output()?
                );
            }
            sleep(POLL).await;
        }
    }

    /// Everything it has written to its standard output and error.
    pub fn output(&self) -> Result<String> {
        let mut text = String::new();
        for output in &self.outputs {
            let bytes = fs::read(output).with_context(|| format!("reading {}", output.display()))?;
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(text)
    }

    /// Kills it (`SIGKILL`) and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(10)).await.map(drop)
    }

    /// Stops it in the middle of what it does (`SIGSTOP`), as a paused virtual machine would.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`pause`](Self::pause) (`SIGCONT`).
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end (`SIGTERM`).
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits for its end.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let Some(status) = wait_for_exit(&mut self.child, limit).await? else {
            bail!("the server did not end in {limit:?}\n{}", self.output()?);
        };
        self.ended = true;
        Ok(status)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // After its end the number may name another process.
        ensure!(!self.ended, "the server has ended");
        kill_process(Pid::from_child(&self.child), signal).context("signalling the server")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if !self.ended && self.child.kill().is_ok() {
            // Reaped at once, so that the port and the files are free for the next one. A drop cannot return an error.
            let _ = self.child.wait();
        }
    }
}

/// Stops an nginx with its workers (`SIGTERM`): a killed one would leave them behind.
pub fn stop_nginx(child: &mut Child) {
    if kill_process(Pid::from_child(child), Signal::TERM).is_ok() {
        // Reaped, so that its port is free; where that fails it has ended all the same.
        let _ = child.wait();
    }
}

/// Polls for the end of a process; `None` when it has not ended in time.
async fn wait_for_exit(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("waiting for a process")? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            return Ok(None);
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_process_or_at_the_limit() {
        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        assert!(wait_for_exit(&mut child, Duration::from_millis(50)).await.unwrap().is_none());
        child.kill().unwrap();
        assert!(!wait_for_exit(&mut child, Duration::from_secs(10)).await.unwrap().unwrap().success());
    }
}
