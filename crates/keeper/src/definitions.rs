//! The connections that are defined, with what follows from their definitions.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::{ConnectionName, ProviderName};
use jeton_core::keep::attempt::Act;
use jeton_core::keep::breaker::BreakerRules;
use jeton_core::keep::due::{AfterHold, RecoveryPolicy, RefreshTiming};
use jeton_core::keep::plan::AcquirePolicy;
use jeton_core::keep::provider::{Definition, KnownMetadata, OldAccess, OnDead, OnUnknown, Step};
use jeton_core::suggest;
use jeton_core::time::Clock;

use crate::error::TokenError;
use crate::outbound::limiter::{ClientAtServer, EndpointLimiter};
use crate::settings::Settings;

/// A defined connection, with what follows from its definition.
#[derive(Debug)]
pub(crate) struct ConnectionDef {
    pub(crate) name: ConnectionName,
    pub(crate) definition: Definition,
    pub(crate) provider: ProviderName,
    pub(crate) timing: RefreshTiming,
    pub(crate) recovery: RecoveryPolicy,
    /// What its token requests wait for: shared by the connections of one client at one token endpoint.
    pub(crate) limiter: Arc<EndpointLimiter>,
}

impl ConnectionDef {
    pub(crate) fn acquiring(&self) -> AcquirePolicy {
        if !self.definition.has(Step::Acquire) {
            return AcquirePolicy::Never;
        }
        match self.definition.policy().on_dead {
            OnDead::Acquire => AcquirePolicy::WhenDead,
            OnDead::Ask => AcquirePolicy::WithoutGrant,
        }
    }

    pub(crate) fn can_redeem(&self) -> bool {
        self.definition.has(Step::Refresh)
    }

    pub(crate) fn old_access_dies(&self) -> bool {
        self.definition.policy().old_access == OldAccess::Dies
    }

    /// Whether sending the refresh token may use it up.
    pub(crate) fn spends(&self) -> bool {
        self.definition.spends(Step::Refresh)
    }
}

/// The step of the provider file that an act goes through.
pub(crate) fn step_of(act: Act) -> Step {
    match act {
        Act::Acquire => Step::Acquire,
        Act::Connect => Step::Exchange,
        Act::Redeem | Act::Orphan | Act::Visit => Step::Refresh,
    }
}

/// All definitions of this process, by name.
#[derive(Debug)]
pub(crate) struct Definitions {
    by_name: BTreeMap<String, Arc<ConnectionDef>>,
    limiters: Vec<Arc<EndpointLimiter>>,
}

impl Definitions {
    pub(crate) fn new(
        definitions: BTreeMap<ConnectionName, Definition>,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let mut by_client: BTreeMap<ClientAtServer, Vec<(ConnectionName, Definition)>> = BTreeMap::new();
        let mut by_issuer: HashMap<String, Arc<KnownMetadata>> = HashMap::new();
        for (name, mut definition) in definitions {
            if let Some(issuer) = definition.discovers() {
                let known = by_issuer.entry(issuer.reveal().to_owned()).or_default();
                definition.share_metadata(Arc::clone(known));
            }
            let whose =
                ClientAtServer { client: definition.client().id.clone(), server: definition.token_server() };
            by_client.entry(whose).or_default().push((name, definition));
        }
        let (mut by_name, mut limiters) = (BTreeMap::new(), Vec::new());
        for (whose, members) in by_client {
            let names: Vec<_> = members.iter().map(|(name, _)| name.clone()).collect();
            let rules = BreakerRules {
                concurrency: settings.provider_concurrency,
                connections: names.len(),
                first_pause: settings.cooldown,
                longest_pause: settings.outage_retry,
            };
            let limiter =
                Arc::new(EndpointLimiter::new(limiters.len(), whose, names, rules, Arc::clone(clock)));
            limiters.push(Arc::clone(&limiter));
            for (name, definition) in members {
                let def = ConnectionDef {
                    timing: timing(&definition, settings.visit),
                    recovery: recovery(&definition),
                    limiter: Arc::clone(&limiter),
                    provider: definition.provider().name().clone(),
                    definition,
                    name: name.clone(),
                };
                by_name.insert(name.as_str().to_owned(), Arc::new(def));
            }
        }
        Self { by_name, limiters }
    }

    /// The limiters of all clients at all token endpoints.
    pub(crate) fn limiters(&self) -> &[Arc<EndpointLimiter>] {
        &self.limiters
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<ConnectionDef>> {
        self.by_name.get(name)
    }

    /// The definition of that name.
    ///
    /// # Errors
    /// [`TokenError::UnknownConnection`], with the name that is nearest.
    pub(crate) fn get(&self, name: &str) -> Result<&Arc<ConnectionDef>, TokenError> {
        self.find(name).ok_or_else(|| TokenError::UnknownConnection {
            name: name.chars().take(64).collect(),
            near: suggest::nearest_name(name, self.by_name.keys().map(String::as_str))
                .map(str::to_owned)
                .into_iter()
                .collect(),
        })
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ConnectionDef>> {
        self.by_name.values()
    }

    /// Those whose names come after `after`, by name.
    pub(crate) fn later_than(
        &self,
        after: Option<&ConnectionName>,
    ) -> impl Iterator<Item = &Arc<ConnectionDef>> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_str()));
        self.by_name.range::<str, _>((from, Bound::Unbounded)).map(|(_, def)| def)
    }
}

fn timing(definition: &Definition, visit: Duration) -> RefreshTiming {
    let policy = definition.policy();
    RefreshTiming {
        margin: policy.margin,
        earliest: policy.earliest,
        refresh_idle_ttl: policy.refresh_idle_ttl,
        idle_keepalive: policy.idle_keepalive,
        visit,
    }
}

fn recovery(definition: &Definition) -> RecoveryPolicy {
    let policy = definition.policy();
    RecoveryPolicy {
        hold: policy.unknown_hold,
        reuse_grace: policy.reuse_grace,
        confirm_dead: policy.confirm_dead,
        after_hold: match policy.on_unknown {
            OnUnknown::Resend => AfterHold::Resend,
            OnUnknown::Ask => AfterHold::Ask,
            OnUnknown::Acquire => AfterHold::Acquire,
        },
    }
}
