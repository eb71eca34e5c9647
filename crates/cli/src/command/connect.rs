//! `jeton connect`.

mod link;
mod paste;
mod server_check;

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;

use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_keeper::{Connected, Grant, Peers, Replaced, Status, TokenError};
use serde_json::json;

use self::link::ConsentResult;
use super::{import, token_form};
use crate::actor;
use crate::app::{App, OpenMode, with_app};
use crate::command_error::CommandError;
use crate::env_vars::EnvVars;
use crate::error_code::ErrorCode;
use crate::output::{self, Output};
use crate::settings::Settings;
use crate::time_format::relative;

/// The longest refresh token that is read, in bytes; a longer input is a file that was piped by mistake.
const MAX_TOKEN: u64 = 64 * 1024;

/// Give a connection its grant: by a person's consent in a browser, or from a token that you have
///
/// Where the provider asks a person, it prints a link that is good for 10 minutes and for one browser, and waits for the
/// answer; `jeton serve` must run. A refresh token or a tokens.json needs no consent. A connection whose provider issues tokens
/// to the client itself starts by itself, and needs this only after `jeton disconnect`. A connection whose grant works keeps it
/// until the new one has given a token: a refresh token is then used at once, while one for a connection without a grant is
/// stored, and used when it is due.
#[derive(Debug, clap::Args)]
pub(crate) struct ConnectArgs {
    /// The connection
    name: String,
    /// Read the refresh token from standard input, which no shell history and no process list shows
    #[arg(long, conflicts_with = "import")]
    refresh_token_stdin: bool,
    /// Read `access_token`, `refresh_token` and `expires_at` (epoch seconds or RFC 3339) from a JSON file
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Store the tokens as they are, without using them first, in place of a grant that may work
    #[arg(long, conflicts_with = "code")]
    force: bool,
    /// Consent without a browser on this machine: open the provider's page anywhere, and paste the address it ends on here
    #[arg(long, conflicts_with_all = ["import", "refresh_token_stdin"])]
    code: bool,
}

impl ConnectArgs {
    pub(crate) async fn run(
        self,
        settings: Settings,
        environment: &EnvVars,
        output: Output,
    ) -> Result<(), CommandError> {
        let name = self.name;
        let listen = settings.listen;
        let has_grant = self.import.is_some() || self.refresh_token_stdin;
        if self.force && !has_grant {
            return Err(CommandError::usage(
                "`--force` stores tokens that are given; add `--refresh-token-stdin` or `--import FILE`",
            ));
        }
        let grant = match self.import {
            Some(file) => {
                let read = if self.force { import::read_as_it_is(&file) } else { import::read(&file) };
                let (grant, note) = read?;
                note.iter().try_for_each(|text| output::print_note(text))?;
                grant
            }
            None if self.refresh_token_stdin => {
                Grant { refresh: Some(from_stdin(&name, self.force)?), ..Grant::default() }
            }
            None => Grant::default(),
        };
        with_app(settings, OpenMode::Create, async |app| {
            if has_grant {
                return store_grant(app, &name, grant, self.force, output).await;
            }
            if app.vault.asks_for_consent(&name)? {
                let consented = if self.code {
                    paste::consent(&app.vault, &name).await?
                } else {
                    link::consent(&app.vault, &name, listen, environment, output).await?
                };
                let status = app.vault.status(&name).await?;
                return Ok(print_consented(&name, consented, &status, output)?);
            }
            if self.code {
                return Err(CommandError::usage(format!(
                    "`{name}` needs no consent; leave `--code` out, or see what its provider needs with `jeton provider show`"
                )));
            }
            let connected = match app.vault.connect(&name, grant, &actor::current()).await {
                Err(TokenError::GrantRefused { message, .. }) => {
                    return Err(CommandError::new(ErrorCode::GrantRefused, format!(
                        "{message}: pipe a refresh token into `jeton connect {name} --refresh-token-stdin`, or give `--import \
                         FILE`; to have a person consent in a browser, set the provider's page, such as `authorize_url` under \
                         [connections.{name}.vars]"
                    )));
                }
                connected => connected?,
            };
            let (text, result) = match connected {
                Connected::Stored { .. } => {
                    let text = format!(
                        "`{name}` needs no consent: its provider gives tokens to the client itself; `jeton serve` gets the first one, \
                         and so does `jeton token {name}`"
                    );
                    (text, "stored")
                }
                Connected::Unchanged => {
                    (format!("`{name}` is connected already; nothing was changed"), "unchanged")
                }
            };
            let generation = app.vault.status(&name).await?.generation;
            Ok(output.print(&text, &json!({ "connection": name, "result": result, "generation": generation }))?)
        })
        .await
    }
}

