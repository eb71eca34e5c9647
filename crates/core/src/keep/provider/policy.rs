//! How tokens of a provider behave and what is done about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration::DurationText;

/// What becomes of a refresh token when it is redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// It stays good: redeeming spends nothing.
    None,
    /// It is good for one redeem, and the reply brings its successor.
    SingleUse,
    /// The provider may do either (it is a setting of the account, or happens now and then). Treated as
    /// [`Rotation::SingleUse`] until a redeem is seen to leave the token as it was.
    Detect,
}

/// What becomes of the access token that was in use when a refresh succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldAccess {
    /// It goes on being accepted until its own expiry.
    Lives,
    /// It stops being accepted at once, so callers must not be given it from memory for long.
    Dies,
}

/// What is done when nobody knows whether a refresh token was accepted, once `unknown_hold` has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Send the same token again, recorded as a recovery, with growing pauses until the outcome is known.
    #[serde(alias = "resend_once")]
    Resend,
    /// Never send it again: ask a person.
    Ask,
    /// Acquire a token set anew.
    Acquire,
}

/// What is done when a grant is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDead {
    /// Ask a person to consent again.
    Ask,
    /// Acquire a token set anew.
    Acquire,
}

/// What access tokens look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessFormat {
    /// Nobody but the provider can say.
    #[default]
    Opaque,
    /// A JWT: three parts with dots between them (RFC 7519, section 3).
    Jwt,
}

/// Whose requests a [`Budget`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPer {
    /// Each connection has its own.
    Connection,
    /// All connections that share a client id share one.
    Client,
}

/// At most `max` token requests in any span of `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Whose requests are counted.
    pub per: BudgetPer,
    /// How many are allowed.
    pub max: u32,
    /// In how long a span.
    #[serde(rename = "in")]
    pub within: DurationText,
}

/// Declares [`PolicyOverrides`]: a field for each of [`Policy`], absent where it is not written.
macro_rules! policy_overrides {
    ($($name:ident: $type:ty,)*) => {
        /// The `policy` table as written in a provider file, and in a connection's settings, where each key that is present
        /// overrides the file's. The keys are the fields of [`Policy`].
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct PolicyOverrides {
            $(#[doc = concat!("See [`Policy::", stringify!($name), "`].")] #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        impl PolicyOverrides {
            /// These settings where they are written, `below`'s where they are not.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self { $($name: self.$name.or(below.$name),)* }
            }
        }
    };
}

policy_overrides! {
    rotation: Rotation,
    reuse_grace: DurationText,
    old_access: OldAccess,
    on_unknown: OnUnknown,
    on_dead: OnDead,
    unknown_hold: DurationText,
    confirm_dead: DurationText,
    margin: DurationText,
    earliest: DurationText,
    refresh_ttl: DurationText,
    refresh_idle_ttl: DurationText,
    idle_keepalive: DurationText,
    budget: Vec<Budget>,
    ambiguous_5xx: bool,
    min_refresh_length: usize,
    access_format: AccessFormat,
}

/// How tokens of one connection behave and what is done about it, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of a refresh token when it is redeemed; [`Rotation::SingleUse`] unless the file says otherwise,
    /// because treating a lasting token with care costs nothing, and the other way round loses grants.
    pub rotation: Rotation,
    /// For how long after its redeem the provider accepts a spent refresh token again; zero (the default) is never.
    pub reuse_grace: Duration,
    /// What becomes of the old access token; [`OldAccess::Lives`] by default.
    pub old_access: OldAccess,
    /// What is done when nobody knows whether a refresh token was accepted. Default: acquire where the provider has
    /// an `acquire` step, else resend once.
    pub on_unknown: OnUnknown,
    /// What is done when a grant is over. Default: acquire where the provider has an `acquire` step, else ask.
    pub on_dead: OnDead,
    /// How long a refresh token with an unknown outcome is left alone before `on_unknown` acts; 60 s by default, twice the
    /// deadline of a redeem, so that a slow provider has certainly made up its mind.
    pub unknown_hold: Duration,
    /// How long after a refusal that means a dead grant the refresh token is sent once more: only a second refusal ends the
    /// grant. `None` (the default) waits until the access token has expired, at least 2 and at most 15 minutes.
    pub confirm_dead: Option<Duration>,
    /// How long before an access token's expiry it is refreshed; `None` leaves it to the general rule.
    pub margin: Option<Duration>,
    /// The provider refuses a refresh sooner than this before the access token's expiry; `None` is no such rule.
    pub earliest: Option<Duration>,
    /// How long one refresh token lives from the instant it was received, for providers whose reply does not say.
    pub refresh_ttl: Option<Duration>,
    /// How long a refresh token lives without being redeemed; each redeem starts it anew.
    pub refresh_idle_ttl: Option<Duration>,
    /// Redeem at least this often, although no access token is asked for.
    pub idle_keepalive: Option<Duration>,
    /// How many token requests the provider allows.
    pub budget: Vec<Budget>,
    /// Whether a 5xx reply to a step that spends leaves the outcome unknown; true by default. `false` is for
    /// providers known to answer 5xx only before they accept anything.
    pub ambiguous_5xx: bool,
    /// The fewest bytes a refresh token of this provider has; shorter ones are refused before they are sent. 1 by
    /// default.
    pub min_refresh_length: usize,
    /// What access tokens look like; one that looks different is given out all the same, and diagnostics say so.
    pub access_format: AccessFormat,
}

