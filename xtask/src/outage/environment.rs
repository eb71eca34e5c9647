//! The providers behind their proxies, an installation with a grant of each connection, and its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jeton_core::keep::connection::Condition;
use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{
    Client, CommandOutput, ConnectionSettings, OidcRig, OidcSettings, ServerProcess, TestAuthority,
    TestInstallation, TestResolver,
};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::kind::OutageKind;
use super::proxy::{FaultProxy, Treatment};
use super::timing::Timing;
use crate::proof::{self, TIMEOUT};
use crate::refresh_log::ConnectionStatus;
use crate::setup;

/// The provider that has TLS, and its host.
const TLS: &str = "tls";
const TLS_HOST: &str = "tls.test";

/// The client that all connections to emulated providers have, at both of them.
fn client() -> (String, Secret) {
    let Settings { client_id, client_secret, .. } = Settings::default();
    (client_id, client_secret)
}

/// What issues the tokens.
enum Issuer {
    Emulated(Box<Emulator>),
    Oidc(Box<OidcRig>),
}

/// A provider behind its proxy, and the connections to it.
pub(super) struct Vendor {
    pub(super) name: &'static str,
    pub(super) proxy: FaultProxy,
    pub(super) connections: Vec<String>,
    issuer: Issuer,
}

impl Vendor {
    /// Whether it accepts an access token.
    pub(super) async fn accepts(&self, access_token: &str) -> Result<bool> {
        match &self.issuer {
            Issuer::Emulated(emulator) => Ok(emulator.accepts(access_token)),
            Issuer::Oidc(rig) => Ok(rig.call(access_token).await? == 200),
        }
    }

    /// How many grants it has revoked because a refresh token came twice.
    pub(super) async fn reuses(&self) -> Result<u64> {
        match &self.issuer {
            Issuer::Emulated(emulator) => Ok(emulator.stats().reuse_kills),
            Issuer::Oidc(rig) => Ok(rig.stats().await?.grants_revoked),
        }
    }

    /// Its host and port, as jeton names it.
    pub(super) fn server(&self) -> String {
        let address = self.proxy.address();
        if self.name == TLS { format!("{TLS_HOST}:{}", address.port()) } else { address.to_string() }
    }

    async fn mint(&self, count: usize) -> Result<Vec<Secret>> {
        match &self.issuer {
            Issuer::Emulated(emulator) => Ok(emulator.mint(count)),
            Issuer::Oidc(rig) => rig.mint(count).await,
        }
    }

    fn connection(&self) -> ConnectionSettings {
        let (id, secret) = match &self.issuer {
            Issuer::Emulated(_) => client(),
            Issuer::Oidc(rig) => {
                let client = rig.connection().client;
                (client["id"].clone(), Secret::new(client["secret"].clone()))
            }
        };
        let address = self.proxy.address();
        let scheme = if self.name == TLS { "https" } else { "http" };
        let url = format!("{scheme}://{}/token", self.server());
        ConnectionSettings::oauth2(&url, &format!("http://{address}/api"), &id, secret.reveal())
    }
}

/// A process on the store, and what it and those in its place before it have logged.
struct OutageNode {
    installation: Arc<TestInstallation>,
    server: ServerProcess,
    ended: String,
}

/// Everything that runs.
pub(super) struct OutageEnvironment {
    pub(super) vendors: Vec<Arc<Vendor>>,
    pub(super) timing: Timing,
    resolver: TestResolver,
    nodes: Vec<OutageNode>,
}

/// What is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnvironmentPlan {
    pub(super) timing: Timing,
    pub(super) seed: u64,
    pub(super) grants: usize,
    /// Two nodes on PostgreSQL, instead of one process on SQLite.
    pub(super) postgres: bool,
}

