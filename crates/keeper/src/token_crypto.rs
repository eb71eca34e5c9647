//! Token sets between their sealed form in a store and their clear form in memory.

use jeton_core::entropy::Entropy;
use jeton_core::id::{ConnectionName, Generation};
use jeton_core::keep::connection::{SealedTokens, access_context, extras_context, refresh_context};
use jeton_core::seal::{SealError, Sealer};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

/// The secrets of a token set in clear.
#[derive(Debug, Default)]
pub(crate) struct ClearTokens {
    pub(crate) access: Option<Secret>,
    pub(crate) refresh: Option<Secret>,
    pub(crate) extras: Option<Secret>,
}

/// Opens a token set that was sealed for `generation` of `name`.
pub(crate) fn unseal_tokens(
    sealer: &Sealer,
    name: &ConnectionName,
    generation: Generation,
    tokens: &SealedTokens,
) -> Result<ClearTokens, SealError> {
    let open = |sealed: &Option<Vec<u8>>, place| -> Result<Option<Secret>, SealError> {
        sealed.as_deref().map(|sealed| sealer.open(sealed, place).and_then(|bytes| text(&bytes))).transpose()
    };
    Ok(ClearTokens {
        access: open(&tokens.access, access_context(name, generation))?,
        refresh: open(&tokens.refresh, refresh_context(name, generation))?,
        extras: open(&tokens.extras, extras_context(name, generation))?,
    })
}

fn text(bytes: &[u8]) -> Result<Secret, SealError> {
    std::str::from_utf8(bytes).map(Secret::new).map_err(|_| SealError::DoesNotOpen)
}

/// Seals a token set for `generation` of `name`. Expiries and scopes are unknown until the caller sets them.
pub(crate) fn seal_tokens(
    sealer: &Sealer,
    entropy: &dyn Entropy,
    name: &ConnectionName,
    generation: Generation,
    opened: &ClearTokens,
    obtained_at: Timestamp,
) -> SealedTokens {
    let seal = |secret: &Option<Secret>, place| {
        secret.as_ref().map(|secret| sealer.seal(secret.reveal().as_bytes(), place, entropy))
    };
    SealedTokens {
        access: seal(&opened.access, access_context(name, generation)),
        refresh: seal(&opened.refresh, refresh_context(name, generation)),
        extras: seal(&opened.extras, extras_context(name, generation)),
        access_fingerprint: opened.access.as_ref().map(|access| sealer.fingerprint(access)),
        refresh_fingerprint: opened.refresh.as_ref().map(|refresh| sealer.fingerprint(refresh)),
        obtained_at,
        access_expires_at: None,
        refresh_expires_at: None,
        scope: None,
    }
}

/// Why a stored token set is not used, and what else helps than a new grant.
pub(crate) const DOES_NOT_OPEN: &str = "its stored token set was changed or is damaged, and does not open; put its rows back \
                                        from a backup of the database";
