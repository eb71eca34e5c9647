//! `jeton token`.

use clap::ValueEnum;
use jeton_core::keep::provider::DurationText;
use jeton_keeper::{Token, TokenRequest};
use serde_json::{Value, json};

use crate::actor;
use crate::app::{OpenMode, with_app};
use crate::command_error::CommandError;
use crate::output::{self, Output};
use crate::settings::Settings;

/// Print a live access token; it is refreshed first if needed
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    /// The connection
    name: String,
    /// How long the token must still live at least, such as 60s
    #[arg(long, value_name = "DURATION")]
    min_ttl: Option<DurationText>,
    /// What is printed: the token alone, all about it, or a header line [default: raw]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<TokenFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TokenFormat {
    /// The token and a line end
    Raw,
    /// Everything about it, as JSON; --json is the same
    Json,
    /// `Authorization: Bearer TOKEN`
    Header,
}

impl TokenArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        let form = self.format.unwrap_or(if output.json { TokenFormat::Json } else { TokenFormat::Raw });
        let min_ttl = self.min_ttl.map(|text| text.0);
        let request = TokenRequest { min_ttl, wait: None, by: Some(actor::current()) };
        with_app(settings, OpenMode::Existing, async |app| {
            let token = app.vault.token(&self.name, request).await?;
            if let (Some(warning), false) = (&token.warning, form == TokenFormat::Json) {
                output::print_note(&format!("warning: {warning}"))?;
            }
            match form {
                TokenFormat::Raw => Output::print_line(token.access.reveal())?,
                TokenFormat::Header => {
                    Output::print_line(&format!(
                        "Authorization: {} {}",
                        scheme(&token),
                        token.access.reveal()
                    ))?;
                }
                TokenFormat::Json => Output::print_json(&to_json(&token))?,
            }
            Ok(())
        })
        .await
    }
}

/// Some providers write `bearer`, and some APIs accept only `Bearer`.
fn scheme(token: &Token) -> &str {
    if token.token_type.eq_ignore_ascii_case("bearer") { "Bearer" } else { &token.token_type }
}

/// The members that the API answers with, too.
fn to_json(token: &Token) -> Value {
    let mut value = json!({
        "access_token": token.access.reveal(),
        "token_type": token.token_type,
        "expires_at": token.expires_at,
        "expires_in": token.expires_in.map(|left| left.as_secs()),
        "generation": token.generation,
        "fingerprint": token.fingerprint,
    });
    if let Some(warning) = &token.warning {
        value["warning"] = warning.as_str().into();
    }
    value
}
