//! An OAuth server that others wrote: npm `oidc-provider` on loopback.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jeton_core::secret::Secret;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::installation::ConnectionSettings;
use crate::paths::{install_program, rig_directory};
use crate::port::FreePort;

const NAME: &str = "oidc-provider";
const PROGRAM: [&str; 2] = ["server.mjs", "memory.mjs"];

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// Life of an access token, in whole seconds.
    pub access_ttl: Duration,
    /// Where browsers are sent back to after a consent; nowhere by default.
    pub redirect_uri: Option<String>,
}

impl Default for OidcSettings {
    fn default() -> Self {
        Self { access_ttl: Duration::from_mins(1), redirect_uri: None }
    }
}

/// What the server counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct OidcStats {
    /// Requests to the token endpoint.
    pub token_requests: u64,
    /// Refresh tokens that were accepted.
    pub refresh_ok: u64,
    /// Codes that were exchanged.
    pub code_ok: u64,
    /// Refusals by error code.
    pub grant_errors: BTreeMap<String, u64>,
    /// Grants that were revoked, by reuse or otherwise.
    pub grants_revoked: u64,
    /// Calls to the resource with a living token.
    pub api_ok: u64,
    /// Calls to the resource without one.
    pub api_401: u64,
}

/// A running server. It is killed when the value is dropped.
#[derive(Debug)]
pub struct OidcRig {
    child: Child,
    port: FreePort,
    client: Client,
    _outputs: TempDir,
}

impl OidcRig {
    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// Its packages are not installed (`cargo xtask rig` installs them), or it does not start.
    pub async fn start(settings: OidcSettings) -> Result<Self> {
        let directory = rig_directory(NAME);
        ensure!(
            directory.join("node_modules").join(NAME).is_dir(),
            "the packages of rigs/{NAME} are not installed: run `cargo xtask rig` once"
        );
        install_program(NAME, &PROGRAM)?;
        let port = FreePort::find()?;
        let outputs = tempfile::tempdir().context("making a folder for the server's output")?;
        let log = outputs.path().join("log");
        let output = File::create(&log)?;
        let mut command = Command::new("node");
        if let Some(redirect_uri) = &settings.redirect_uri {
            command.env("REDIRECT_URI", redirect_uri);
        }
        let child = command
            .arg("server.mjs")
            .current_dir(&directory)
            .env("PORT", port.number().to_string())
            .env("ACCESS_TTL_S", settings.access_ttl.as_secs().to_string())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("starting `node server.mjs`; is Node.js installed?")?;
        let client = Client::new(&port.base_url());
        let mut server = Self { child, port, client, _outputs: outputs };
        server.wait_until_ready(&log).await?;
        Ok(server)
    }

    async fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let started = Instant::now();
        while self.client.get("/dev/stats").await.is_err() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || started.elapsed() > Duration::from_secs(30) {
                bail!("{NAME} did not start ({ended:?}):\n{}", fs::read_to_string(log)?);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The issuer, which is also the base URL.
    pub fn base_url(&self) -> String {
        self.port.base_url()
    }

    /// A connection to it for a settings file, as the client `vault`.
    pub fn connection(&self) -> ConnectionSettings {
        let base = self.base_url();
        ConnectionSettings::oauth2(&format!("{base}/token"), &format!("{base}/api"), "vault", "vault-secret")
    }

    /// The same connection, to which a person consents on the server's own pages. Its token endpoint stands in the server's
    /// metadata.
    pub fn consented_connection(&self) -> ConnectionSettings {
        let base = self.base_url();
        let mut connection = self.connection();
        connection.vars.remove("token_url");
        for (name, value) in [
            ("authorize_url", format!("{base}/auth?prompt=consent")),
            ("issuer", base),
            ("scope", "openid offline_access api".to_owned()),
        ] {
            connection.vars.insert(name.to_owned(), value);
        }
        connection
    }

    /// Makes this many grants of the client `vault`; returns the refresh token of each.
    pub async fn mint(&self, count: usize) -> Result<Vec<Secret>> {
        let reply = self.client.post(&format!("/dev/mint?n={count}"), &json!({})).await?;
        ensure!(reply.status == 200, "minting answered {}", reply.status);
        Ok(reply.text().lines().map(Secret::from).collect())
    }

    /// What it counted.
    pub async fn stats(&self) -> Result<OidcStats> {
        serde_json::from_value(self.client.get_json("/dev/stats").await?).context("reading the counts")
    }

    /// The status of a call to its resource with this access token.
    pub async fn call(&self, access_token: &str) -> Result<u16> {
        let client = self.client.clone().with_header("authorization", &format!("Bearer {access_token}"));
        Ok(client.get("/api/account").await?.status.as_u16())
    }
}

impl Drop for OidcRig {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            // Reaped; where that fails it has ended all the same.
            let _ = self.child.wait();
        }
    }
}
