//! The store of an installation without a server: makes its very many connections, and measures a claim among them.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, ConnectionName, Generation, GrantId, NodeId};
use jeton_core::keep::attempt::{Act, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::{SealedTokens, access_context, refresh_context};
use jeton_core::keep::ports::{Connect, ConnectAnswer, ConnectionStore, Fail, FailureEffect, Maintenance};
use jeton_core::seal::{KeyRing, Sealer};
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use jeton_testkit::TestInstallation;
use tokio::time::Instant;

use crate::latency::Latencies;

/// How many connections are made at once: the store groups their writes.
const AT_ONCE: usize = 512;
/// How many claims are made, one after the other.
const CLAIMS: usize = 200;

/// The access token of the connection `name`.
pub(super) fn access_token(name: &str) -> String {
    format!("access-token-of-{name}-with-the-length-that-tokens-usually-have")
}

async fn open(
    installation: &TestInstallation,
) -> Result<(Arc<dyn ConnectionStore>, Arc<dyn Maintenance>, NodeId)> {
    let node = NodeId::generate(SystemClock.now(), &SystemEntropy);
    if let Some(database) = installation.postgres() {
        let options = PostgresOptions::new(Secret::new(database.url()));
        let store = Arc::new(PostgresStore::open(options).await?);
        return Ok((Arc::clone(&store) as _, store, node));
    }
    let options = SqliteOptions::new(Arc::new(SystemClock));
    let store = Arc::new(SqliteStore::open(&installation.database(), options)?);
    Ok((Arc::clone(&store) as _, store, node))
}

/// Connects all `names` as the connection `first` is, each with tokens of its own.
///
/// # Errors
/// The store fails, or the key of the installation is not the key of the store.
pub(super) async fn connect_all(
    installation: &TestInstallation,
    first: &str,
    names: impl Iterator<Item = String>,
) -> Result<()> {
    let (store, maintenance, node) = open(installation).await?;
    let key = fs::read_to_string(installation.data_dir().join("key")).context("reading the sealing key")?;
    let identity = maintenance.identity().await?.context("the store has an identity")?;
    let sealer = Sealer::open_with(KeyRing::parse(&key)?, &identity.key_check)?;
    let first = store.find(&first.parse()?).await?.context("the first connection is connected")?;
    let (now, due_at) = (SystemClock.now(), first.due_at.context("the first connection is refreshed")?);
    let expires_at = first.tokens.and_then(|tokens| tokens.access_expires_at);
    let connect_one = |name: String| {
        let (store, sealer, provider) = (&store, &sealer, first.provider.clone());
        async move {
            let connection: ConnectionName = name.parse()?;
            let connect = Connect {
                tokens: Some(tokens(sealer, &connection, now, expires_at)),
                connection,
                provider,
                grant: GrantId::generate(now, &SystemEntropy),
                generation: Generation(0),
                single_use: true,
                due_at,
                attempt: AttemptId::generate(now, &SystemEntropy),
                node,
                by: None,
            };
            let answer = store.connect(connect).await?;
            ensure!(matches!(answer, ConnectAnswer::Connected { .. }), "connecting {name}: {answer:?}");
            Ok(())
        }
    };
    stream::iter(names.map(connect_one)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    if let Some(database) = installation.postgres() {
        database.query("ANALYZE")?;
    }
    Ok(())
}

fn tokens(
    sealer: &Sealer,
    connection: &ConnectionName,
    obtained_at: Timestamp,
    access_expires_at: Option<Timestamp>,
) -> SealedTokens {
    let access = Secret::from(access_token(connection.as_str()));
    let refresh =
        Secret::from(format!("refresh-token-of-{connection}-with-the-length-that-tokens-usually-have"));
    let seal =
        |secret: &Secret, context| Some(sealer.seal(secret.reveal().as_bytes(), context, &SystemEntropy));
    SealedTokens {
        access: seal(&access, access_context(connection, Generation(1))),
        refresh: seal(&refresh, refresh_context(connection, Generation(1))),
        extras: None,
        access_fingerprint: Some(sealer.fingerprint(&access)),
        refresh_fingerprint: Some(sealer.fingerprint(&refresh)),
        obtained_at,
        access_expires_at,
        refresh_expires_at: None,
        scope: None,
    }
}

/// Claims connections spread over `names`, and gives each claim back.
///
/// # Errors
/// A claim was not won, or the store failed.
pub(super) async fn claim(
    installation: &TestInstallation,
    names: impl Iterator<Item = String>,
) -> Result<Latencies> {
    let (store, _, node) = open(installation).await?;
    let names: Vec<String> = names.collect();
    let mut all = Latencies::default();
    for name in names.iter().step_by(names.len().div_ceil(CLAIMS).max(1)) {
        let row = store.find(&name.parse()?).await?.context("every name is connected")?;
        let attempt = AttemptId::generate(SystemClock.now(), &SystemEntropy);
        let claim = Claim {
            connection: row.name.clone(),
            attempt,
            node,
            trigger: Trigger::Automatic,
            asked_by: None,
            act: Act::Redeem,
            generation: row.generation,
            spends: row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
            lease_ttl: Duration::from_secs(45),
            through_cooldown: false,
            recovers: None,
        };
        let begun = Instant::now();
        let answer = store.claim(claim).await?;
        all.push(begun.elapsed());
        ensure!(matches!(answer, ClaimAnswer::Won { .. }), "{name} could not be claimed: {answer:?}");
        let not_sent = Fail {
            connection: row.name,
            attempt,
            generation: row.generation,
            effect: FailureEffect::Retry,
            code: "not_sent".to_owned(),
            http_status: None,
            message: "nothing was sent".to_owned(),
            provider_message: None,
            cooldown: Duration::ZERO,
            due_in: None,
            kept_reply: None,
        };
        store.fail(not_sent).await?;
    }
    Ok(all)
}
