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
use jeton_server::{Doors, Limits};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::callers::{Callers, Door};
use super::cast::{self, Player};
use super::home::{Home, Port, program, quoted};
use super::verdict::Verdict;
use crate::code::Code;
use crate::compose::{self, House, Machine};
use crate::failure::Failure;
use crate::telemetry;
use crate::who;

/// The API key where nobody but this machine can reach the port: one that can be typed.
const EASY_KEY: &str = "demo";

/// How long the end waits for a provider to finish what it has in its hands.
const SETTLING: Duration = Duration::from_secs(10);

/// A demo that runs.
pub(super) struct Stage {
    pub(super) players: Vec<Arc<Player>>,
    pub(super) house: House,
    access: Access,
    pub(super) callers: Callers,
    pub(super) address: SocketAddr,
    pub(super) seed: u64,
    pub(super) began_at: Timestamp,
    /// Something about the port that a person should know.
    pub(super) remark: Option<String>,
    /// What to type in another terminal.
    pub(super) hints: Vec<Vec<String>>,
    home: Home,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl Stage {
    /// Sets everything up and lets it run. `quiet` keeps log lines off a terminal that is drawn on.
    pub(super) async fn open(
        seed: Option<u64>,
        listen: Option<SocketAddr>,
        store: Option<&Secret>,
        flags: &[(&'static str, String, String)],
        quiet: bool,
    ) -> Result<Self, Failure> {
        let machine = Machine::this();
        let seed = seed.unwrap_or_else(|| draw(&*machine.entropy));
        let players = cast::enter(seed).await.map_err(|error| {
            let text = format!("a provider of the demo cannot listen on this machine: {error}");
            Failure::new(Code::ListeningFailed, text)
        })?;
        let Port { listener, address, remark } = Port::open(listen).await?;
        let home = Home::make()?;
        let settings = home.settle(&players, address, store, flags)?;
        // What goes wrong is shown by the demo itself, and much does: log lines are for those who ask for them.
        if settings.level_asked && !quiet {
            telemetry::begin(&settings.level, settings.format).map_err(|error| {
                Failure::new(Code::SystemRefused, format!("log lines cannot be written: {error}"))
            })?;
        }
        let house = compose::house(settings, machine).await?;
        let api_key = api_key(address, &*house.machine.entropy);
        let players: Vec<Arc<Player>> = players.into_iter().map(Arc::new).collect();
        house.vault.start().await?;
        for player in &players {
            let grant = Grant { refresh: Some(player.refresh.clone()), ..Grant::default() };
            house.vault.connect(player.name.as_str(), grant, &who::runs_this()).await?;
        }
        let access = access(&house, &api_key).await?;
        let router = jeton_server::router(Doors {
            vault: house.vault.clone(),
            access: access.clone(),
            storage: house.storage.clone(),
        });
        access.start();
        let stop = CancellationToken::new();
        let ending = stop.clone().cancelled_owned();
        let serving = TaskTracker::new()
            .spawn(async move { jeton_server::serve(listener, router, Limits::default(), ending).await });
        let near = reachable(address);
        let hints = hints(near, &api_key, &home);
        let door = Door { address: near, api_key, clock: Arc::clone(&house.machine.clock) };
        let callers = Callers::start(&players, &door, seed);
        let began_at = house.machine.clock.now();
        Ok(Self {
            players,
            house,
            access,
            callers,
            address: near,
            seed,
            began_at,
            remark,
            hints,
            home,
            stop,
            serving,
        })
    }

    /// How long it has run.
    pub(super) fn ran(&self) -> Duration {
        self.house.machine.clock.now().since(self.began_at)
    }

    /// The connection whose grant is revoked while the demo runs.
    pub(super) fn doomed(&self) -> Option<&Player> {
        self.players.iter().map(Arc::as_ref).find(|player| player.is_doomed())
    }

    /// Calls the callers back, lets every refresh under way go to its end, and judges what became of every token.
    pub(super) async fn drain(&mut self) -> Result<Verdict, Failure> {
        self.callers.stop().await;
        self.stop.cancel();
        let (served, ()) = futures_util::future::join(&mut self.serving, self.house.vault.drain()).await;
        served.map_err(io::Error::other).flatten().map_err(|error| {
            Failure::new(Code::ListeningFailed, format!("the port stopped listening: {error}"))
        })?;
        self.access.drain().await;
        for player in &self.players {
            player.emulator.settled(SETTLING).await;
        }
        Verdict::of(self).await
    }

    /// Removes what it has written.
    pub(super) fn clear(self) -> Result<(), Failure> {
        self.home.remove()
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
async fn access(house: &House, api_key: &Secret) -> Result<Access, Failure> {
    let key = TokenHash::of(api_key.reveal().as_bytes());
    let environment = Environment::with_api_key(key);
    compose::access(&house.store, environment, jeton_issuer::Settings::default(), &house.machine).await
}

/// Where callers on this machine find what listens at `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

/// What to type in another terminal, in pieces that belong together.
fn hints(address: SocketAddr, api_key: &Secret, home: &Home) -> Vec<Vec<String>> {
    let (program, file) = (program(), quoted(&home.settings_file().to_string_lossy()));
    let url = format!("http://{address}/api/v1/connections/{}/token", cast::ROLES[0].name);
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
