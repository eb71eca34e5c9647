//! What a server logs at its start: which connections need a person.

use jeton_core::keep::connection::Condition;
use jeton_keeper::Vault;

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
