//! Running the `jeton` binary to its end.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::home::TempHome;
use crate::place::jeton_binary;
use crate::port::FreePort;
use crate::running::{Running, wait_for_exit};

static RUNS: AtomicU32 = AtomicU32::new(0);

/// What a run said and how it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a run that ended well.
    ///
    /// # Errors
    /// It did not; the error says what it wrote.
    pub fn success(self) -> Result<String> {
        ensure!(self.code == Some(0), "exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// The standard output of a run that ended well, as JSON.
    ///
    /// # Errors
    /// It did not end well, or it did not write JSON.
    pub fn json(self) -> Result<Value> {
        let text = self.success()?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }
}

/// A run of the binary that is about to begin. Of this process's environment it sees the search path alone.
#[derive(Debug)]
pub struct Command {
    process: Process,
    stdin: Option<String>,
    said: PathBuf,
    complained: PathBuf,
    name: String,
}

impl Command {
    pub(crate) fn new<'a>(home: &TempHome, arguments: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let arguments: Vec<&str> = arguments.into_iter().collect();
        let name = format!("jeton {}", arguments.join(" "));
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let output = |kind: &str| home.outputs().join(format!("{run:04}.{kind}"));
        let (said, complained) = (output("stdout"), output("stderr"));
        let mut process = Process::new(jeton_binary()?);
        process
            .arg("--config")
            .arg(home.settings())
            .args(&arguments)
            .current_dir(home.path())
            .env_clear()
            .env("HOME", home.path())
            .env("API_KEY", TempHome::API_KEY)
            .env("RUST_BACKTRACE", "1");
        if let Some(path) = std::env::var_os("PATH") {
            process.env("PATH", path);
        }
        Ok(Self { process, stdin: None, said, complained, name })
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.process.env(name, value);
        self
    }

    /// Removes an environment variable that every run has, such as `API_KEY`.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.process.env_remove(name);
        self
    }

    /// What it reads from standard input; nothing else.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    /// Starts it and waits for its end; longer than `patience` is an error, and kills it.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub async fn run(self, patience: Duration) -> Result<Finished> {
        let (said, complained, name) = (self.said.clone(), self.complained.clone(), self.name.clone());
        let mut child = self.start()?;
        finish(&mut child, patience, &said, &complained, &name).await
    }

    /// Where its standard error goes, to be read while it runs.
    pub fn complaints(&self) -> PathBuf {
        self.complained.clone()
    }

    /// Starts it with a pipe as its standard input, writes the line that `answer` comes to, and waits for its end; longer
    /// than `patience` is an error, and kills it.
    ///
    /// # Errors
    /// It cannot be started, or does not end in time.
    pub async fn run_with_answer(
        mut self,
        patience: Duration,
        answer: impl Future<Output = String>,
    ) -> Result<Finished> {
        self.stdin = Some(String::new());
        let (said, complained, name) = (self.said.clone(), self.complained.clone(), self.name.clone());
        let (mut child, pipe) = self.spawn()?;
        let line = answer.await;
        if let Some(mut pipe) = pipe {
            writeln!(pipe, "{line}").context("writing to standard input")?;
        }
        finish(&mut child, patience, &said, &complained, &name).await
    }

    /// Starts it as a server that listens at a port of its own.
    ///
    /// # Errors
    /// It cannot be started, or no port is free.
    pub fn serve(self) -> Result<Running> {
        Running::start(self, FreePort::find()?)
    }

    /// Starts it as a server that listens at this port, which others were told beforehand.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn serve_at(self, port: FreePort) -> Result<Running> {
        Running::start(self, port)
    }

    pub(crate) fn outputs(&self) -> [PathBuf; 2] {
        [self.said.clone(), self.complained.clone()]
    }

    pub(crate) fn start(mut self) -> Result<Child> {
        let text = self.stdin.clone();
        let (child, pipe) = self.spawn()?;
        if let (Some(text), Some(mut pipe)) = (text, pipe) {
            match pipe.write_all(text.as_bytes()) {
                // It may end without reading; what it says then is what the test wants to see.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                written => written.context("writing to standard input")?,
            }
        }
        Ok(child)
    }

    fn spawn(&mut self) -> Result<(Child, Option<ChildStdin>)> {
        self.process.stdout(File::create(&self.said)?).stderr(File::create(&self.complained)?);
        self.process.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.process.spawn().with_context(|| format!("starting `{}`", self.name))?;
        let pipe = child.stdin.take();
        Ok((child, pipe))
    }
}

/// Waits for the end of a run, and reads what it wrote.
async fn finish(
    child: &mut Child,
    patience: Duration,
    said: &Path,
    complained: &Path,
    name: &str,
) -> Result<Finished> {
    let ended = wait_for_exit(child, patience).await;
    let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (stdout, stderr) = (read(said)?, read(complained)?);
    let Some(status) = ended? else {
        child.kill().and_then(|()| child.wait().map(drop)).context("killing a run that took too long")?;
        anyhow::bail!("`{name}` did not end in {patience:?}\n{stdout}\n{stderr}");
    };
    Ok(Finished { code: status.code(), stdout, stderr })
}
