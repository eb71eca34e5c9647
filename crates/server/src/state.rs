//! What handlers work on.

use jeton_core::id::ConnectionName;
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
    /// The connection that takes the place of the one of an amoCRM gateway; then the URLs of that gateway answer its clients to
    /// the letter.
    pub old_gateway: Option<ConnectionName>,
}
