//! Installations that are connected to an emulated provider, and their servers.

use std::fs;

use anyhow::{Context, Result};
use jeton_core::secret::Secret;
use jeton_emulator::{Emulator, Settings};
use jeton_testkit::{ConnectionSettings, ServerProcess, TestInstallation};
use serde_json::json;

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

/// Gives a connection its refresh token, untried: its first use belongs to the run, also where it takes the place of another.
///
/// # Errors
/// `jeton connect` failed.
pub(crate) async fn connect(
    installation: &TestInstallation,
    name: &str,
    refresh_token: &Secret,
) -> Result<()> {
    let command = installation.command(["connect", name, "--refresh-token-stdin", "--force"])?;
    let output = command.stdin(refresh_token.reveal()).run(TIMEOUT).await?;
    output.success().map(drop).with_context(|| format!("connecting {name}"))
}

/// Writes a connection whose refresh token `jeton serve` imports as it starts.
///
/// # Errors
/// The file of the token or the settings file cannot be written.
pub(crate) fn import(
    installation: &mut TestInstallation,
    name: &str,
    connection: ConnectionSettings,
    refresh_token: &Secret,
) -> Result<()> {
    let file = installation.path().join(format!("{name}.json"));
    fs::write(&file, json!({"refresh_token": refresh_token.reveal()}).to_string())?;
    let import = Some(file.display().to_string());
    installation.add_connection(name, ConnectionSettings { import, ..connection })
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
