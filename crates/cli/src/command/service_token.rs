//! `jeton service-token`.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use jeton_core::access::{
    Scope, Scopes, ServiceName, ServiceToken, ServiceTokenId, TokenHash, TokenStatus, strength,
};
use jeton_core::keep::provider::DurationText;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_issuer::{Access, NewToken, Rotated, TokenView};
use serde_json::json;

use crate::actor;
use crate::app::{self, HostEnv, OpenMode};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::{self, Output, Table};
use crate::settings::Settings;
use crate::time_format::relative;

/// How many tokens are read at once.
const PAGE: usize = 500;

/// The longest raw token that is read, in bytes.
const MAX_RAW: u64 = 64 * 1024;

/// Create, list, rotate and revoke the tokens with which programs call jeton
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceTokenCommand {
    Create(CreateArgs),
    /// List all service tokens, with those that have ended
    List,
    Rotate(RotateArgs),
    /// Revoke service tokens for good; running servers refuse them within 5 s
    Revoke {
        /// A service, to revoke all its tokens, or the id of one token
        which: String,
    },
    /// Print the SHA-256 of a raw token read from standard input, for `SERVICE_TOKEN_<NAME>_HASH`
    Hash,
}

/// Create a service token, and show it once
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The service that it belongs to; a service may have several tokens
    name: ServiceName,
    /// What it grants: token:NAME, operate:NAME, proxy:NAME, proxy:NAME:GET,HEAD:/api/**, read, sessions or admin; may be given several
    /// times. `*` in NAME is any run of characters. Without a scope it only identifies the service; with `--hash` it keeps what the
    /// environment grants that hash
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// How long it is valid, such as 90d [default: forever]
    #[arg(long, value_name = "DURATION", value_parser = life)]
    expires: Option<DurationText>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// Import a token that the service already has, by its SHA-256 as `jeton service-token hash` prints it
    #[arg(long, value_name = "HEX", value_parser = TokenHash::from_hex)]
    hash: Option<TokenHash>,
}

/// Create a token that replaces another, and show it once; for a while both are valid
#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// A service with one valid token, or the id of a token
    which: String,
    /// How long the old token stays valid
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    overlap: DurationText,
    /// How long the new token is valid [default: as long as the old one was]
    #[arg(long, value_name = "DURATION", value_parser = life)]
    expires: Option<DurationText>,
}

/// How long a token lives.
fn life(text: &str) -> Result<DurationText, String> {
    let life = text.parse::<DurationText>().map_err(|error| error.to_string())?;
    if life.0 < Duration::from_secs(1) {
        return Err("it is shorter than a second; give a longer time, or leave it out".to_owned());
    }
    Ok(life)
}

impl ServiceTokenCommand {
    /// Whether it works only on an installation that exists.
    pub(crate) fn needs_installation(&self) -> bool {
        !matches!(self, Self::Create(_) | Self::Hash)
    }

    pub(crate) async fn run(self, settings: &Settings, output: Output) -> Result<(), CommandError> {
        if matches!(self, Self::Hash) {
            return hash(output);
        }
        let host = HostEnv::system();
        let mode = if self.needs_installation() { OpenMode::Existing } else { OpenMode::Create };
        let (store, _) = app::open_installation(settings, &host, mode).await?;
        let clock = jeton_keeper::store_clock(&*store, Arc::clone(&host.clock)).await?;
        let (now, environment) = (clock.now(), settings.access.clone().environment());
        let access = app::open_access(&store, environment, settings.access.limits, clock, &host).await?;
        match self {
            Self::Create(create) => create.run(&access, output).await,
            Self::List => list(&access, now, output).await,
            Self::Rotate(rotate) => rotate.run(&access, output).await,
            Self::Revoke { which } => revoke(&access, &which, output).await,
            Self::Hash => hash(output),
        }
    }
}

