//! `cargo xtask conformance`: every answer of a real server is as its document says. The tool schemathesis sends requests
//! that the document allows, and others.

mod operations;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jeton_core::access::TokenHash;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{Client, ServerProcess, TestInstallation, project_root};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::proof::{self, TIMEOUT};
use crate::{setup, tools};
use operations::{Operations, PROXIED};

/// Longer than a run of the largest `Options`.
const LONGEST: Duration = Duration::from_mins(30);
/// The service that sends the requests. Its token is in the environment, so that nothing it does to service tokens revokes it.
const SERVICE: &str = "tester";
const CREDENTIAL: &str = "conformance-credential-51b9d0c2";
/// What disconnects a connection, and is called last.
const LAST: &str = "disconnect";
#[derive(Args)]
pub(crate) struct Options {
    /// How many requests of each kind are sent to each operation
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

#[derive(Serialize)]
struct Conformance {
    seed: u64,
    examples: u32,
    requests: usize,
    operations: Operations,
}

/// # Errors
/// As [`proof::run`].
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::python()?;
    proof::run("conformance", check(options))
}

async fn check(options: &Options) -> Result<(Conformance, Vec<String>)> {
    let target = Target::start().await?;
    let document = match &options.document {
        Some(file) => std::fs::read(file).with_context(|| format!("reading {}", file.display()))?,
        None => target.client().get("/openapi.json").await?.body.into(),
    };
    let mut operations =
        Operations::of(&serde_json::from_slice(&document).context("the document is no JSON")?);
    // From a file: an operation whose URL is that of the document would be left out.
    let file = target.installation.path().join("openapi.json");
    std::fs::write(&file, &document).context("writing the document")?;
    let mut findings = Vec::new();
    for (number, only) in
        [["--exclude-operation-id", LAST], ["--include-operation-id", LAST]].iter().enumerate()
    {
        let record = target.installation.path().join(format!("requests-{number}.har"));
        findings.extend(target.test(options, &file, only, &record).await?);
        operations.count(&std::fs::read(&record).context("reading the requests")?)?;
    }
    findings.extend(operations.findings());
    findings.extend(target.check_gateway().await?);
    let requests = operations.requests();
    Ok((Conformance { seed: options.seed, examples: options.examples, requests, operations }, findings))
}

/// A server with connections in several conditions and some service tokens.
struct Target {
    installation: TestInstallation,
    server: ServerProcess,
    _emulator: Emulator,
}

impl Target {
    async fn start() -> Result<Self> {
        let emulator = Emulator::start(Settings::default()).await?;
        let mut installation = TestInstallation::new()?;
        installation.set("log", "level", "error")?;
        for name in ["acme", "shop", "unconnected"] {
            installation.add_connection(name, setup::connection(&emulator))?;
        }
        for name in ["acme", "shop"] {
            setup::connect(&installation, name, &emulator.mint(1).remove(0)).await?;
        }
        for (service, scopes) in
            [("bot1", &["token:*"][..]), ("bot2", &["proxy:acme", "read"]), ("bot3", &[])]
        {
            installation.service_token(service, scopes).await?;
        }
        let hash = TokenHash::of(CREDENTIAL.as_bytes()).to_hex();
        let name = SERVICE.to_ascii_uppercase();
        let proxies = "server.trusted_proxies=[\"127.0.0.1\"]";
        let serve = installation
            .command(["serve", "--set", proxies])?
            .env(&format!("SERVICE_TOKEN_{name}_HASH"), &hash);
        let scopes = "admin sessions token:* proxy:*";
        let mut server = serve.env(&format!("SERVICE_TOKEN_{name}_SCOPES"), scopes).serve()?;
        server.wait_until_ready(TIMEOUT).await?;
        Ok(Self { installation, server, _emulator: emulator })
    }

    fn client(&self) -> Client {
        Client::new(&self.server.base_url())
    }

    /// Runs schemathesis; returns what it found.
    async fn test(
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
            .current_dir(self.installation.path())
            .env("PYTHONPATH", project_root().join("rigs/python"))
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .kill_on_drop(true);
        let output = timeout(LONGEST, command.output()).await.context("schemathesis does not end")??;
        let text = String::from_utf8_lossy(&output.stdout);
        match output.status.code() {
            Some(0) => Ok(Vec::new()),
            Some(1) => Ok(vec![format!("schemathesis found:\n{}", text.trim())]),
            _ => bail!(
                "schemathesis failed ({}):\n{text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }

    /// The gateway is described as one operation; it answers at the path of the document.
    async fn check_gateway(&self) -> Result<Option<String>> {
        let reply = self.client().get("/api/v1/proxy/acme/anything").await?;
        let refused = reply.headers.get("x-jeton-error").is_some_and(|code| code == "SERVICE_TOKEN_REQUIRED");
        Ok((!refused).then(|| format!("no gateway answers at the path of the document: {}", reply.status)))
    }
}
