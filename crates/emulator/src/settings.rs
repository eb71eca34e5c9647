//! How the emulated provider behaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::{Emulation, OldAccess, Rotation};
use jeton_core::secret::Secret;

/// How the emulator behaves for as long as it runs. What may change meanwhile is the [`Behaviour`](crate::Behaviour).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long an access token lives, to the millisecond. `expires_in` says whole seconds, rounded down, so that it
    /// never promises more than the token holds.
    pub access_ttl: Duration,
    /// How long a refresh token lives from its own issue.
    pub refresh_ttl: Duration,
    /// What becomes of a used refresh token; [`Rotation::Detect`] is as [`Rotation::SingleUse`].
    pub rotation: Rotation,
    /// How long after a rotation its immediate predecessor gets the same successor pair again; zero for never. The window
    /// is anchored at the rotation: replays do not move it.
    pub reuse_grace: Duration,
    /// What becomes of the access token before.
    pub old_access: OldAccess,
    /// The one client that is known.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// Whether a refresh token that is not accepted gets a 400 that says nothing, as from some servers, instead of
    /// `invalid_grant`.
    pub bare_refusals: bool,
    /// The provider file to behave by, instead of a plain RFC 6749 endpoint at `/token`. The client is the one of its definition
    /// then.
    pub emulation: Option<Arc<Emulation>>,
    /// From this come all tokens and all faults.
    pub seed: u64,
    /// How many records are kept; older ones are dropped, and counted.
    pub max_records: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access_ttl: Duration::from_mins(1),
            refresh_ttl: Duration::from_hours(24),
            rotation: Rotation::SingleUse,
            reuse_grace: Duration::ZERO,
            old_access: OldAccess::Lives,
            client_id: "emulated".to_owned(),
            client_secret: Secret::new("emulated-secret"),
            bare_refusals: false,
            emulation: None,
            seed: 1,
            max_records: 200_000,
        }
    }
}

/// How long refresh tokens of an emulated provider live where its file does not say.
const USUAL_REFRESH_LIFE: Duration = Duration::from_hours(90 * 24);

/// As good as for ever.
const ENDLESS: Duration = Duration::from_hours(100 * 365 * 24);

impl Settings {
    /// The provider of a file, with the lifetimes and the rotation that it states. `life` is how long access tokens live where
    /// the file leaves it to the replies.
    pub fn for_provider(emulation: Emulation, life: Duration) -> Self {
        let policy = emulation.definition().policy();
        let access_ttl = emulation.access_life(life).unwrap_or(ENDLESS);
        let refresh_ttl = policy.refresh_ttl.or(policy.refresh_idle_ttl).unwrap_or(USUAL_REFRESH_LIFE);
        let (rotation, reuse_grace, old_access) = (policy.rotation, policy.reuse_grace, policy.old_access);
        let emulation = Some(Arc::new(emulation));
        Self { access_ttl, refresh_ttl, rotation, reuse_grace, old_access, emulation, ..Self::default() }
    }
}
