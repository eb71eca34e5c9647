//! `jeton token`.

use clap::ValueEnum;
use jeton_core::keep::provider::{DurationText, Injection};
use jeton_core::secret::Secret;
use jeton_keeper::{Token, TokenRequest, title_case};
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
    /// What is printed: the token alone, all about it, or header lines [default: raw]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<TokenFormat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TokenFormat {
    /// The token and a line end
    Raw,
    /// Everything about it, as JSON; --json is the same
    Json,
    /// The header lines that a call carries, such as `Authorization: Bearer TOKEN`
    Header,
}

impl TokenArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        let form = self.format.unwrap_or(if output.json { TokenFormat::Json } else { TokenFormat::Raw });
        let min_ttl = self.min_ttl.map(|text| text.0);
        let request = TokenRequest { min_ttl, wait: None, by: Some(actor::current()) };
        with_app(settings, OpenMode::Existing, async |app| {
            let (token, headers) = if form == TokenFormat::Header {
                let (token, injections) = app.vault.injections(&self.name, request).await?;
                (token, Some(header_lines(&self.name, &injections)?))
            } else {
                (app.vault.token(&self.name, request).await?, None)
            };
            if let (Some(warning), false) = (&token.warning, form == TokenFormat::Json) {
                output::print_note(&format!("warning: {warning}"))?;
            }
            match form {
                TokenFormat::Json => Output::print_json(&to_json(&token))?,
                TokenFormat::Raw | TokenFormat::Header => {
                    Output::print_line(headers.as_ref().unwrap_or(&token.access).reveal())?;
                }
            }
            Ok(())
        })
        .await
    }
}

/// The header lines of a call, as `inject` of the provider's file says, and not by the word that a reply calls the token.
fn header_lines(name: &str, injections: &[Injection]) -> Result<Secret, CommandError> {
    let elsewhere = |place: &str, field: &str| {
        CommandError::usage(format!(
            "the token of `{name}` is not in headers alone: its provider takes the token in the {place} `{field}`; use `--format raw` and \
             put it there, or call through the gateway"
        ))
    };
    let (mut lines, mut cookies) = (String::new(), String::new());
    for injection in injections {
        match injection {
            Injection::Header(header, value) => {
                push(&mut lines, "\n", &[&title_case(header), ": ", value.reveal()]);
            }
            Injection::Cookie(cookie, value) => push(&mut cookies, "; ", &[cookie, "=", value.reveal()]),
            Injection::Query(field, _) => return Err(elsewhere("query parameter", field)),
            Injection::Body(field, _) => return Err(elsewhere("field of the body", field)),
        }
    }
    if !cookies.is_empty() {
        push(&mut lines, "\n", &["Cookie: ", &cookies]);
    }
    Ok(lines.into())
}

fn push(text: &mut String, separator: &str, parts: &[&str]) {
    if !text.is_empty() {
        text.push_str(separator);
    }
    text.extend(parts.iter().copied());
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
