//! What people see of a connection.

use jeton_core::id::{AttemptId, ConnectionName, Generation, ProviderName};
use jeton_core::keep::connection::{Condition, Connection};
use jeton_core::keep::due::{AfterHold, RECOVERY_REFUSED};
use jeton_core::keep::provider::scope_list;
use jeton_core::keep::unavailable::UnavailableEndpoint;
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use serde::Serialize;

use crate::definitions::ConnectionDef;
use crate::store_time::StoreTime;

/// The code of a connection whose row cannot be read.
const UNREADABLE: &str = "unreadable";

/// The state of a connection; it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Connection"))]
pub struct Status {
    /// Its name.
    pub name: ConnectionName,
    /// Its provider.
    pub provider: ProviderName,
    /// Its condition in one word.
    pub condition: Condition,
    /// Why it is in that condition, such as `invalid_grant` or `interrupted`. With the condition `failing`: the code with which
    /// the provider refused the grant once. The refresh token is sent again at `due_at`, before the grant is taken for dead.
    pub code: Option<String>,
    /// Whether it gets its first token without anybody connecting it: the client's own credentials are enough, and nobody has
    /// disconnected it.
    pub starts_itself: bool,
    /// Whether an operator paused its refreshes.
    pub paused: bool,
    /// Whether its definition was removed; the grant is kept.
    pub orphaned: bool,
    /// Counts its token sets.
    pub generation: Generation,
    /// Identifies the access token in logs and reports.
    pub fingerprint: Option<Fingerprint>,
    /// When the request for the current token set was sent.
    pub obtained_at: Option<Timestamp>,
    /// When the access token expires.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token expires.
    pub refresh_expires_at: Option<Timestamp>,
    /// When jeton checks it next. While `unavailable` is there, a trial by any connection decides instead.
    pub due_at: Option<Timestamp>,
    /// Consecutive failures.
    pub failures: u32,
    /// When the first of them was recorded.
    pub failing_since: Option<Timestamp>,
    /// The code of the last failure since the last success.
    pub last_error: Option<String>,
    /// What the provider said with that failure in its own words, shortened and without anything that looks like a secret; null
    /// where it said nothing of that kind.
    pub provider_message: Option<String>,
    /// The scopes that the token set is good for; null where nobody knows.
    pub granted_scopes: Option<Vec<String>>,
    /// The scopes that its definition asks for and that were not granted.
    pub missing_scopes: Vec<String>,
    /// The attempt whose outcome is unknown.
    pub interrupted_attempt: Option<AttemptId>,
    /// How many replies came too late and are kept.
    pub strays: usize,
    /// The token endpoint does not answer, and its next refresh waits for that alone: nobody needs to do anything. Null otherwise,
    /// and where only a person can help.
    pub unavailable: Option<ProviderOutage>,
}

/// A token endpoint that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProviderOutage {
    /// Which one, for which client, since when and why.
    #[serde(flatten)]
    pub endpoint: UnavailableEndpoint,
    /// All of it in one sentence for people.
    pub summary: String,
}

impl ProviderOutage {
    /// `endpoint` with its instants as people are shown them.
    pub(crate) fn new(endpoint: UnavailableEndpoint, clock: &StoreTime) -> Self {
        let endpoint = endpoint.map_instants(|instant| clock.shown(instant));
        Self { summary: endpoint.describe(), endpoint }
    }
}

