//! What kind of provider the emulator plays.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::{Emulation, OldAccess as Old, Rotation as Rotates};
use jeton_core::secret::Secret;

/// What becomes of a refresh token that has been used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// It buys one successor, and using it again kills the grant.
    #[default]
    SingleUse,
    /// It stays as it is; replies carry no refresh token.
    None,
}

/// What becomes of the access token before when a new one is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OldAccess {
    /// It lives until it expires.
    #[default]
    Lives,
    /// It dies with the refresh.
    Dies,
}

/// How clients must prove who they are (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic` or the form, but not both in one request.
    #[default]
    Either,
    /// `Authorization: Basic` only.
    Basic,
    /// `client_id` and `client_secret` in the form only.
    Post,
}

/// How the emulator behaves for as long as it runs. What may change meanwhile is the [`Temper`](crate::Temper).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long an access token lives, to the millisecond. `expires_in` says whole seconds, rounded down, so that it
    /// never promises more than the token holds; `expires_in_ms` beside it is exact.
    pub access_ttl: Duration,
    /// How long a refresh token lives from its own issue.
    pub refresh_ttl: Duration,
    /// What becomes of a used refresh token.
    pub rotation: Rotation,
    /// How long after a rotation its immediate predecessor gets the same successor pair again; zero for never. The window
    /// is anchored at the rotation: replays do not move it.
    pub reuse_grace: Duration,
    /// What becomes of the access token before.
    pub old_access: OldAccess,
    /// How clients must prove who they are.
    pub client_auth: ClientAuth,
    /// The one client that is known.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// The provider that is played by its file, instead of one that follows RFC 6749 at `/token`. The client is the
    /// provider's own then.
    pub plays: Option<Arc<Emulation>>,
    /// From this come all tokens and all moods.
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
            client_auth: ClientAuth::Either,
            client_id: "emulated".to_owned(),
            client_secret: Secret::new("emulated-secret"),
            plays: None,
            seed: 1,
            max_records: 200_000,
        }
    }
}

/// How long refresh tokens of a played provider live where its file does not say.
const USUAL_REFRESH_LIFE: Duration = Duration::from_hours(90 * 24);

/// As good as for ever.
const ENDLESS: Duration = Duration::from_hours(100 * 365 * 24);

impl Settings {
    /// A provider that is played by its file, with the lives and habits that it says. `life` is how long access tokens
    /// live where the file leaves it to the replies.
    pub fn playing(emulation: Emulation, life: Duration) -> Self {
        let policy = emulation.definition().policy();
        // What may rotate is played as what does: that is the harder of the two.
        let rotation = if policy.rotation == Rotates::None { Rotation::None } else { Rotation::SingleUse };
        let old_access = if policy.old_access == Old::Dies { OldAccess::Dies } else { OldAccess::Lives };
        let access_ttl = emulation.access_life(life).unwrap_or(ENDLESS);
        let refresh_ttl = policy.refresh_ttl.or(policy.refresh_idle_ttl).unwrap_or(USUAL_REFRESH_LIFE);
        let reuse_grace = policy.reuse_grace;
        let plays = Some(Arc::new(emulation));
        Self { access_ttl, refresh_ttl, rotation, reuse_grace, old_access, plays, ..Self::default() }
    }
}
