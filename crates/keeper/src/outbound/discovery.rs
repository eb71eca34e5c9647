//! Reading an issuer's metadata, and keeping the last that was read, so that a start needs no network.
//!
//! The kept document is a file of the data directory, which is as private as the sealing key that lies there. Who accepts that
//! endpoints move to another host removes it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::{Definition, ServerMetadata};
use jeton_core::time::{Clock, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::form_urlencoded::byte_serialize;

use super::dial::Dialer;
use super::exchange::{ExchangeOutcome, exchange};
use crate::private_file::{create_private_dir, open_private};
use crate::settings::OutboundSettings;

/// How long one of the URLs may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How old metadata may be before it is read again.
const MOST_AGE: Duration = Duration::from_hours(24);

/// How long an issuer is left alone that gave none, where nothing is known of it, and where something is.
pub(crate) const FIRST_RETRY: Duration = Duration::from_secs(10);
const LATER_RETRY: Duration = Duration::from_mins(15);

/// The folder of the data directory with a file for each issuer.
const FOLDER: &str = "issuers";

/// The longest name of such a file, without its ending. Issuers that begin alike share a file, and the issuer in it tells whose it is.
const LONGEST_NAME: usize = 200;

/// Metadata as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptMetadata {
    /// When it was read, by the civil clock.
    read_at: Timestamp,
    metadata: ServerMetadata,
}

/// When an issuer is asked next, by the clock that counts suspension, and why it gave nothing the last time.
#[derive(Debug, Default)]
struct IssuerState {
    ask_at: Duration,
    failure: Option<String>,
}

/// Reads the metadata of issuers, each at most once at a time.
#[derive(Debug)]
pub(crate) struct Discovery {
    dialer: Dialer,
    clock: Arc<dyn Clock>,
    data_dir: PathBuf,
    issuers: Mutex<HashMap<String, Arc<tokio::sync::Mutex<IssuerState>>>>,
}

impl Discovery {
    pub(crate) fn new(outbound: &OutboundSettings, clock: Arc<dyn Clock>, data_dir: PathBuf) -> Self {
        Self { dialer: Dialer::new(outbound), clock, data_dir, issuers: Mutex::default() }
    }

    /// Sees to it that the metadata is known which a connection needs.
    ///
    /// # Errors
    /// One sentence that says which URLs were tried and what came, where nothing is known.
    pub(crate) async fn ensure(&self, definition: &Definition) -> Result<(), String> {
        let Some(issuer) = definition.discovers() else { return Ok(()) };
        let issuer = issuer.reveal();
        let state = Arc::clone(self.issuers.lock().entry(issuer.to_owned()).or_default());
        let mut state = state.lock().await;
        if definition.awaits_metadata() {
            self.recall(definition, issuer, &mut state);
        }
        if self.clock.uptime() < state.ask_at {
            return match &state.failure {
                Some(failure) if definition.awaits_metadata() => Err(failure.clone()),
                _ => Ok(()),
            };
        }
        let file = file_of(&self.data_dir, issuer);
        let read = match fetch(definition, &self.dialer, &self.clock).await {
            Ok(metadata) => refuse_moved(&file, &metadata).map(|()| metadata),
            Err(why) => Err(why),
        };
        match read {
            Ok(metadata) => {
                let kept = KeptMetadata { read_at: self.clock.now(), metadata };
                if let Err(error) = write(&file, &kept) {
                    tracing::warn!(issuer, file = %file.display(), %error, "the metadata of the issuer cannot be kept");
                }
                definition.take_metadata(kept.metadata);
                *state = IssuerState { ask_at: self.clock.uptime() + MOST_AGE, failure: None };
                Ok(())
            }
            Err(why) if definition.awaits_metadata() => {
                tracing::warn!(issuer, why, "the metadata of the issuer is not known");
                *state =
                    IssuerState { ask_at: self.clock.uptime() + FIRST_RETRY, failure: Some(why.clone()) };
                Err(why)
            }
            Err(why) => {
                tracing::error!(
                    issuer,
                    why,
                    "the metadata of the issuer could not be read again: what was read before counts"
                );
                *state = IssuerState { ask_at: self.clock.uptime() + LATER_RETRY, failure: Some(why) };
                Ok(())
            }
        }
    }

