//! Credentials from the environment: the API key, and services by the hash of their token.

use std::collections::BTreeMap;

use jeton_core::access::{API_KEY_SERVICE, Scopes, ServiceName, TokenHash, UnusableKey};
use jeton_issuer::{Environment, Settings};

use super::reader::{Reader, texts};
use super::values::Section;
use crate::env_vars::{API_KEY_VARIABLE, EnvVars};

const PREFIX: &str = "SERVICE_TOKEN_";
const HASH: &str = "_HASH";
const SCOPES: &str = "_SCOPES";

/// The credentials of the environment, and the limits of the check.
#[derive(Clone, Debug)]
pub(crate) struct AccessSettings {
    /// The key that the operator chose.
    pub(crate) api_key: Option<TokenHash>,
    services: Vec<(ServiceName, TokenHash, Scopes)>,
    pub(crate) limits: Settings,
}

impl AccessSettings {
    /// The credentials of the environment, with this API key.
    pub(crate) fn with_key(self, api_key: TokenHash) -> Environment {
        self.add_services(Environment::with_api_key(api_key))
    }

    /// The services of the environment alone.
    pub(crate) fn environment(self) -> Environment {
        self.add_services(Environment::default())
    }

    fn add_services(self, environment: Environment) -> Environment {
        self.services
            .into_iter()
            .fold(environment, |all, (service, hash, scopes)| all.with_service(service, hash, scopes))
    }

    /// Reads all of it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let max_staleness = reader.duration("access.max_staleness", std::time::Duration::from_secs(1));
        let granted = granted(reader);
        Self {
            api_key: api_key(reader),
            services: services(reader, &granted),
            limits: Settings { max_staleness },
        }
    }
}

/// The variables with the hash of a service token, or with its scopes.
pub(crate) fn variables(environment: &EnvVars) -> impl Iterator<Item = &str> {
    environment
        .names()
        .filter(|name| name.starts_with(PREFIX) && (name.ends_with(HASH) || name.ends_with(SCOPES)))
}

fn api_key(reader: &mut Reader<'_>) -> Option<TokenHash> {
    let key = TokenHash::of_chosen(&reader.secret_variable(API_KEY_VARIABLE)?);
    let problem = |error| match error {
        UnusableKey::Guessable => format!(
            "{error}; make one with `openssl rand -hex 32`, or leave it out and `jeton serve` makes one. To keep a key that programs \
             have, give its SHA-256 as SERVICE_TOKEN_<NAME>_HASH instead, and what it may do as `scopes` of [services.NAME]"
        ),
        UnusableKey::NotPresentable => error.to_string(),
    };
    key.map_err(|error| reader.variable_fault(API_KEY_VARIABLE, problem(error))).ok()
}

/// What the settings grant services of the environment: `[services.NAME]`.
fn granted(reader: &mut Reader<'_>) -> BTreeMap<String, Scopes> {
    let mut granted = BTreeMap::new();
    let values = reader.values;
    for name in values.section("services").into_iter().flat_map(Section::section_keys) {
        let at = ["services", name, "scopes"].map(str::to_owned);
        let scopes = reader.read_at(&at, |value| {
            texts(value, "scopes")?.join(" ").parse::<Scopes>().map_err(|error| error.to_string())
        });
        granted.extend(scopes.map(|scopes| (name.to_owned(), scopes)));
    }
    granted
}

fn services(
    reader: &mut Reader<'_>,
    granted: &BTreeMap<String, Scopes>,
) -> Vec<(ServiceName, TokenHash, Scopes)> {
    let mut services: Vec<(ServiceName, TokenHash, Scopes)> = Vec::new();
    for name in variables(reader.environment) {
        let Some(middle) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(HASH)) else {
            let hash = format!("{}{HASH}", name.strip_suffix(SCOPES).unwrap_or(name));
            if matches!(reader.environment.get(&hash), Ok(None)) {
                let problem = format!("limits a service that has no token; set {hash} too, or leave it out");
                reader.variable_fault(name, problem);
            }
            continue;
        };
        match service(reader, granted, name, middle) {
            Some((service, hash, _)) if services.iter().any(|(_, known, _)| *known == hash) => {
                let problem = format!("has the hash of another service; give `{service}` a token of its own");
                reader.variable_fault(name, problem);
            }
            found => services.extend(found),
        }
    }
    services
}

fn service(
    reader: &mut Reader<'_>,
    granted: &BTreeMap<String, Scopes>,
    name: &str,
    middle: &str,
) -> Option<(ServiceName, TokenHash, Scopes)> {
    let hash = TokenHash::from_hex(reader.secret_variable(name)?.reveal());
    let hash = hash.map_err(|error| reader.variable_fault(name, error.to_string())).ok()?;
    let service = middle.to_lowercase().parse::<ServiceName>();
    let service = service.map_err(|error| reader.variable_fault(name, error.to_string())).ok()?;
    if service.as_str() == API_KEY_SERVICE {
        let problem = format!("takes the name of the API key, `{API_KEY_SERVICE}`; give the service another");
        reader.variable_fault(name, problem);
        return None;
    }
    let limit = format!("{PREFIX}{middle}{SCOPES}");
    let scopes = match reader.environment.get(&limit) {
        // Whoever set the hash meant that jeton knows the service, and nothing more.
        Ok(None) => Ok(granted.get(service.as_str()).cloned().unwrap_or_default()),
        Ok(Some(text)) => text.reveal().parse::<Scopes>().map_err(|error| error.to_string()),
        Err(problem) => Err(problem.to_owned()),
    };
    let scopes = scopes.map_err(|problem| reader.variable_fault(&limit, problem)).ok()?;
    Some((service, hash, scopes))
}
