//! `jeton connect`.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;

use jeton_core::secret::Secret;
use jeton_keeper::{Connected, Grant};
use serde_json::json;

use super::import;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::settings::Settings;

/// No refresh token is longer; more is a file that was piped by mistake.
const LONGEST: u64 = 64 * 1024;

/// Take a grant over, or begin with one: a refresh token, a tokens.json, or nothing where the provider acquires its own
///
/// Connecting again replaces the grant. Nothing is sent upstream; the connection is refreshed when it is due.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// The connection, as it is called in the settings
    name: String,
    /// Read the refresh token from standard input, so that it stands in no history and no process list
    #[arg(long, conflicts_with = "import")]
    refresh_token_stdin: bool,
    /// Read `access_token`, `refresh_token` and `expires_at` (epoch seconds or RFC 3339) from a JSON file
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
}

impl Connect {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), Failure> {
        let name = self.name;
        let grant = match self.import {
            Some(file) => {
                let (grant, remark) = import::read(&file)?;
                remark.iter().try_for_each(|text| output::remark(text))?;
                grant
            }
            None if self.refresh_token_stdin => {
                Grant { refresh: Some(from_stdin(&name)?), ..Grant::default() }
            }
            None => Grant::default(),
        };
        super::at_home(settings, async |house| {
            let connected = house.vault.connect(&name, grant).await?;
            let (text, result) = match connected {
                Connected::Stored { .. } => (format!("`{name}` is connected"), "stored"),
                Connected::Unchanged => {
                    (format!("`{name}` holds this refresh token already; nothing was changed"), "unchanged")
                }
            };
            let generation = house.vault.status(&name).await?.generation;
            Ok(output
                .either(&text, &json!({ "connection": name, "result": result, "generation": generation }))?)
        })
        .await
    }
}

fn from_stdin(name: &str) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::wrong_use(format!(
            "a refresh token is not typed where others can see it; pipe it in, such as \
             `jeton connect {name} --refresh-token-stdin < token.txt`"
        )));
    }
    let mut text = String::new();
    let read = stdin.lock().take(LONGEST + 1).read_to_string(&mut text);
    let text = Secret::from(text);
    let refused = |why: &str| {
        Failure::wrong_use(format!("{why}; pipe the refresh token alone into `--refresh-token-stdin`"))
    };
    match read {
        Err(error) => return Err(refused(&format!("standard input cannot be read as text ({error})"))),
        Ok(count) if count as u64 > LONGEST => {
            return Err(refused("standard input holds more than any refresh token"));
        }
        Ok(_) => {}
    }
    let token = text.reveal().trim_end_matches(['\r', '\n']);
    if token.trim().is_empty() {
        return Err(refused("standard input is empty"));
    }
    if token.contains(['\r', '\n']) {
        return Err(refused("standard input holds several lines"));
    }
    Ok(token.into())
}