/// Twice the deadline of a redeem.
const DEFAULT_UNKNOWN_HOLD: Duration = Duration::from_mins(1);

impl Policy {
    /// Fills in the defaults; they depend on whether the provider has an `acquire` step.
    pub(super) fn from_written(written: PolicyOverrides, has_acquire: bool) -> Self {
        let plain = |text: Option<DurationText>| text.map(|text| text.0);
        let (on_unknown, on_dead) = if has_acquire {
            (OnUnknown::Acquire, OnDead::Acquire)
        } else {
            (OnUnknown::Resend, OnDead::Ask)
        };
        Self {
            rotation: written.rotation.unwrap_or(Rotation::SingleUse),
            reuse_grace: plain(written.reuse_grace).unwrap_or_default(),
            old_access: written.old_access.unwrap_or(OldAccess::Lives),
            on_unknown: written.on_unknown.unwrap_or(on_unknown),
            on_dead: written.on_dead.unwrap_or(on_dead),
            unknown_hold: plain(written.unknown_hold).unwrap_or(DEFAULT_UNKNOWN_HOLD),
            confirm_dead: plain(written.confirm_dead),
            margin: plain(written.margin),
            earliest: plain(written.earliest),
            refresh_ttl: plain(written.refresh_ttl),
            refresh_idle_ttl: plain(written.refresh_idle_ttl),
            idle_keepalive: plain(written.idle_keepalive),
            budget: written.budget.unwrap_or_default(),
            ambiguous_5xx: written.ambiguous_5xx.unwrap_or(true),
            min_refresh_length: written.min_refresh_length.unwrap_or(1).max(1),
            access_format: written.access_format.unwrap_or_default(),
        }
    }
}

/// Says which written settings contradict each other or the provider, by key and problem.
pub(super) fn contradiction(written: &PolicyOverrides, has_acquire: bool) -> Option<(&'static str, String)> {
    let no_acquire =
        |key| Some((key, "`acquire` needs an `acquire` step, and this provider has none".to_owned()));
    if written.on_unknown == Some(OnUnknown::Acquire) && !has_acquire {
        return no_acquire("on_unknown");
    }
    if written.on_dead == Some(OnDead::Acquire) && !has_acquire {
        return no_acquire("on_dead");
    }
    if let (Some(margin), Some(earliest)) = (written.margin, written.earliest)
        && margin > earliest
    {
        let problem =
            format!("the provider refuses refreshes sooner than `earliest` ({earliest}); write at most that");
        return Some(("margin", problem));
    }
    if written.budget.iter().flatten().any(|budget| budget.max == 0 || budget.within.0.is_zero()) {
        return Some(("budget", "`max` and `in` must be above zero".to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_overrides_single_keys_of_its_provider() {
        let file: PolicyOverrides = toml::from_str("rotation = 'none'\nrefresh_ttl = '90d'").unwrap();
        let connection: PolicyOverrides =
            toml::from_str("rotation = 'single_use'\nreuse_grace = '10s'").unwrap();
        let policy = Policy::from_written(connection.over(file), false);
        assert_eq!(policy.rotation, Rotation::SingleUse);
        assert_eq!(policy.reuse_grace, Duration::from_secs(10));
        assert_eq!(policy.refresh_ttl, Some(Duration::from_hours(90 * 24)));
        assert_eq!((policy.on_unknown, policy.on_dead), (OnUnknown::Resend, OnDead::Ask));
        assert!(policy.ambiguous_5xx);
    }

    #[test]
    fn a_provider_that_can_acquire_does_so_unless_told_otherwise() {
        let policy = Policy::from_written(PolicyOverrides::default(), true);
        assert_eq!((policy.on_unknown, policy.on_dead), (OnUnknown::Acquire, OnDead::Acquire));
        let written = PolicyOverrides { on_dead: Some(OnDead::Acquire), ..PolicyOverrides::default() };
        assert_eq!(contradiction(&written, false).unwrap().0, "on_dead");
    }
}