    /// Takes what was kept, if it counts still.
    fn recall(&self, definition: &Definition, issuer: &str, state: &mut IssuerState) {
        let file = file_of(&self.data_dir, issuer);
        let kept = match read(&file) {
            Ok(Some(kept)) => kept,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(issuer, file = %file.display(), %error, "the kept metadata cannot be read, and is read anew");
                return;
            }
        };
        if let Err(why) = definition.check_metadata(&kept.metadata) {
            tracing::warn!(issuer, why, "the kept metadata no longer counts, and is read anew");
            return;
        }
        let now = self.clock.now();
        // One from the future was kept by a clock that was wrong.
        let age = if kept.read_at > now { MOST_AGE } else { now.since(kept.read_at) };
        definition.take_metadata(kept.metadata);
        state.ask_at = state.ask_at.max(self.clock.uptime() + MOST_AGE.saturating_sub(age));
    }
}

/// Reads the metadata that a connection needs, and compares it with what a data directory has kept. Changes nothing.
///
/// # Errors
/// One sentence that says which URLs were tried and what came, or that endpoints have moved.
pub async fn read_server_metadata(
    definition: &Definition,
    outbound: &OutboundSettings,
    clock: Arc<dyn Clock>,
    data_dir: &Path,
) -> Result<ServerMetadata, String> {
    let metadata = fetch(definition, &Dialer::new(outbound), &clock).await?;
    let issuer = metadata.issuer().to_owned();
    refuse_moved(&file_of(data_dir, &issuer), &metadata)?;
    Ok(metadata)
}

/// Asks each of the URLs until one gives metadata.
async fn fetch(
    definition: &Definition,
    dialer: &Dialer,
    clock: &Arc<dyn Clock>,
) -> Result<ServerMetadata, String> {
    let mut tried = Vec::new();
    for request in definition.metadata_requests() {
        let url = request.url.to_string();
        let write_until = clock.uptime() + TIMEOUT;
        let why = match exchange(dialer, clock, request, TIMEOUT, write_until, async { Ok(()) }).await {
            ExchangeOutcome::Replied(reply) => match definition.read_metadata(&reply) {
                Ok(metadata) => return Ok(metadata),
                Err(why) => why,
            },
            ExchangeOutcome::NotSent { why, .. } | ExchangeOutcome::Broken { why, .. } => why,
        };
        tried.push(format!("{url}: {why}"));
    }
    let tried = tried.join("; ");
    Err(format!(
        "no metadata of the issuer was found ({tried}); check `issuer`, or set the URLs of the endpoints"
    ))
}

/// Metadata that moves endpoints to another host than the kept one says is not taken: secrets would go there.
fn refuse_moved(file: &Path, metadata: &ServerMetadata) -> Result<(), String> {
    let Ok(Some(kept)) = read(file) else { return Ok(()) };
    if kept.metadata.issuer() != metadata.issuer() {
        return Ok(());
    }
    let moved: Vec<_> = metadata
        .moved_endpoints(&kept.metadata)
        .into_iter()
        .map(|(member, url)| {
            let before = kept.metadata.endpoint(member).unwrap_or("nothing");
            format!("`{member}` from {before} to {url}")
        })
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the metadata moves {} to another host, where secrets would go; if the operator of the issuer says that this is right, \
         remove {}",
        moved.join(", and "),
        file.display()
    ))
}

fn file_of(data_dir: &Path, issuer: &str) -> PathBuf {
    let name: String =
        byte_serialize(issuer.as_bytes()).collect::<String>().chars().take(LONGEST_NAME).collect();
    data_dir.join(FOLDER).join(format!("{name}.json"))
}

fn read(file: &Path) -> io::Result<Option<KeptMetadata>> {
    match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
    }
}

/// Writes it beside its place first: a reader finds a whole file or none.
fn write(file: &Path, kept: &KeptMetadata) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    create_private_dir(folder)?;
    let pending = file.with_extension(format!("{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    let mut open = open_private(options.write(true).create(true).truncate(true), &pending)?;
    open.write_all(&serde_json::to_vec_pretty(kept)?)?;
    open.sync_all()?;
    fs::rename(&pending, file)?;
    File::open(folder)?.sync_all()
}
