//! What a claim costs among very many rows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jeton_core::entropy::SystemEntropy;
use jeton_core::id::{AttemptId, NodeId};
use jeton_core::keep::attempt::{Act, Trigger};
use jeton_core::keep::claim::{Claim, ClaimAnswer};
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{ConnectionStore, Fail, FailureEffect};
use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock};
use jeton_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use jeton_testkit::TestInstallation;
use tokio::time::Instant;

use crate::load::Latencies;

/// How many claims are made, one after the other.
const CLAIMS: usize = 200;

/// Claims connections spread over `names` and takes each claim back. No server runs meanwhile.
///
/// # Errors
/// A claim was not won, or the store failed.
pub(super) async fn claim(home: &TestInstallation, names: impl Iterator<Item = String>) -> Result<Latencies> {
    let store: Arc<dyn ConnectionStore> = match home.postgres() {
        Some(database) => {
            Arc::new(PostgresStore::open(PostgresOptions::new(Secret::new(database.url()))).await?)
        }
        None => Arc::new(SqliteStore::open(&home.database(), SqliteOptions::new(Arc::new(SystemClock)))?),
    };
    let node = NodeId::generate(SystemClock.now(), &SystemEntropy);
    let names: Vec<String> = names.collect();
    let mut all = Latencies::default();
    for name in names.iter().step_by(names.len().div_ceil(CLAIMS).max(1)) {
        let row = store.find(&name.parse()?).await?.context("a row was made for each name")?;
        let claim = of(&row, node);
        let attempt = claim.attempt;
        let begun = Instant::now();
        let answer = store.claim(claim).await?;
        all.push(begun.elapsed());
        ensure!(matches!(answer, ClaimAnswer::Won { .. }), "{name} could not be claimed: {answer:?}");
        store.fail(taken_back(&row, attempt)).await?;
    }
    Ok(all)
}

fn of(row: &Connection, node: NodeId) -> Claim {
    Claim {
        connection: row.name.clone(),
        attempt: AttemptId::generate(SystemClock.now(), &SystemEntropy),
        node,
        trigger: Trigger::Automatic,
        act: Act::Redeem,
        generation: row.generation,
        spends: row.tokens.as_ref().and_then(|tokens| tokens.refresh_fingerprint),
        lease_ttl: Duration::from_secs(45),
        through_cooldown: false,
        recovers: None,
    }
}

fn taken_back(row: &Connection, attempt: AttemptId) -> Fail {
    Fail {
        connection: row.name.clone(),
        attempt,
        generation: row.generation,
        effect: FailureEffect::Retry,
        code: "not_sent".to_owned(),
        http_status: None,
        message: "nothing was sent".to_owned(),
        cooldown: Duration::ZERO,
        due_in: None,
        kept_reply: None,
    }
}
