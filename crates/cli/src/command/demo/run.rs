//! What the demo runs: the providers, one jeton as `jeton serve` runs it, and the callers.

use std::fmt::{self, Write as _};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::access::{TokenHash, raw};
use jeton_core::entropy::{Entropy, SystemEntropy};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_issuer::{Access, Environment};
use jeton_keeper::Grant;
use jeton_server::{AppState, Limits, RequestIds, TrustedProxies};
use jeton_store::{PostgresOptions, PostgresStore};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::callers;
use super::providers::{self, CLIENT_ID, DemoConnection};
use crate::actor;
use crate::app::{self, App, HostEnv, OpenMode};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::http::local_address;
use crate::settings::{self, SettingSources, Settings};
use crate::telemetry;

/// The default of `jeton serve`, which the demo takes too where the port is free.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9095);

/// The API key where only this machine reaches the port: one that is easy to type.
const LOCAL_KEY: &str = "demo";

/// How long the end waits for requests that a provider is still answering.
const PROVIDER_WAIT: Duration = Duration::from_secs(10);

/// A demo that runs.
pub(super) struct DemoRun {
    pub(super) connections: Vec<Arc<DemoConnection>>,
    pub(super) app: App,
    pub(super) info: RunInfo,
    access: Access,
    workdir: TempDir,
    stop: CancellationToken,
    /// The server and the callers.
    tasks: TaskTracker,
    serving: JoinHandle<io::Result<()>>,
}

/// What every display tells about the run.
#[derive(Debug)]
pub(super) struct RunInfo {
    pub(super) base_url: String,
    /// Why the port is not the usual one, in parentheses; or nothing.
    pub(super) port_note: &'static str,
    /// Commands for another terminal.
    pub(super) hints: [String; 3],
    pub(super) seed: u64,
    pub(super) began_at: Timestamp,
    /// After how long it ends by itself.
    pub(super) length: Option<Duration>,
}