impl OutageEnvironment {
    /// Starts the providers, imports a grant for each connection, and starts the processes.
    pub(super) async fn start(plan: EnvironmentPlan) -> Result<Self> {
        let EnvironmentPlan { timing, seed, grants, postgres } = plan;
        // Ten minutes: some tokens are due in the shortest outage, and all have expired in the longest.
        let life = timing.of(Duration::from_mins(10));
        let authority = TestAuthority::new();
        let vendors = start_vendors(life, seed, grants, &authority).await?;
        let mut installation =
            if postgres { TestInstallation::on_postgres()? } else { TestInstallation::new()? };
        apply_settings(&mut installation, timing, &authority)?;
        for vendor in &vendors {
            let tokens = vendor.mint(vendor.connections.len()).await?;
            for (index, (name, token)) in vendor.connections.iter().zip(&tokens).enumerate() {
                vendor.proxy.own(name, token.reveal());
                let margin = spread_margin(life, index, vendor.connections.len());
                let connection = vendor
                    .connection()
                    .with_policy("margin", &millis(margin))
                    .with_policy("unknown_hold", &millis(timing.hold()))
                    .with_policy("confirm_dead", &millis(timing.confirmation()));
                setup::import(&mut installation, name, connection, token)?;
            }
        }
        let resolver = TestResolver::new()?;
        let server = serve(&installation, &resolver).await?;
        let another = postgres.then(|| installation.another_node()).transpose()?;
        let first = OutageNode { installation: Arc::new(installation), server, ended: String::new() };
        let mut environment = Self { vendors, timing, resolver, nodes: vec![first] };
        if let Some(installation) = another {
            let server = serve(&installation, &environment.resolver).await?;
            let installation = Arc::new(installation);
            environment.nodes.push(OutageNode { installation, server, ended: String::new() });
        }
        environment.wait_until_live(&BTreeSet::new(), TIMEOUT).await?;
        Ok(environment)
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The vendors are down: each in its way.
    pub(super) fn begin_outage(&self, treatments: &[Treatment]) -> Result<()> {
        let no_name = treatments.iter().any(|treatment| treatment.kind == Some(OutageKind::NoName));
        self.resolver.fail(if no_name { &[TLS_HOST] } else { &[] })?;
        for (vendor, treatment) in self.vendors.iter().zip(treatments) {
            vendor.proxy.treat(*treatment);
        }
        Ok(())
    }

    /// All of them are up again.
    pub(super) fn end_outage(&self) -> Result<()> {
        self.begin_outage(&[Treatment::NONE; 3])
    }

    /// A client of each process.
    pub(super) fn clients(&self) -> Vec<Client> {
        self.nodes.iter().map(|node| node.server.client().with_deadline(TIMEOUT)).collect()
    }

    /// What all processes have logged, each node's by itself.
    pub(super) fn logs(&self) -> Result<Vec<String>> {
        self.nodes.iter().map(|node| Ok(node.ended.clone() + &node.server.output()?)).collect()
    }

    /// Kills every process, and starts another in its place.
    pub(super) async fn kill_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.server.kill().await?;
            node.ended.push_str(&node.server.output()?);
            node.server = serve(&node.installation, &self.resolver).await?;
        }
        Ok(())
    }

    /// The output of a command.
    pub(super) async fn run<'a>(
        &self,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<CommandOutput> {
        let command = self.nodes[0].installation.command(arguments)?.envs(self.resolver.environment());
        command.run(TIMEOUT).await
    }

    /// All connections, as the first process says.
    pub(super) async fn statuses(&self) -> Result<BTreeMap<String, ConnectionStatus>> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<ConnectionStatus>,
        }
        let answer = self.clients()[0].get_json("/api/v1/connections?limit=1000").await?;
        let list: List = serde_json::from_value(answer).context("reading the list of connections")?;
        Ok(list.items.into_iter().map(|status| (status.name.clone(), status)).collect())
    }

    /// Waits until every connection is live that is not among `lost`; answers how long each took.
    pub(super) async fn wait_until_live(
        &self,
        lost: &BTreeSet<String>,
        limit: Duration,
    ) -> Result<BTreeMap<String, Duration>> {
        let began = Instant::now();
        let mut live: BTreeMap<String, Duration> = BTreeMap::new();
        loop {
            let mut waiting = Vec::new();
            for (name, status) in self.statuses().await? {
                let refreshing =
                    status.condition == Condition::Refreshing && status.interrupted_attempt.is_none();
                if status.condition == Condition::Live || (refreshing && live.contains_key(&name)) {
                    live.entry(name).or_insert_with(|| began.elapsed());
                } else if !lost.contains(&name) {
                    waiting.push((name, status.condition));
                }
            }
            if waiting.is_empty() {
                return Ok(live);
            }
            ensure!(
                began.elapsed() < limit,
                "after {limit:?} {} connections are not live again, first {:?}",
                waiting.len(),
                &waiting[..waiting.len().min(5)]
            );
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks all processes to end, and waits until they have.
    pub(super) async fn end(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            proof::end(&mut node.server).await?;
        }
        Ok(())
    }
}

