//! Consent in a browser: prints a link and waits for the answer.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use jeton_core::id::Generation;
use jeton_core::keep::consent::Progress;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_keeper::{ConsentStatus, Vault};
use jeton_server::provider_says;
use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

use super::server_check;
use crate::actor;
use crate::command_error::CommandError;
use crate::env_vars::EnvVars;
use crate::error_code::ErrorCode;
use crate::output::{self, Output};

/// How often the store is read.
const POLL: Duration = Duration::from_millis(250);

/// Variables of a desktop on which a browser can open.
const DESKTOP: [&str; 2] = ["WAYLAND_DISPLAY", "DISPLAY"];

/// What a consent results in.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsentResult {
    pub(super) generation: Generation,
    /// Whether the provider gave a refresh token.
    pub(super) renews: bool,
}

/// Prints a link and waits until the consent is given, refused or expired.
pub(super) async fn consent(
    vault: &Vault,
    name: &str,
    listen: SocketAddr,
    environment: &EnvVars,
    output: Output,
) -> Result<ConsentResult, CommandError> {
    server_check::check_running(listen, name).await?;
    let invitation = vault.invite(name, &actor::current()).await?;
    server_check::check_link(listen, &invitation.link, name).await?;
    show(&invitation.link, invitation.until, output)?;
    if !output.json && io::stdout().is_terminal() && has_desktop(environment) {
        open_browser(&invitation.link)?;
    }
    let mut opened = false;
    loop {
        let status = vault.consent(invitation.id).await?;
        match status.map(|ConsentStatus { progress, .. }| progress) {
            Some(Progress::Asked { .. } | Progress::Exchanging) if !opened => {
                opened = true;
                output::print_note("the link was opened; waiting for the provider's answer")?;
            }
            Some(Progress::Waiting { .. } | Progress::Asked { .. } | Progress::Exchanging) => {}
            Some(Progress::Done { generation }) => {
                return Ok(ConsentResult { generation, renews: vault.renews(name).await? });
            }
            Some(over) => {
                return Err(CommandError::new(ErrorCode::ConsentFailed, end_message(name, over, opened)));
            }
            None => {
                let text = format!(
                    "the consent for `{name}` no longer exists; start again with `jeton connect {name}`"
                );
                return Err(CommandError::new(ErrorCode::ConsentFailed, text));
            }
        }
        sleep(POLL).await;
    }
}

fn show(link: &Secret, until: Timestamp, output: Output) -> io::Result<()> {
    let link = link.reveal();
    if output.json {
        // On standard error, so that a program can show it to a person while it waits for the answer.
        return output::print_note(&json!({ "link": link, "until": until.to_the_second() }).to_string());
    }
    Output::print_text(&format!(
        "Open this link in a browser within 10 minutes:\n\n    {link}\n\nIt works once, in one browser. Waiting for the consent; \
         Ctrl-C ends the wait, and the link stays valid.\n"
    ))
}

/// Why a consent ended without a grant, and what to do.
fn end_message(name: &str, progress: Progress, opened: bool) -> String {
    let again = format!("start again with `jeton connect {name}`");
    match progress {
        Progress::Refused { message, provider_message, .. } => {
            format!("{message}{}", said(provider_message.as_deref()))
        }
        Progress::Failed { message, provider_message, .. } => {
            format!("`{name}` was not connected: {message}{}; {again}", said(provider_message.as_deref()))
        }
        Progress::Unknown => format!(
            "the code for `{name}` may have been spent, and no usable answer came (see `jeton logs`); a code is never sent \
             twice: {again}"
        ),
        _ if opened => format!("no answer came from the provider within 10 minutes; {again}"),
        _ => format!("nobody opened the link within 10 minutes; {again}"),
    }
}

fn said(provider_message: Option<&str>) -> String {
    provider_message.map(|words| format!("; {}", provider_says(words))).unwrap_or_default()
}

fn has_desktop(environment: &EnvVars) -> bool {
    DESKTOP.iter().any(|name| matches!(environment.get(name), Ok(Some(display)) if !display.is_empty()))
}

/// Opens the browser of the desktop. Without one, a person opens the link by hand.
fn open_browser(link: &Secret) -> io::Result<()> {
    let mut open = Command::new("xdg-open");
    open.arg(link.reveal()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match open.spawn() {
        // The runtime reaps it; nobody waits for the browser.
        Ok(_) => {}
        Err(error) => {
            output::print_note(&format!("no browser could be started: {error}; open the link by hand"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failed_consent_says_what_to_do() {
        let text = |text: &str| text.to_owned();
        let ends = [
            (
                Progress::Failed {
                    code: text("x"),
                    message: text("the provider said no"),
                    provider_message: Some(text("Not today.")),
                },
                true,
            ),
            (Progress::Unknown, true),
            (Progress::Expired, true),
            (Progress::Expired, false),
        ];
        for (progress, opened) in ends {
            let sentence = end_message("acme", progress, opened);
            assert!(sentence.ends_with("start again with `jeton connect acme`"), "{sentence}");
        }
    }

    #[test]
    fn a_desktop_is_where_a_display_is_set() {
        assert!(has_desktop(&EnvVars::from([("DISPLAY", ":0")])));
        assert!(has_desktop(&EnvVars::from([("WAYLAND_DISPLAY", "wayland-0")])));
        assert!(!has_desktop(&EnvVars::from([("DISPLAY", "")])));
        assert!(!has_desktop(&EnvVars::default()));
    }
}
