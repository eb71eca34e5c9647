//! `cargo xtask conformance`: every answer of a real server is what its document says, as schemathesis, which others wrote, finds
//! by asking what the document allows and what it does not.

mod asked;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jeton_core::access::TokenHash;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{Client, ConnectionSettings, ServerProcess, TestInstallation, project_root};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::{proof, tools};
use asked::Asked;

const PATIENCE: Duration = Duration::from_mins(1);
/// Longer than a run that asks what `Options` allow.
const LONGEST: Duration = Duration::from_mins(30);
/// The service that asks. The environment lets it in, so that nothing it does to service tokens locks it out.
const SERVICE: &str = "judge";
const CREDENTIAL: &str = "conformance-credential-51b9d0c2";
/// What ends a connection for good, and is asked last.
const LAST: &str = "disconnect";
/// What the API of a provider answers is not in the document.
const PROXIED: &str = "gateway";

#[derive(Args)]
pub(crate) struct Options {
    /// How many requests each operation is sent of each kind
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    examples: u32,
    /// Which requests
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The document to hold the server to, in place of its own
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

impl Options {
    /// What the test command runs.
    pub(crate) fn short() -> Self {
        Self { examples: 40, seed: 1, document: None }
    }
}

/// The figures of one run.
#[derive(Serialize)]
struct Figures {
    seed: u64,
    examples: u32,
    operations: usize,
    requests: usize,
    answers: Asked,
}

/// Runs the proof, says what happened, and keeps the figures below the target folder.
///
/// # Errors
/// Something could not be run, or the server and its document differ.
pub(crate) fn run(options: &Options) -> Result<()> {
    proof::build()?;
    tools::python()?;
    let (figures, findings) = proof::runtime()?.block_on(play(options))?;
    let line = format!(
        "{} requests to {} operations: all answers are what the document says",
        figures.requests, figures.operations
    );
    let lines = if findings.is_empty() { vec![line] } else { Vec::new() };
    proof::end("conformance", &lines, &figures, &findings, options.seed)
}

async fn play(options: &Options) -> Result<(Figures, Vec<String>)> {
    let scene = Scene::new().await?;
    let document = match &options.document {
        Some(file) => std::fs::read(file).with_context(|| format!("reading {}", file.display()))?,
        None => scene.client().get("/openapi.json").await?.body.into(),
    };
    let mut asked = Asked::of(&serde_json::from_slice(&document).context("the document is no JSON")?);
    // From a file: an operation whose URL is that of the document would be left out.
    let file = scene.home.path().join("openapi.json");
    std::fs::write(&file, &document).context("writing the document")?;
    let mut findings = Vec::new();
    for (number, only) in
        [["--exclude-operation-id", LAST], ["--include-operation-id", LAST]].iter().enumerate()
    {
        let record = scene.home.path().join(format!("asked-{number}.har"));
        findings.extend(scene.ask(options, &file, only, &record).await?);
        asked.read(&std::fs::read(&record).context("reading what was asked")?)?;
    }
    findings.extend(asked.findings());
    findings.extend(scene.has_a_gateway().await?);
    let (operations, requests) = (asked.operations(), asked.requests());
    Ok((
        Figures { seed: options.seed, examples: options.examples, operations, requests, answers: asked },
        findings,
    ))
}

/// A server with connections in several conditions and some service tokens.
struct Scene {
    home: TestInstallation,
    server: ServerProcess,
    _emulator: Emulator,
}

impl Scene {
    async fn new() -> Result<Self> {
        let emulator = Emulator::start(Settings::default()).await?;
        let mut home = TestInstallation::new()?;
        home.set("log", "level", "error")?;
        let connection = || {
            ConnectionSettings::oauth2(
                &emulator.token_url(),
                &emulator.api_base(),
                "emulated",
                "emulated-secret",
            )
        };
        for name in ["acme", "shop", "unconnected"] {
            home.add_connection(name, connection())?;
        }
        for name in ["acme", "shop"] {
            let grant = emulator.mint(1).remove(0);
            let connect = home.command(["connect", name, "--refresh-token-stdin"])?;
            connect.stdin(&format!("{}\n", grant.reveal())).run(PATIENCE).await?.success()?;
        }
        for (service, scopes) in
            [("bot1", &["token:*"][..]), ("bot2", &["proxy:acme", "read"]), ("bot3", &[])]
        {
            home.service_token(service, scopes).await?;
        }
        let hash = TokenHash::of(CREDENTIAL.as_bytes()).to_hex();
        let name = SERVICE.to_ascii_uppercase();
        let serve = home.command(["serve"])?.env(&format!("SERVICE_TOKEN_{name}_HASH"), &hash);
        let scopes = "admin sessions token:* proxy:*";
        let mut server = serve.env(&format!("SERVICE_TOKEN_{name}_SCOPES"), scopes).serve()?;
        server.wait_until_ready(PATIENCE).await?;
        Ok(Self { home, server, _emulator: emulator })
    }

    fn client(&self) -> Client {
        Client::new(&self.server.base_url())
    }

    /// Lets schemathesis ask; gives what it found.
    async fn ask(
        &self,
        options: &Options,
        document: &Path,
        only: &[&str],
        record: &Path,
    ) -> Result<Vec<String>> {
        let mut command = Command::new(jeton_testkit::python());
        command
            .args(["-m", "schemathesis.cli", "--no-color", "--config-file"])
            .arg(project_root().join("rigs/python/schemathesis.toml"))
            .arg("run")
            .arg(document)
            .args(["--url", &self.server.base_url(), "--exclude-tag", PROXIED])
            .args(only)
            .args(["--header", &format!("X-SERVICE-TOKEN: {CREDENTIAL}")])
            .args(["--seed", &options.seed.to_string(), "--max-examples", &options.examples.to_string()])
            .args(["--report", "har", "--report-har-path"])
            .arg(record)
            .current_dir(self.home.path())
            .kill_on_drop(true);
        let output = timeout(LONGEST, command.output()).await.context("schemathesis does not end")??;
        let said = String::from_utf8_lossy(&output.stdout);
        match output.status.code() {
            Some(0) => Ok(Vec::new()),
            Some(1) => Ok(vec![format!("what schemathesis says:\n{}", said.trim())]),
            _ => bail!(
                "schemathesis failed ({}):\n{said}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }

    /// The gateway is described apart from its doors; it stands where the document says.
    async fn has_a_gateway(&self) -> Result<Option<String>> {
        let reply = self.client().get("/api/v1/proxy/acme/anything").await?;
        let refused = reply.headers.get("x-jeton-error").is_some_and(|code| code == "SERVICE_TOKEN_REQUIRED");
        Ok((!refused).then(|| format!("no gateway stands where the document says: {}", reply.status)))
    }
}
