//! `jeton serve`.

mod first_key;
mod imports;
mod startup;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use jeton_gateway::Gateway;
use jeton_issuer::Access;
use jeton_server::{AppState, Limits, RequestIds, TrustedProxies};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{self, App, HostEnv, OpenMode};
use crate::command_error::CommandError;
use crate::descriptors::DescriptorShares;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::Settings;
use crate::signals::{Signals, stopped_by};

/// Refresh all connections and serve the API, until SIGTERM, SIGINT or SIGQUIT
///
/// Without `API_KEY` in the environment, the first start generates an API key. It prints the key where standard output is a
/// terminal, else it writes the key to the file `api-key` in the data directory. A second signal ends the process at once.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Listen here instead of at `server.listen`
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

impl ServeArgs {
    /// The flag that is a setting.
    pub(crate) fn setting_flag(&self) -> Option<(&'static str, String, String)> {
        self.listen.as_ref().map(|address| ("--listen", "server.listen".to_owned(), address.clone()))
    }

    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        let mut signals =
            ServerSignals { stop: Signals::to_stop_server()?, others: Signals::without_effect()? };
        let (address, data_dir) = (settings.listen, settings.data_dir.clone());
        let (access, imports) = (settings.access.clone(), settings.imports.clone());
        let shares = DescriptorShares::reserve(&settings)?;
        log_shares(&shares, &settings);
        let call_limits = jeton_gateway::Settings {
            tunnels: shares.tunnels,
            idle_connections: shares.idle_connections,
            ..settings.gateway.clone()
        };
        let aliases = settings.aliases.clone();
        let proxies = settings.trusted_proxies.clone();
        let limits = Limits { connections: shares.connections, ..settings.limits };
        let app = App::open(settings, HostEnv::system(), OpenMode::Create).await?;
        let listener = bind(address).await?;
        let api_key = match access.api_key {
            Some(key) => key,
            None => first_key::stored_api_key(&app, &data_dir, output).await?,
        };
        let access_limits = access.limits;
        let clock = app.vault.store_clock();
        let access =
            app::open_access(&app.store, access.with_key(api_key), access_limits, clock, &app.host).await?;
        imports::run_imports(&app.vault, &data_dir, &imports, &*app.host.entropy).await?;
        app.vault.start().await?;
        log_listening(&app, listener.local_addr().unwrap_or(address));
        app.vault.announce(app.store.clone(), &node_name());
        app::sync_service_tokens(&app.vault, &access);
        let HostEnv { clock, entropy } = app.host.clone();
        let gateway = Gateway::new(app.vault.clone(), access.clone(), aliases, call_limits, clock, entropy);
        serve(&app, listener, proxies, &access, &gateway, limits, &mut signals).await
    }
}

/// What people call this process: its host, and its number there.
fn node_name() -> String {
    let machine = rustix::system::uname();
    format!("{}/{}", machine.nodename().to_string_lossy(), std::process::id())
}

/// Says where the limit of open files takes something away.
fn log_shares(shares: &DescriptorShares, settings: &Settings) {
    let (limit, connections, tunnels) = (shares.limit, shares.connections, shares.tunnels);
    if tunnels < settings.gateway.tunnels {
        tracing::warn!(
            "the limit of open files is {limit}: at most {connections} connections and {tunnels} WebSockets are open at \
             once, fewer than `gateway.tunnels`; raise it, for systemd with `LimitNOFILE`"
        );
    }
}

/// The signals that a server receives.
struct ServerSignals {
    stop: Signals,
    others: Signals,
}

/// Logs what does not follow from signals that do not end a server.
async fn log_others(signals: &mut Signals) -> Infallible {
    loop {
        match signals.next().await {
            "SIGHUP" => tracing::warn!(
                "SIGHUP changes nothing: settings are read at the start only; restart jeton to apply changed ones"
            ),
            signal => {
                tracing::info!(
                    signal,
                    "the signal changes nothing: the log goes to standard error, not to a file"
                );
            }
        }
    }
}

/// Serves until a signal; then accepts nothing more, answers requests under way and drains the vault.
async fn serve(
    app: &App,
    listener: TcpListener,
    proxies: TrustedProxies,
    access: &Access,
    gateway: &Gateway,
    limits: Limits,
    signals: &mut ServerSignals,
) -> Result<(), CommandError> {
    let stop = CancellationToken::new();
    let router = jeton_server::router(AppState {
        vault: app.vault.clone(),
        access: access.clone(),
        storage: app.storage.clone(),
        old_gateway: app.old_gateway.clone(),
    });
    let router = router.merge(gateway.router());
    let router = match app.old_gateway {
        Some(_) => jeton_server::ignore_trailing_slash(router),
        None => router,
    };
    let serving = async {
        let ids = RequestIds::new(&*app.host.entropy);
        let ended = jeton_server::serve(listener, router, limits, proxies, ids, stop.cancelled()).await;
        stop.cancel();
        ended
    };
    let logging = stop.run_until_cancelled(startup::log_start_problems(&app.vault));
    let draining = async {
        stop.cancelled().await;
        futures_util::future::join(gateway.drain(), app.vault.drain()).await;
        access.drain().await;
    };
    let watching = async {
        // Not inside the macro: a level that leaves the line out would leave the wait out.
        let signal = signals.stop.next().await;
        tracing::info!(signal, "shutting down: refreshes under way finish first");
        stop.cancel();
        signals.stop.next().await
    };
    let others = log_others(&mut signals.others);
    tokio::select! {
        (served, _, ()) = futures_util::future::join3(serving, logging, draining) => {
            served.map_err(|error| {
                let text = format!("the port stopped listening: {error}; start `jeton serve` again");
                CommandError::new(ErrorCode::ListeningFailed, text)
            })
        }
        signal = watching => Err(stopped_by(signal)),
        never = others => match never {},
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| {
        let (ip, port) = (address.ip(), address.port());
        let text = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "port {port} of {ip} is taken; stop what listens there, or give `server.listen` another port"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "port {port} of {ip} needs rights that this user lacks; give `server.listen` a port above 1023"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("{ip} is no address of this machine; give `server.listen` one that is, such as 127.0.0.1")
            }
            _ => format!("nothing can listen at {address}: {error}; change `server.listen`"),
        };
        CommandError::new(ErrorCode::ListeningFailed, text)
    })
}

/// Logs where the server listens, and whether it may refresh anything.
fn log_listening(app: &App, address: SocketAddr) {
    if let Some(hold) = app.vault.hold() {
        tracing::warn!(
            "on hold: {hold}, so live tokens are served and nothing is refreshed; if the original no longer runs, \
             `jeton adopt` takes it over"
        );
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), address = %address, "listening");
}
