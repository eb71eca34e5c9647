//! A link for a browser, and waiting until it has done its work.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use jeton_core::keep::consent::Progress;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_keeper::{ConsentStatus, Vault};
use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

use super::{Connection, server_check};
use crate::actor;
use crate::command_error::CommandError;
use crate::env_vars::EnvVars;
use crate::error_code::ErrorCode;
use crate::output::{self, Output};

/// How often the store is looked at.
const POLL: Duration = Duration::from_millis(250);

/// Variables that say that there is a desktop to open a browser on.
const DESKTOP: [&str; 2] = ["WAYLAND_DISPLAY", "DISPLAY"];

/// Prints a link and waits until the consent is given, refused or over.
pub(super) async fn consent(
    vault: &Vault,
    name: &str,
    listen: SocketAddr,
    environment: &EnvVars,
    output: Output,
) -> Result<Connection, CommandError> {
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
                return Ok(Connection { generation, renews: vault.renews(name).await? });
            }
            Some(over) => return Err(CommandError::new(ErrorCode::ConsentFailed, said(name, over, opened))),
            None => {
                let text =
                    format!("the consent for `{name}` was forgotten; `jeton connect {name}` begins again");
                return Err(CommandError::new(ErrorCode::ConsentFailed, text));
            }
        }
        sleep(POLL).await;
    }
}

fn show(link: &Secret, until: Timestamp, output: Output) -> io::Result<()> {
    let link = link.reveal();
    if output.json {
        // One line beside the answer, so that a program can show it to a person while it waits.
        return output::print_note(&json!({ "link": link, "until": until.to_the_second() }).to_string());
    }
    Output::print_text(&format!(
        "Open this link in a browser; it opens once, within 10 minutes:\n\n    {link}\n\nWaiting for the consent; Ctrl-C stops \
         the waiting, and the link stays good.\n"
    ))
}

/// What became of a consent that is over.
fn said(name: &str, progress: Progress, opened: bool) -> String {
    let again = format!("begin again with `jeton connect {name}`");
    match progress {
        Progress::Refused { message, .. } => message,
        Progress::Failed { message, .. } => format!("`{name}` was not connected: {message}; {again}"),
        Progress::Unknown => format!(
            "the code for `{name}` may have been sent, and no usable answer came; `jeton logs` says more, and it is never \
             sent twice: {again}"
        ),
        _ if opened => format!("no answer came from the provider within 10 minutes; {again}"),
        _ => format!("nobody opened the link within 10 minutes; {again}"),
    }
}

fn has_desktop(environment: &EnvVars) -> bool {
    DESKTOP.iter().any(|name| matches!(environment.get(name), Ok(Some(display)) if !display.is_empty()))
}

/// Opens the browser of the desktop. Where that fails, the link is still there to be opened by hand.
fn open_browser(link: &Secret) -> io::Result<()> {
    let mut open = Command::new("xdg-open");
    open.arg(link.reveal()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match open.spawn() {
        // The runtime reaps it; the browser goes on without us.
        Ok(child) => drop(child),
        Err(error) => {
            output::print_note(&format!("no browser could be opened ({error}); open the link by hand"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_consent_says_what_to_do() {
        let text = |text: &str| text.to_owned();
        let ends = [
            (Progress::Failed { code: text("x"), message: text("the provider said no") }, true),
            (Progress::Unknown, true),
            (Progress::Expired, true),
            (Progress::Expired, false),
        ];
        for (progress, opened) in ends {
            let sentence = said("acme", progress, opened);
            assert!(sentence.ends_with("begin again with `jeton connect acme`"), "{sentence}");
        }
    }

    #[test]
    fn a_desktop_is_where_a_display_is_named() {
        assert!(has_desktop(&EnvVars::from([("DISPLAY", ":0")])));
        assert!(has_desktop(&EnvVars::from([("WAYLAND_DISPLAY", "wayland-0")])));
        assert!(!has_desktop(&EnvVars::from([("DISPLAY", "")])));
        assert!(!has_desktop(&EnvVars::default()));
    }
}