impl Status {
    /// The status of a row at `now`, which has a definition or is orphaned.
    pub(crate) fn of(row: &Connection, now: Timestamp, def: Option<&ConnectionDef>) -> Self {
        let tokens = row.tokens.as_ref();
        let scope = tokens.and_then(|tokens| tokens.scope.as_deref());
        let missing = def.zip(scope).map(|(def, scope)| def.definition.missing_scopes(scope));
        Self {
            name: row.name.clone(),
            provider: row.provider.clone(),
            condition: row.condition(now),
            code: row.state_code.clone(),
            starts_itself: !row.is_given_up() && def.is_some_and(|def| def.definition.starts_itself()),
            paused: row.paused,
            orphaned: def.is_none(),
            generation: row.generation,
            fingerprint: tokens.and_then(|tokens| tokens.access_fingerprint),
            obtained_at: tokens.map(|tokens| tokens.obtained_at),
            expires_at: tokens.and_then(|tokens| tokens.access_expires_at),
            refresh_expires_at: tokens.and_then(|tokens| tokens.refresh_expires_at),
            due_at: row.due_at,
            failures: row.failures,
            failing_since: row.failing_since,
            last_error: row.last_error.clone(),
            provider_message: row.provider_message.clone(),
            granted_scopes: scope.map(|scope| scope_list(scope).into_iter().map(str::to_owned).collect()),
            missing_scopes: missing.unwrap_or_default(),
            interrupted_attempt: row.interrupted_attempt(now),
            strays: row.orphans.len(),
            unavailable: None,
        }
    }

    /// Whether its next refresh waits for the provider alone, where the token endpoint does not answer.
    pub(crate) fn waits_for_provider(&self, def: &ConnectionDef) -> bool {
        match self.condition {
            _ if self.paused => false,
            Condition::Live | Condition::Stale | Condition::Failing | Condition::Refreshing => true,
            Condition::Interrupted => def.recovery.after_hold != AfterHold::Ask,
            Condition::Pending | Condition::Paused | Condition::Suspended | Condition::Dead => false,
        }
    }

    /// The code with which the provider refused the refresh token once: it is sent once more before the grant is taken for dead.
    pub fn refused(&self) -> Option<&str> {
        match self.condition {
            Condition::Failing => self.code.as_deref().filter(|code| *code != UNREADABLE),
            Condition::Interrupted => self.last_error.as_deref().filter(|code| *code == RECOVERY_REFUSED),
            _ => None,
        }
    }

    /// Whether nothing goes on until a person does something: connects it, decides, or mends its client at the provider.
    pub fn needs_person(&self) -> bool {
        let is_unreadable = self.code.as_deref() == Some(UNREADABLE);
        match self.condition {
            Condition::Pending | Condition::Dead | Condition::Suspended => true,
            Condition::Interrupted => self.due_at.is_none(),
            Condition::Failing => {
                is_unreadable
                    || matches!(self.last_error.as_deref(), Some("invalid_client" | "unauthorized_client"))
            }
            Condition::Live | Condition::Refreshing | Condition::Stale | Condition::Paused => false,
        }
    }

    /// The same, with its instants as people are shown them.
    pub(crate) fn shown_by(mut self, clock: &StoreTime) -> Self {
        let Self { obtained_at, expires_at, refresh_expires_at, due_at, failing_since, .. } = &mut self;
        let instants = [obtained_at, expires_at, refresh_expires_at, due_at, failing_since];
        for instant in instants.into_iter().flatten() {
            *instant = clock.shown(*instant);
        }
        self
    }

    /// The status of a connection whose row cannot be read.
    pub(crate) fn unreadable(def: &ConnectionDef) -> Self {
        let code = Some(UNREADABLE.to_owned());
        Self { condition: Condition::Failing, code, ..Self::unconnected(def) }
    }

    /// The status of a connection that is defined and has no row yet.
    pub(crate) fn unconnected(def: &ConnectionDef) -> Self {
        Self {
            name: def.name.clone(),
            provider: def.provider.clone(),
            condition: Condition::Pending,
            code: None,
            starts_itself: def.definition.starts_itself(),
            paused: false,
            orphaned: false,
            generation: Generation::default(),
            fingerprint: None,
            obtained_at: None,
            expires_at: None,
            refresh_expires_at: None,
            due_at: None,
            failures: 0,
            failing_since: None,
            last_error: None,
            provider_message: None,
            granted_scopes: None,
            missing_scopes: Vec::new(),
            interrupted_attempt: None,
            strays: 0,
            unavailable: None,
        }
    }
}