/// Stores a grant that was given, and says what is known of it.
async fn store_grant(
    app: &App,
    name: &str,
    grant: Grant,
    untried: bool,
    output: Output,
) -> Result<(), CommandError> {
    let (vault, by) = (&app.vault, actor::current());
    let has_refresh = grant.refresh.is_some();
    let replaced = if untried {
        Replaced::Untried(vault.connect(name, grant, &by).await?)
    } else {
        vault.replace(name, grant, &by).await?
    };
    let status = vault.status(name).await?;
    let (text, result, tried) = match replaced {
        Replaced::Tried { expires_at, .. } => {
            let expires = match expires_at {
                Some(_) => format!("expires {}", relative(expires_at, vault.now())),
                None => "has no known expiry".to_owned(),
            };
            let text =
                format!("`{name}` is connected: its new refresh token gave an access token that {expires}");
            (text, "stored", true)
        }
        Replaced::Untried(Connected::Stored { .. }) => {
            let peers = vault.peers(&*app.store).await?;
            (describe_untried(&status, vault.now(), has_refresh, &peers), "stored", false)
        }
        Replaced::Untried(Connected::Unchanged) => {
            let text = format!("`{name}` holds this refresh token already; nothing was changed");
            (text, "unchanged", false)
        }
        Replaced::Kept { message, may_be_spent } => {
            let cure = if may_be_spent {
                "use that refresh token nowhere else, and get a new one"
            } else {
                "correct it, or add `--force` to store it without trying it"
            };
            let text = format!("`{name}` keeps the grant that it has: {message}; {cure}");
            return Err(CommandError::new(ErrorCode::GrantRefused, text));
        }
    };
    let generation = status.generation;
    let value = json!({ "connection": name, "result": result, "tried": tried, "generation": generation });
    Ok(output.print(&text, &value)?)
}

/// What happens to a grant that was stored and not used.
fn describe_untried(status: &Status, now: Timestamp, has_refresh: bool, peers: &Peers) -> String {
    let name = &status.name;
    let next = match status.due_at {
        _ if !has_refresh => "it has no refresh token, so it ends with its access token".to_owned(),
        _ if peers.nodes.is_empty() => format!(
            "`jeton serve` does not run, so nobody refreshes it; `jeton refresh --connection {name} --force --sync` does"
        ),
        _ if !peers.other_definitions.is_empty() => format!(
            "`jeton serve` runs with other settings than these; restart it, so that it knows `{name}` as it is defined now"
        ),
        due_at if due_at.is_some_and(|due_at| due_at > now) => {
            format!("`jeton serve` refreshes it first {}", relative(due_at, now))
        }
        _ => format!("`jeton serve` refreshes it now; `jeton status {name}` shows the result"),
    };
    format!("the grant of `{name}` is stored and was not tried: {next}")
}

fn print_consented(name: &str, consented: ConsentResult, status: &Status, output: Output) -> io::Result<()> {
    let ConsentResult { generation, renews } = consented;
    let (granted, missing) = (&status.granted_scopes, &status.missing_scopes);
    let granted_words = match granted.as_ref().filter(|granted| !granted.is_empty()) {
        Some(granted) => format!("; it was granted {}", granted.join(" ")),
        None => String::new(),
    };
    let text = if renews {
        format!("`{name}` is connected")
    } else {
        format!(
            "`{name}` is connected, but the provider gave no refresh token, so it ends with its access token; ask the provider \
             for offline access, then connect again"
        )
    };
    if !missing.is_empty() {
        output::print_note(&format!(
            "warning: the provider did not grant {}; allow it there and connect again, or ask for fewer scopes",
            missing.join(" ")
        ))?;
    }
    let value = json!({
        "connection": name, "result": "stored", "generation": generation, "renews": renews,
        "granted_scopes": granted, "missing_scopes": missing,
    });
    output.print(&format!("{text}{granted_words}"), &value)
}

/// Reads a refresh token. Unless it is taken `as_it_is`, it must be the token alone.
fn from_stdin(name: &str, as_it_is: bool) -> Result<Secret, CommandError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(CommandError::usage(format!(
            "a refresh token typed here would be shown; pipe it in, such as \
             `jeton connect {name} --refresh-token-stdin < token.txt`"
        )));
    }
    let mut text = String::new();
    let read = stdin.lock().take(MAX_TOKEN + 1).read_to_string(&mut text);
    let text = Secret::from(text);
    let wrong = |why: &str| {
        CommandError::usage(format!("{why}; pipe the refresh token alone into `--refresh-token-stdin`"))
    };
    match read {
        Err(error) => return Err(wrong(&format!("standard input cannot be read as text: {error}"))),
        Ok(count) if count as u64 > MAX_TOKEN => {
            return Err(wrong("standard input holds more than any refresh token"));
        }
        Ok(_) => {}
    }
    let lines = text.reveal().trim_end_matches(['\r', '\n']);
    let token = if as_it_is { lines } else { lines.trim() };
    if token.is_empty() {
        return Err(wrong("standard input is empty"));
    }
    if token.contains(['\r', '\n']) {
        return Err(wrong("standard input holds several lines"));
    }
    if let Some(problem) = token_form::check(token).err().filter(|_| !as_it_is) {
        return Err(CommandError::new(
            ErrorCode::GrantRefused,
            format!(
                "standard input {problem}; pipe the refresh token alone into `--refresh-token-stdin`, or add `--force` if it is \
             the token as the provider gave it"
            ),
        ));
    }
    Ok(token.into())
}
