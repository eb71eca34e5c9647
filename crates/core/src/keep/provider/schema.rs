//! A provider file exactly as it is written, before anything is checked but names and types.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::alias::Alias;
use super::class::ErrorClass;
use super::duration::DurationText;
use super::http_types::Method;
use super::one_or_many::{OneOrMany, TextOr};
use super::policy::PolicyOverrides;
use super::vector_schema::Vector;
use crate::named_enum::named_enum;

named_enum! {
    /// How well a statement of a provider file is known to be true.
    Confidence {
        /// The provider's own documentation says so.
        Documented = "documented",
        /// Public code that talks to the provider does so.
        Source = "source",
        /// Users report so in public.
        Reported = "reported",
        /// Nobody confirmed it: a default to be changed where it is wrong.
        Unverified = "unverified",
    }
}

named_enum! {
    /// A member of the metadata that a variable may take its value from (RFC 8414, section 2).
    MetadataMember {
        /// The page a person consents on.
        AuthorizationEndpoint = "authorization_endpoint",
        /// The token endpoint.
        TokenEndpoint = "token_endpoint",
        /// The revocation endpoint (RFC 7009).
        RevocationEndpoint = "revocation_endpoint",
        /// The introspection endpoint (RFC 7662).
        IntrospectionEndpoint = "introspection_endpoint",
        /// How clients may authenticate at the token endpoint.
        TokenEndpointAuthMethods = "token_endpoint_auth_methods_supported",
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderFile {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) about: Option<String>,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) vars: BTreeMap<String, VarTable>,
    #[serde(default)]
    pub(super) client: ClientTable,
    pub(super) ok: Option<SuccessTable>,
    pub(super) take: Option<ExtractTable>,
    pub(super) authorize: Option<StepTable>,
    pub(super) exchange: Option<StepTable>,
    pub(super) acquire: Option<StepTable>,
    pub(super) refresh: Option<StepTable>,
    pub(super) introspect: Option<StepTable>,
    pub(super) revoke: Option<StepTable>,
    pub(super) probe: Option<StepTable>,
    #[serde(default)]
    pub(super) errors: Vec<RuleTable>,
    #[serde(default)]
    pub(super) policy: PolicyOverrides,
    pub(super) inject: Option<Vec<InjectTable>>,
    pub(super) api: Option<ApiTable>,
    #[serde(default)]
    pub(super) alias: Vec<Alias>,
    #[serde(default)]
    pub(super) confidence: BTreeMap<String, Confidence>,
    #[serde(default)]
    pub(super) tests: Vec<Vector>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the file")]
pub(super) struct VarTable {
    pub(super) about: Option<String>,
    pub(super) capture: Option<String>,
    pub(super) pattern: Option<String>,
    #[serde(default)]
    pub(super) secret: bool,
    #[serde(rename = "enum")]
    pub(super) one_of: Option<Vec<String>>,
    pub(super) default: Option<String>,
    #[serde(default)]
    pub(super) optional: bool,
    #[serde(default)]
    pub(super) list: bool,
    pub(super) discover: Option<MetadataMember>,
    #[serde(default)]
    pub(super) ask: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientTable {
    pub(super) auth: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepTable {
    pub(super) method: Option<Method>,
    pub(super) url: String,
    pub(super) auth: Option<String>,
    #[serde(default)]
    pub(super) query: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) form: Option<BTreeMap<String, String>>,
    pub(super) json: Option<toml::Table>,
    pub(super) spends: Option<Vec<Spent>>,
    pub(super) issuer: Option<String>,
    #[serde(default, rename = "where")]
    pub(super) only_where: BTreeMap<String, String>,
    pub(super) ok: Option<SuccessTable>,
    pub(super) take: Option<ExtractTable>,
    #[serde(default)]
    pub(super) errors: Vec<RuleTable>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Spent {
    Refresh,
    Code,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SuccessTable {
    pub(super) status: Option<OneOrMany<StatusText>>,
    #[serde(default)]
    pub(super) all: Vec<ConditionTable>,
    #[serde(default)]
    pub(super) any: Vec<ConditionTable>,
    #[serde(default)]
    pub(super) none: Vec<ConditionTable>,
}

/// A status code, or a class of them written as `4xx`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a status code such as 401, or a class such as \"4xx\"")]
pub(super) enum StatusText {
    Code(u16),
    Class(String),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConditionTable {
    pub(super) status: Option<OneOrMany<StatusText>>,
    pub(super) path: Option<OneOrMany<String>>,
    pub(super) eq: Option<toml::Value>,
    #[serde(rename = "in")]
    pub(super) one_of: Option<Vec<toml::Value>>,
    pub(super) exists: Option<bool>,
    pub(super) regex: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtractTable {
    pub(super) access: Option<String>,
    pub(super) refresh: Option<TextOr<ExtractRefresh>>,
    pub(super) expires: Option<OneOrMany<TextOr<ExpiryTable>>>,
    pub(super) refresh_expires: Option<OneOrMany<TextOr<ExpiryTable>>>,
    pub(super) scope: Option<String>,
    pub(super) token_type: Option<String>,
    pub(super) active: Option<String>,
    #[serde(default)]
    pub(super) vars: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtractRefresh {
    pub(super) path: String,
    pub(super) absent: Option<Absent>,
}

/// What it means that a reply brings no refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Absent {
    Keep,
    Clear,
    Error,
}

/// One way of learning an expiry; exactly one of `path`, `jwt`, `introspect`, `fixed` and `none` is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpiryTable {
    pub(super) path: Option<String>,
    #[serde(rename = "as")]
    pub(super) unit: Option<Unit>,
    pub(super) zone: Option<String>,
    pub(super) jwt: Option<String>,
    pub(super) introspect: Option<bool>,
    pub(super) fixed: Option<DurationText>,
    pub(super) none: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unit {
    M,
    S,
    Ms,
    EpochS,
    EpochMs,
    Rfc3339,
    HttpDate,
    Date,
}

impl Unit {
    /// Whether the value is a text that holds a date.
    pub(super) fn is_date(self) -> bool {
        matches!(self, Self::Rfc3339 | Self::HttpDate | Self::Date)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleTable {
    pub(super) when: ConditionTable,
    pub(super) class: ErrorClass,
    pub(super) code: Option<String>,
    pub(super) retry_after: Option<String>,
    #[serde(default, rename = "final")]
    pub(super) is_final: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InjectTable {
    pub(super) header: Option<String>,
    pub(super) query: Option<String>,
    pub(super) cookie: Option<String>,
    pub(super) body: Option<String>,
    pub(super) value: String,
}

named_enum! {
    /// Which calls wait after the API has answered one with 429 and `Retry-After`.
    RateLimitReach {
        /// Calls of the same service with the same method and path.
        Route = "route",
        /// Every call of the connection: the limit is the account's.
        Connection = "connection",
        /// None: the answer passes, and callers decide.
        None = "none",
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApiTable {
    pub(super) base: String,
    pub(super) expired: Option<Vec<ConditionTable>>,
    pub(super) rate: Option<RateTable>,
    pub(super) rate_limit_reach: Option<RateLimitReach>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RateTable {
    pub(super) max: u32,
    #[serde(rename = "in")]
    pub(super) within: DurationText,
}
