//! What a server does about its connections when it begins: it takes over what files hold, and says which need a person.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::{Condition, Generation};
use jeton_keeper::Vault;

use crate::actor;
use crate::command::import;
use crate::command_error::CommandError;

/// Connects what has never been connected and has a file to begin with. One that is not there, or cannot be used, leaves
/// its connection as it is, and does not keep the others waiting.
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
        let (grant, remark) = match import::read(file) {
            Ok(read) => read,
            Err(failure) => {
                tracing::error!(%connection, %failure, "the tokens of a file were not taken over");
                continue;
            }
        };
        if let Some(remark) = remark {
            tracing::warn!(%connection, remark, "a part of the file was not taken over");
        }
        match vault.connect(connection.as_str(), grant, &actor::current()).await {
            Ok(_) => tracing::warn!(
                %connection, file = %shown,
                "connected with the tokens of a file; whoever used it before must not use it again"
            ),
            Err(error) => tracing::error!(%connection, %error, "the tokens of a file were not taken over"),
        }
    }
    Ok(())
}

/// Says what a person should look at, once every connection is in memory.
pub(super) async fn log_start_problems(vault: &Vault) {
    vault.loaded().await;
    for state in vault.needing_attention() {
        let connection = &state.name;
        match (state.condition, state.interrupted_attempt) {
            (Condition::Interrupted, Some(attempt)) => tracing::warn!(
                %connection,
                %attempt,
                "an attempt was interrupted after its refresh token may have been spent; policy goes on with it"
            ),
            (Condition::Dead, _) => {
                tracing::warn!(%connection, "the grant is dead: `jeton connect` replaces it");
            }
            (Condition::Pending, _) => {
                tracing::warn!(%connection, "defined and not connected: `jeton connect`");
            }
            _ if state.orphaned => {
                tracing::warn!(%connection, "its definition was removed: the grant is kept, and not kept alive");
            }
            _ => {}
        }
    }
    tracing::info!(connections = vault.names().len(), "every connection is in memory");
}
