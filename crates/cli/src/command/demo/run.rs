//! Everything that runs: the providers, one jeton as `serve` runs it, and the callers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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

use super::callers::{CallTarget, Callers};
use super::result::DemoResult;
use super::scenarios::{self, DemoConnection};
use super::workdir::{ListenPort, Workdir, program, quoted};
use crate::actor;
use crate::app::{self, App, HostEnv};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::telemetry;

/// The API key where nobody but this machine can reach the port: one that can be typed.
const EASY_KEY: &str = "demo";

/// How long the end waits for a provider to finish what it has in its hands.
const SETTLING: Duration = Duration::from_secs(10);

/// A demo that runs.
pub(super) struct DemoRun {
    pub(super) connections: Vec<Arc<DemoConnection>>,
    pub(super) app: App,
    access: Access,
    pub(super) callers: Callers,
    pub(super) address: SocketAddr,
    pub(super) seed: u64,
    pub(super) began_at: Timestamp,
    /// Something about the port that a person should know.
    pub(super) remark: Option<String>,
    /// What to type in another terminal.
    pub(super) hints: Vec<Vec<String>>,
    workdir: Workdir,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl DemoRun {
    /// Sets everything up and lets it run. `quiet` keeps log lines off a terminal that is drawn on.
    pub(super) async fn open(
        seed: Option<u64>,
        listen: Option<SocketAddr>,
        store: Option<&Secret>,
        flags: &[(&'static str, String, String)],
        quiet: bool,
    ) -> Result<Self, CommandError> {
        let host = HostEnv::system();
        let seed = seed.unwrap_or_else(|| draw(&*host.entropy));
        let connections = scenarios::enter(seed).await.map_err(|error| {
            let text = format!("a provider of the demo cannot listen on this machine: {error}");
            CommandError::new(ErrorCode::ListeningFailed, text)
        })?;
        let ListenPort { listener, address, remark } = ListenPort::open(listen).await?;
        let workdir = Workdir::make()?;
        let settings = workdir.settle(&connections, address, store, flags)?;
        // What goes wrong is shown by the demo itself, and much does: log lines are for those who ask for them.
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
        access.start();
        let stop = CancellationToken::new();
        let ending = stop.clone().cancelled_owned();
        let serving = TaskTracker::new()
            .spawn(async move { jeton_server::serve(listener, router, Limits::default(), ending).await });
        let near = reachable(address);
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
            remark,
            hints,
            workdir,
            stop,
            serving,
        })
    }

    /// How long it has run.
    pub(super) fn ran(&self) -> Duration {
        self.app.host.clock.now().since(self.began_at)
    }

    /// The connection whose grant is revoked while the demo runs.
    pub(super) fn doomed(&self) -> Option<&DemoConnection> {
        self.connections.iter().map(Arc::as_ref).find(|connection| connection.is_doomed())
    }

    /// Stops the callers, lets every refresh under way go to its end, and judges what became of every token.
    pub(super) async fn drain(&mut self) -> Result<DemoResult, CommandError> {
        self.callers.stop().await;
        self.stop.cancel();
        let (served, ()) = futures_util::future::join(&mut self.serving, self.app.vault.drain()).await;
        served.map_err(io::Error::other).flatten().map_err(|error| {
            CommandError::new(ErrorCode::ListeningFailed, format!("the port stopped listening: {error}"))
        })?;
        self.access.drain().await;
        for connection in &self.connections {
            connection.emulator.wait_until_idle(SETTLING).await;
        }
        DemoResult::of(self).await
    }

    /// Removes what it has written.
    pub(super) fn clear(self) -> Result<(), CommandError> {
        self.workdir.remove()
    }
}

/// A seed that is easy to type again.
fn draw(entropy: &dyn Entropy) -> u64 {
    let mut bytes = [0; 2];
    entropy.fill(&mut bytes);
    u16::from_le_bytes(bytes).into()
}

/// Others who reach the port shall not know the key.
fn api_key(address: SocketAddr, entropy: &dyn Entropy) -> Secret {
    if address.ip().is_loopback() { EASY_KEY.into() } else { raw::generate_api_key(entropy).0 }
}

/// Lets in whoever has the key of the demo.
async fn access(app: &App, api_key: &Secret) -> Result<Access, CommandError> {
    let key = TokenHash::of(api_key.reveal().as_bytes());
    let environment = Environment::with_api_key(key);
    app::open_access(&app.store, environment, jeton_issuer::Settings::default(), &app.host).await
}

/// Where callers on this machine find what listens at `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

/// What to type in another terminal, in pieces that belong together.
fn hints(address: SocketAddr, api_key: &Secret, workdir: &Workdir) -> Vec<Vec<String>> {
    let (program, file) = (program(), quoted(&workdir.settings_file().to_string_lossy()));
    let url = format!("http://{address}/api/v1/connections/{}/token", scenarios::SCENARIOS[0].name);
    let look = |command: &str| vec![format!("{program} {command}"), format!("--config {file}")];
    vec![vec![format!("curl -sH X-API-KEY:{}", api_key.reveal()), url], look("status"), look("logs")]
}

#[cfg(test)]
mod tests {
    use jeton_core::entropy::SystemEntropy;

    use super::*;

    #[test]
    fn the_key_can_be_typed_only_where_nobody_else_can_use_it() {
        let key = |address: &str| api_key(address.parse().unwrap(), &SystemEntropy);
        assert_eq!(key("127.0.0.1:9095").reveal(), "demo");
        assert!(key("0.0.0.0:9095").reveal().starts_with("jtk_"));
        assert_eq!(reachable("0.0.0.0:9095".parse().unwrap()).to_string(), "127.0.0.1:9095");
    }
}