impl DemoRun {
    /// Starts everything. `quiet` keeps log lines off a terminal that is drawn on.
    pub(super) async fn start(
        seed: Option<u64>,
        length: Option<Duration>,
        listen: Option<SocketAddr>,
        store: Option<&Secret>,
        flags: &[(&'static str, String, String)],
        quiet: bool,
    ) -> Result<Self, CommandError> {
        let host = HostEnv::system();
        let seed = seed.unwrap_or_else(|| random_seed(&*host.entropy));
        let connections = providers::start_all(seed).await.map_err(|error| {
            let text = format!("a provider of the demo cannot listen on this machine: {error}");
            CommandError::new(ErrorCode::ListeningFailed, text)
        })?;
        let (listener, address, port_note) = open_port(listen).await?;
        let workdir = tempfile::Builder::new().prefix("jeton-demo-").tempdir();
        let temporary = std::env::temp_dir();
        let what = format!("no folder can be created in {}", temporary.display());
        let workdir = workdir.map_err(refused(&what, "; name another in the environment as TMPDIR"))?;
        let file = workdir.path().join("jeton.toml");
        let settings = write_settings(&file, &connections, address, store, flags)?;
        // The demo shows itself what goes wrong, and much does: log lines only for those who set a level.
        if settings.level_is_explicit && !quiet {
            let begun = telemetry::begin(&settings.level, settings.access_log, settings.format);
            begun.map_err(refused("log lines cannot be written", ""))?;
        }
        let app = App::open(settings, host, OpenMode::Create).await?;
        let api_key = api_key(address, &*app.host.entropy);
        app.vault.start().await?;
        for connection in &connections {
            let grant = Grant { refresh: Some(connection.refresh.clone()), ..Grant::default() };
            app.vault.connect(connection.scenario.name, grant, &actor::current()).await?;
        }
        let environment = Environment::with_api_key(TokenHash::of(api_key.reveal().as_bytes()));
        let limits = jeton_issuer::Settings::default();
        let access =
            app::open_access(&app.store, environment, limits, app.vault.store_clock(), &app.host).await?;
        let router = jeton_server::router(AppState {
            vault: app.vault.clone(),
            access: access.clone(),
            storage: app.storage.clone(),
            old_gateway: None,
        });
        app::sync_service_tokens(&app.vault, &access);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let ending = stop.clone().cancelled_owned();
        let serving = tasks.spawn(jeton_server::serve(
            listener,
            router,
            Limits::default(),
            TrustedProxies::default(),
            RequestIds::new(&*app.host.entropy),
            ending,
        ));
        let near = local_address(address);
        let base_url = format!("http://{near}");
        let hints = hints(&base_url, &api_key, &file);
        callers::start(&connections, near, &api_key, seed, &tasks, &stop);
        let info = RunInfo { base_url, port_note, hints, seed, began_at: app.host.clock.now(), length };
        Ok(Self { connections, app, info, access, workdir, stop, tasks, serving })
    }

    /// How long it has run.
    pub(super) fn elapsed(&self) -> Duration {
        self.app.host.clock.now().since(self.info.began_at)
    }

    /// The connection whose grant is revoked while the demo runs.
    pub(super) fn doomed(&self) -> Option<&DemoConnection> {
        self.connections.iter().map(Arc::as_ref).find(|connection| connection.scenario.is_doomed)
    }

    /// Stops the callers, and lets every refresh under way finish.
    pub(super) async fn finish(&mut self) -> Result<(), CommandError> {
        // A caller that is stopped no longer looks at the server's answers, or counts them.
        self.stop.cancel();
        let (served, ()) = futures_util::future::join(&mut self.serving, self.app.vault.drain()).await;
        served.map_err(io::Error::other).flatten().map_err(|error| {
            CommandError::new(ErrorCode::ListeningFailed, format!("the port stopped listening: {error}"))
        })?;
        self.tasks.close();
        self.tasks.wait().await;
        self.access.drain().await;
        for connection in &self.connections {
            connection.emulator.wait_until_idle(PROVIDER_WAIT).await;
        }
        Ok(())
    }

    /// Removes the files of the demo.
    pub(super) fn remove_files(self) -> Result<(), CommandError> {
        let what = format!("{} cannot be removed", self.workdir.path().display());
        self.workdir.close().map_err(refused(&what, "; delete it by hand"))
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

/// Listens at `asked`; else at the default port, or at a free one where that is taken. Returns the address and why it is not
/// the default.
async fn open_port(
    asked: Option<SocketAddr>,
) -> Result<(TcpListener, SocketAddr, &'static str), CommandError> {
    let wanted = asked.unwrap_or(DEFAULT_LISTEN);
    let (listener, note) = match TcpListener::bind(wanted).await {
        Err(error) if asked.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
            let note = " (port 9095 is taken, so this is a free one)";
            (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await, note)
        }
        listener => (listener, ""),
    };
    let opened = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = opened.map_err(|error| {
        let what_to_do = "give `--listen` another, such as 127.0.0.1:0 for any free port";
        let text = format!("nothing can listen at {wanted}: {error}; {what_to_do}");
        CommandError::new(ErrorCode::ListeningFailed, text)
    })?;
    Ok((listener, address, note))
}

/// Says `what` the operating system has refused, why, and what to do.
fn refused<E: fmt::Display>(what: &str, what_to_do: &str) -> impl FnOnce(E) -> CommandError {
    move |error| CommandError::new(ErrorCode::SystemRefused, format!("{what}: {error}{what_to_do}"))
}

/// Writes the settings file, and reads it as other commands will.
fn write_settings(
    file: &Path,
    connections: &[Arc<DemoConnection>],
    address: SocketAddr,
    store: Option<&Secret>,
    flags: &[(&'static str, String, String)],
) -> Result<Settings, CommandError> {
    let mut text = format!(
        "# The installation of `jeton demo`. It is removed when the demo ends.\n\
         data_dir = \"data\"\n\n\
         [server]\nlisten = \"{address}\"\n\n\
         [keeper]\ncooldown = \"1s\"\nspill_slots = 8\n"
    );
    if let Some(url) = store {
        text.extend(["\n[store]\nurl = ", &toml::Value::from(url.reveal()).to_string(), "\n"]);
    }
    // Writing to a String does not fail.
    for connection in connections {
        let (scenario, secret) = (connection.scenario, connection.scenario.client_secret);
        let (token_url, api_base) = (connection.emulator.token_url(), connection.emulator.api_base());
        let _ = write!(
            text,
            "\n# An emulated provider: {}.\n\
             [connections.{}]\n\
             provider = \"oauth2\"\n\
             vars = {{ token_url = \"{token_url}\", api_base = \"{api_base}\" }}\n\
             client = {{ id = \"{CLIENT_ID}\", secret = \"{secret}\" }}\n\
             policy = {}\n",
            scenario.about, scenario.name, scenario.policy
        );
    }
    std::fs::write(file, text).map_err(refused(&format!("{} cannot be written", file.display()), ""))?;
    // The environment belongs to another installation.
    let sources =
        SettingSources { config: Some(file.to_owned()), flags: flags.to_vec(), ..SettingSources::default() };
    Ok(settings::load(&sources).settings?)
}

/// Commands for another terminal in the same folder.
fn hints(base_url: &str, api_key: &Secret, settings_file: &Path) -> [String; 3] {
    let program = quoted(&std::env::args().next().unwrap_or_else(|| "jeton".to_owned()));
    let file = quoted(&settings_file.to_string_lossy());
    let connection = providers::SCENARIOS[0].name;
    [
        format!("curl -sH X-API-KEY:{} {base_url}/api/v1/connections/{connection}/token", api_key.reveal()),
        format!("{program} status --config {file}"),
        format!("{program} logs --config {file}"),
    ]
}

/// Quotes a word for a shell, where it needs that.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A PostgreSQL schema for the demo alone. [`DemoSchema::remove`] removes it.
#[derive(Debug)]
pub(super) struct DemoSchema {
    options: PostgresOptions,
    name: String,
}

impl DemoSchema {
    /// Creates the schema in the database at `url`.
    pub(super) async fn create(url: &str) -> Result<Self, CommandError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            let text = "`--store` takes the URL of an existing PostgreSQL database, such as \
                        postgres://user:password@localhost/jeton; leave it out for a file";
            return Err(CommandError::usage(text));
        }
        if url.contains("options=") {
            let text = "the demo sets `options` itself; leave `options` out of the URL of `--store`";
            return Err(CommandError::usage(text));
        }
        let mut bytes = [0; 4];
        SystemEntropy.fill(&mut bytes);
        let name = format!("jeton_demo_{:08x}", u32::from_le_bytes(bytes));
        let options = PostgresOptions::new(Secret::new(url));
        PostgresStore::make_schema(&options, &name).await?;
        Ok(Self { options, name })
    }

    /// A URL whose sessions use only the schema.
    pub(super) fn url(&self) -> Secret {
        let url = self.options.url.reveal();
        let joint = if url.contains('?') { '&' } else { '?' };
        Secret::new(format!("{url}{joint}options=-c%20search_path%3D{}", self.name))
    }

    /// Removes the schema with everything in it.
    pub(super) async fn remove(self) -> Result<(), CommandError> {
        Ok(PostgresStore::drop_schema(&self.options, &self.name).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_easy_to_type_only_where_nobody_else_can_use_it() {
        let key = |address: &str| api_key(address.parse().unwrap(), &SystemEntropy);
        assert_eq!(key("127.0.0.1:9095").reveal(), "demo");
        assert!(key("0.0.0.0:9095").reveal().starts_with("jtk_"));
    }

    #[test]
    fn a_word_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("/tmp/jeton-demo-x1/jeton.toml"), "/tmp/jeton-demo-x1/jeton.toml");
        assert_eq!(quoted("/tmp/my files"), "'/tmp/my files'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
