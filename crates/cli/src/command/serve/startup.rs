//! What a server does at its start: it imports tokens from files, and logs which connections need a person.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jeton_core::id::{ConnectionName, Generation};
use jeton_core::keep::connection::Condition;
use jeton_keeper::Vault;

use crate::actor;
use crate::command::import;
use crate::command_error::CommandError;

/// Connects every connection that was never connected and has an `import` file. A file that is missing or unusable changes
/// nothing and stops no other.
pub(super) async fn run_imports(
    vault: &Vault,
    imports: &BTreeMap<ConnectionName, PathBuf>,
) -> Result<(), CommandError> {
    for (connection, file) in imports {
        let shown = file.display();
        let status = vault.status(connection.as_str()).await?;
        if status.generation != Generation::default() || !file.exists() {
            continue;
        }
        let (grant, note) = match import::read(file) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%connection, %error, "the tokens of a file were not imported");
                continue;
            }
        };
        if let Some(note) = note {
            tracing::warn!(%connection, note, "a part of the file was not imported");
        }
        match vault.connect(connection.as_str(), grant, &actor::current()).await {
            Ok(_) => tracing::warn!(
                %connection, file = %shown,
                "connected with the tokens of a file; whoever used it before must not use it again"
            ),
            Err(error) => tracing::error!(%connection, %error, "the tokens of a file were not imported"),
        }
    }
    Ok(())
}

/// Logs what needs a person, once every connection is loaded.
pub(super) async fn log_start_problems(vault: &Vault) {
    vault.loaded().await;
    for state in vault.needing_attention() {
        let connection = &state.name;
        match (state.condition, state.interrupted_attempt) {
            (Condition::Interrupted, Some(attempt)) => tracing::warn!(
                %connection,
                %attempt,
                "an attempt was interrupted after its refresh token may have been spent; its policy continues"
            ),
            (Condition::Dead, _) => {
                tracing::warn!(%connection, "the grant is dead; replace it with `jeton connect`");
            }
            (Condition::Pending, _) => {
                tracing::warn!(%connection, "it has no grant yet; give it one with `jeton connect`");
            }
            _ if state.orphaned => {
                tracing::warn!(%connection, "its definition was removed: the grant is kept, and nothing refreshes it");
            }
            _ => {}
        }
    }
    tracing::info!(connections = vault.names().len(), "ready: every connection is loaded");
}
