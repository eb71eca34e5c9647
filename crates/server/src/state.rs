//! What handlers work on.

use jeton_issuer::Access;
use jeton_keeper::Vault;

/// What every handler can reach.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Gives and refreshes tokens of connections.
    pub vault: Vault,
    /// Checks and manages service tokens.
    pub access: Access,
    /// Where tokens are stored, as the diagnostics show it; no secret.
    pub storage: String,
}