impl CreateArgs {
    async fn run(self, access: &Access, output: Output) -> Result<(), CommandError> {
        let keeps = self.hash.is_some() && self.scopes.is_empty();
        let scopes = Scopes::new(self.scopes).map_err(|error| CommandError::usage(error.to_string()))?;
        let new = NewToken {
            service: self.name,
            scopes: (!keeps).then_some(scopes),
            notes: self.notes,
            life: self.expires.map(|life| life.0),
            hash: self.hash,
        };
        let shown = access.view_issued(access.create(new, &actor::current()).await?);
        Ok(output.print(&created_text(&shown), &shown)?)
    }
}

/// Describes a new token.
fn created_text(shown: &TokenView) -> String {
    let name = &shown.name;
    let text = match &shown.token {
        Some(token) => format!(
            "The service token of `{name}`, shown only now (jeton keeps its hash):\n\n    {}\n\nSend it as the header \
             X-SERVICE-TOKEN.",
            token.0.reveal()
        ),
        None => format!("The token of `{name}` with this hash is valid from now on."),
    };
    let expiry =
        shown.expires_at.map_or("never expires".to_owned(), |end| format!("expires {}", end.to_the_second()));
    let scopes = if shown.scopes.is_empty() { "none".to_owned() } else { shown.scopes.to_string() };
    format!("{text} It {expiry}. Scopes: {scopes}. Id: {}.", shown.id)
}

async fn list(access: &Access, now: Timestamp, output: Output) -> Result<(), CommandError> {
    let mut all = Vec::new();
    loop {
        let page = access.list(all.last().map(|last: &ServiceToken| last.id), PAGE).await?;
        let last_page = page.len() < PAGE;
        all.extend(page);
        if last_page {
            break;
        }
    }
    let head = ["NAME", "ID", "STANDING", "EXPIRES", "LAST USED", "SCOPES", "NOTES"];
    let mut table =
        Table::new(head, "there are no service tokens; create one with `jeton service-token create NAME`");
    for token in &all {
        table.row([
            token.service.to_string(),
            token.id.to_string(),
            token.status_at(now).to_string(),
            relative(token.expires_at, now),
            relative(token.last_used_at, now),
            token.scopes.to_string(),
            token.notes.clone().unwrap_or_default(),
        ]);
    }
    let shown: Vec<TokenView> = all.into_iter().map(|token| access.view(token)).collect();
    Ok(output.print_table(&table, &shown)?)
}

impl RotateArgs {
    async fn run(self, access: &Access, output: Output) -> Result<(), CommandError> {
        let id = resolve_token(access, &self.which)?;
        let life: Option<Duration> = self.expires.map(|life| life.0);
        let Rotated { old, new } = access.rotate(id, self.overlap.0, life, &actor::current()).await?;
        let (shown, replaces) = (access.view_issued(new), access.view(old));
        let end = replaces.expires_at.map_or_else(|| "-".to_owned(), |end| end.to_the_second().to_string());
        let text = format!("{}\nThe old one, {}, is valid until {end}.", created_text(&shown), replaces.id);
        let mut value = serde_json::to_value(&shown).map_err(std::io::Error::from)?;
        value["replaces"] = serde_json::to_value(&replaces).map_err(std::io::Error::from)?;
        Ok(output.print(&text, &value)?)
    }
}

/// The token with the id `which`, or the only one of the service `which` that can be rotated.
fn resolve_token(access: &Access, which: &str) -> Result<ServiceTokenId, CommandError> {
    if let Ok(id) = which.parse() {
        return Ok(id);
    }
    let tokens = tokens_of_service(access, which)?.into_iter();
    let valid: Vec<ServiceToken> = tokens
        .filter(|token| access.view(token.clone()).status == TokenStatus::Live && token.successor.is_none())
        .collect();
    match valid.as_slice() {
        [token] => Ok(token.id),
        [] => Err(CommandError::new(
            ErrorCode::UnknownServiceToken,
            format!("`{which}` has no valid token; create one with `jeton service-token create {which}`"),
        )),
        several => {
            let ids: Vec<String> = several.iter().map(|token| token.id.to_string()).collect();
            Err(CommandError::usage(format!(
                "`{which}` has {} tokens; give the id of one: {}",
                ids.len(),
                ids.join(", ")
            )))
        }
    }
}