/// Two emulated providers, of which one has TLS and a name, and one that others wrote.
async fn start_vendors(
    life: Duration,
    seed: u64,
    grants: usize,
    authority: &TestAuthority,
) -> Result<Vec<Arc<Vendor>>> {
    let share = grants * 2 / 5;
    let names = |vendor: &str, count: usize| (1..=count).map(|number| format!("{vendor}-{number}")).collect();
    let emulate = async |seed| {
        let settings = Settings { access_ttl: life, seed, ..Settings::default() };
        anyhow::Ok(Emulator::start(settings).await?)
    };
    let plain = emulate(seed).await?;
    let proxy = FaultProxy::start(plain.address(), seed).await?;
    let connections = names("plain", share);
    let plain = Vendor { name: "plain", proxy, connections, issuer: Issuer::Emulated(Box::new(plain)) };
    let tls = emulate(seed.wrapping_add(1)).await?;
    let proxy = FaultProxy::start_tls(tls.address(), seed, TLS_HOST, authority).await?;
    let connections = names(TLS, share);
    let tls = Vendor { name: TLS, proxy, connections, issuer: Issuer::Emulated(Box::new(tls)) };
    let rig = OidcRig::start(OidcSettings { access_ttl: life, ..OidcSettings::default() }).await?;
    let address = rig.base_url().trim_start_matches("http://").parse()?;
    let proxy = FaultProxy::start(address, seed).await?;
    let connections = names("oidc", grants - 2 * share);
    let oidc = Vendor { name: "oidc", proxy, connections, issuer: Issuer::Oidc(Box::new(rig)) };
    Ok([plain, tls, oidc].map(Arc::new).to_vec())
}

fn apply_settings(
    installation: &mut TestInstallation,
    timing: Timing,
    authority: &TestAuthority,
) -> Result<()> {
    let ca_file = installation.path().join("ca.pem");
    fs::write(&ca_file, authority.pem())?;
    installation.set("outbound", "ca_file", ca_file.display().to_string())?;
    installation.set("log", "level", "info")?;
    for (name, value) in [
        ("outage_retry", timing.longest_pause()),
        ("cooldown", timing.first_pause()),
        ("redeem_timeout", timing.exchange()),
        ("lease", timing.lease()),
    ] {
        installation.set("keeper", name, millis(value))?;
    }
    Ok(())
}

/// How long before its expiry the token of the connection at `index` of `count` is refreshed: their refreshes are spread over time.
fn spread_margin(life: Duration, index: usize, count: usize) -> Duration {
    let (index, count) = (u32::try_from(index).unwrap_or(0), u32::try_from(count).unwrap_or(1));
    life / 4 + life / 2 * index / count
}

async fn serve(installation: &TestInstallation, resolver: &TestResolver) -> Result<ServerProcess> {
    let mut server = installation.command(["serve"])?.envs(resolver.environment()).serve()?;
    server.wait_until_ready(TIMEOUT).await?;
    Ok(server)
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}
