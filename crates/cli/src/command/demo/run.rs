//! What the demo runs: the providers, one jeton as `jeton serve` runs it, and the callers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::access::{TokenHash, raw};
use jeton_core::entropy::Entropy;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_issuer::{Access, Environment};
use jeton_keeper::Grant;
use jeton_server::{AppState, Limits};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::callers::{CallCounts, CallTarget, Callers};
use super::result::{DemoResult, TokenCounts, stored_sets};
use super::scenarios::{self, DemoConnection};
use super::workdir::{ListenPort, Workdir, program, quoted};
use crate::actor;
use crate::app::{self, App, HostEnv};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::http::local_address;
use crate::telemetry;

/// The API key where only this machine reaches the port: one that is easy to type.
const LOCAL_KEY: &str = "demo";

/// How long the end waits for requests that a provider is still answering.
const PROVIDER_WAIT: Duration = Duration::from_secs(10);

/// A demo that runs.
pub(super) struct DemoRun {
    pub(super) connections: Vec<Arc<DemoConnection>>,
    pub(super) app: App,
    access: Access,
    pub(super) callers: Callers,
    pub(super) address: SocketAddr,
    pub(super) seed: u64,
    pub(super) began_at: Timestamp,
    /// Why the port is not the usual one.
    pub(super) port_note: Option<String>,
    /// What to type in another terminal.
    pub(super) hints: Vec<Vec<String>>,
    workdir: Workdir,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl DemoRun {
    /// Starts everything. `quiet` keeps log lines off a terminal that is drawn on.
    pub(super) async fn start(
        seed: Option<u64>,
        listen: Option<SocketAddr>,
        store: Option<&Secret>,
        flags: &[(&'static str, String, String)],
        quiet: bool,
    ) -> Result<Self, CommandError> {
        let host = HostEnv::system();
        let seed = seed.unwrap_or_else(|| random_seed(&*host.entropy));
        let connections = scenarios::start_all(seed).await.map_err(|error| {
            let text = format!("a provider of the demo cannot listen on this machine: {error}");
            CommandError::new(ErrorCode::ListeningFailed, text)
        })?;
        let ListenPort { listener, address, note: port_note } = ListenPort::open(listen).await?;
        let workdir = Workdir::create()?;
        let settings = workdir.write_settings(&connections, address, store, flags)?;
        // The demo shows itself what goes wrong, and much does: log lines only for those who set a level.
        if settings.level_is_explicit && !quiet {
            telemetry::begin(&settings.level, settings.format).map_err(|error| {
                CommandError::new(ErrorCode::SystemRefused, format!("log lines cannot be written: {error}"))
            })?;
        }
        let app = App::open(settings, host).await?;
        let api_key = api_key(address, &*app.host.entropy);
        let connections: Vec<Arc<DemoConnection>> = connections.into_iter().map(Arc::new).collect();
        app.vault.start().await?;
        for connection in &connections {
            let grant = Grant { refresh: Some(connection.refresh.clone()), ..Grant::default() };
            app.vault.connect(connection.name.as_str(), grant, &actor::current()).await?;
        }
        let access = access(&app, &api_key).await?;
        let router = jeton_server::router(AppState {
            vault: app.vault.clone(),
            access: access.clone(),
            storage: app.storage.clone(),
        });
        app::sync_service_tokens(&app.vault, &access);
        let stop = CancellationToken::new();
        let ending = stop.clone().cancelled_owned();
        let serving = TaskTracker::new()
            .spawn(async move { jeton_server::serve(listener, router, Limits::default(), ending).await });
        let near = local_address(address);
        let hints = hints(near, &api_key, &workdir);
        let target = CallTarget { address: near, api_key, clock: Arc::clone(&app.host.clock) };
        let callers = Callers::start(&connections, &target, seed);
        let began_at = app.host.clock.now();
        Ok(Self {
            connections,
            app,
            access,
            callers,
            address: near,
            seed,
            began_at,
            port_note,
            hints,
            workdir,
            stop,
            serving,
        })
    }

    /// How long it has run.
    pub(super) fn elapsed(&self) -> Duration {
        self.app.host.clock.now().since(self.began_at)
    }

    /// The connection whose grant is revoked while the demo runs.
    pub(super) fn doomed(&self) -> Option<&DemoConnection> {
        self.connections.iter().map(Arc::as_ref).find(|connection| connection.is_doomed())
    }

    /// Stops the callers, lets every refresh under way finish, and counts what became of every token.
    pub(super) async fn finish(&mut self) -> Result<DemoResult, CommandError> {
        self.callers.stop().await;
        self.stop.cancel();
        let (served, ()) = futures_util::future::join(&mut self.serving, self.app.vault.drain()).await;
        served.map_err(io::Error::other).flatten().map_err(|error| {
            CommandError::new(ErrorCode::ListeningFailed, format!("the port stopped listening: {error}"))
        })?;
        self.access.drain().await;
        for connection in &self.connections {
            connection.emulator.wait_until_idle(PROVIDER_WAIT).await;
        }
        let (now, mut tokens) = (self.app.host.clock.now(), TokenCounts::default());
        for connection in &self.connections {
            let status = self.app.vault.status(connection.name.as_str()).await?;
            tokens = tokens.plus(TokenCounts::of(connection, stored_sets(status.generation.0), now));
        }
        let calls = self.callers.counts().into_iter().fold(CallCounts::default(), CallCounts::plus);
        Ok(DemoResult {
            seed: self.seed,
            connections: self.connections.len(),
            elapsed: self.elapsed(),
            tokens,
            calls,
        })
    }

    /// Removes the files of the demo.
    pub(super) fn remove_files(self) -> Result<(), CommandError> {
        self.workdir.remove()
    }
}

/// A seed that is easy to type again.
fn random_seed(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 2];
    entropy.fill(&mut bytes);
    u16::from_le_bytes(bytes).into()
}

/// Where other machines reach the port, the key is random.
fn api_key(address: SocketAddr, entropy: &dyn Entropy) -> Secret {
    if address.ip().is_loopback() { LOCAL_KEY.into() } else { raw::generate_api_key(entropy).0 }
}

async fn access(app: &App, api_key: &Secret) -> Result<Access, CommandError> {
    let key = TokenHash::of(api_key.reveal().as_bytes());
    let environment = Environment::with_api_key(key);
    app::open_access(&app.store, environment, jeton_issuer::Settings::default(), &app.host).await
}

/// Commands for another terminal, each in pieces that a line break may separate.
fn hints(address: SocketAddr, api_key: &Secret, workdir: &Workdir) -> Vec<Vec<String>> {
    let (program, file) = (program(), quoted(&workdir.settings_file().to_string_lossy()));
    let url = format!("http://{address}/api/v1/connections/{}/token", scenarios::SCENARIOS[0].name);
    let jeton = |command: &str| vec![format!("{program} {command}"), format!("--config {file}")];
    vec![vec![format!("curl -sH X-API-KEY:{}", api_key.reveal()), url], jeton("status"), jeton("logs")]
}

#[cfg(test)]
mod tests {
    use jeton_core::entropy::SystemEntropy;

    use super::*;

    #[test]
    fn the_key_is_easy_to_type_only_where_nobody_else_can_use_it() {
        let key = |address: &str| api_key(address.parse().unwrap(), &SystemEntropy);
        assert_eq!(key("127.0.0.1:9095").reveal(), "demo");
        assert!(key("0.0.0.0:9095").reveal().starts_with("jtk_"));
    }
}