/// The tokens of a service, of which there must be some.
fn tokens_of_service(access: &Access, which: &str) -> Result<Vec<ServiceToken>, CommandError> {
    let service = which.parse::<ServiceName>().map_err(|error| CommandError::usage(error.to_string()))?;
    let tokens = access.list_of(&service);
    if tokens.is_empty() {
        let text = format!(
            "the store has no service token of `{which}`; see `jeton service-token list`, and remove a token of the environment \
             with its SERVICE_TOKEN_<NAME>_HASH"
        );
        return Err(CommandError::new(ErrorCode::UnknownServiceToken, text));
    }
    Ok(tokens)
}

async fn revoke(access: &Access, which: &str, output: Output) -> Result<(), CommandError> {
    let ids: Vec<ServiceTokenId> = if let Ok(id) = which.parse() {
        vec![id]
    } else {
        let tokens = tokens_of_service(access, which)?;
        tokens.iter().filter(|token| token.revoked_at.is_none()).map(|token| token.id).collect()
    };
    let mut revoked: Vec<TokenView> = Vec::new();
    let by = actor::current();
    for id in ids {
        revoked.push(access.view(access.revoke(id, &by).await?));
    }
    let names: Vec<String> =
        revoked.iter().map(|token| format!("{} of `{}`", token.id, token.name)).collect();
    let text = if names.is_empty() {
        format!("every token of `{which}` was already revoked")
    } else {
        format!("revoked: {}; running servers refuse it within 5 s", names.join(", "))
    };
    Ok(output.print(&text, &json!({ "revoked": revoked }))?)
}

/// Prints the hash of standard input, without the line end that `echo` adds.
fn hash(output: Output) -> Result<(), CommandError> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_RAW).read_to_string(&mut text);
    let raw = Secret::from(text);
    read.map_err(|error| {
        CommandError::usage(format!("standard input cannot be read: {error}; pipe the raw token in as text"))
    })?;
    let line = raw.reveal().strip_suffix('\n').unwrap_or(raw.reveal());
    let line = Secret::new(line.strip_suffix('\r').unwrap_or(line));
    let hash = TokenHash::of_presentable(&line)
        .map_err(|error| CommandError::usage(format!("standard input is no token: {error}")))?;
    if strength::is_guessable(line.reveal()) {
        output::print_note(
            "warning: this token can be guessed, because it has less than 128 random bits; replace it by one of `jeton service-token \
             create NAME`",
        )?;
    }
    Ok(output.print(&hash.to_hex(), &json!({ "hash": hash.to_hex() }))?)
}

#[cfg(test)]
mod tests {
    use clap::Subcommand as _;

    use super::*;

    fn rejection(arguments: &[&str]) -> String {
        let command = ServiceTokenCommand::augment_subcommands(clap::Command::new("service-token"));
        let words = ["service-token"].iter().chain(arguments);
        command.try_get_matches_from(words).unwrap_err().to_string()
    }

    #[test]
    fn wrong_arguments_are_rejected_with_the_cure() {
        assert!(rejection(&["create", "Bot"]).contains("1 to 64 of a-z"));
        assert!(rejection(&["create", "bot1", "--scope", "root"]).contains("write token:NAME"));
        assert!(rejection(&["create", "bot1", "--expires", "90"]).contains("such as 250ms"));
        for none in ["0s", "999ms"] {
            assert!(rejection(&["create", "bot1", "--expires", none]).contains("shorter than a second"));
            assert!(rejection(&["rotate", "bot1", "--expires", none]).contains("shorter than a second"));
        }
        assert!(rejection(&["create", "bot1", "--hash", "12"]).contains("sha256sum"));
    }
}
