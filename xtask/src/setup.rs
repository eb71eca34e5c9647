//! Installations that are connected to an emulated provider, and their servers.

use anyhow::{Context, Result};
use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ConnectionSettings, ServerProcess, TestInstallation};

use crate::proof::TIMEOUT;

/// A connection to the emulator, as its default client.
pub(crate) fn connection(emulator: &Emulator) -> ConnectionSettings {
    let Settings { client_id, client_secret, .. } = Settings::default();
    ConnectionSettings::oauth2(
        &emulator.token_url(),
        &emulator.api_base(),
        &client_id,
        client_secret.reveal(),
    )
}

/// Gives a connection its refresh token.
///
/// # Errors
/// `jeton connect` failed.
pub(crate) async fn connect(
    installation: &TestInstallation,
    name: &str,
    refresh_token: &Secret,
) -> Result<()> {
    let command = installation.command(["connect", name, "--refresh-token-stdin"])?;
    let output = command.stdin(refresh_token.reveal()).run(TIMEOUT).await?;
    output.success().map(drop).with_context(|| format!("connecting {name}"))
}

/// Starts `jeton serve`, and waits until it is ready.
///
/// # Errors
/// It does not start.
pub(crate) async fn serve(installation: &TestInstallation) -> Result<ServerProcess> {
    let mut server = installation.command(["serve"])?.serve()?;
    server.wait_until_ready(TIMEOUT).await?;
    Ok(server)
}
