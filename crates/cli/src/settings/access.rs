//! Who the environment lets in: the API key, and services by the hash of their token.

use jeton_core::access::{API_KEY_SERVICE, Scopes, ServiceName, TokenHash};
use jeton_issuer::{Environment, Settings};

use super::API_KEY_VARIABLE;
use super::assemble::variable;
use super::fault::SettingFault;
use super::origin::Origin;
use super::reader::Reader;
use crate::env_vars::EnvVars;

const PREFIX: &str = "SERVICE_TOKEN_";
const HASH: &str = "_HASH";
const SCOPES: &str = "_SCOPES";

/// Who may come in, as far as settings say it.
#[derive(Clone, Debug)]
pub(crate) struct AccessSettings {
    /// The key that the operator chose.
    pub(crate) api_key: Option<TokenHash>,
    services: Vec<(ServiceName, TokenHash, Scopes)>,
    pub(crate) limits: Settings,
}

impl AccessSettings {
    /// What the environment lets in, where the API key is this one.
    pub(crate) fn with_key(self, api_key: TokenHash) -> Environment {
        let key = Environment::with_api_key(api_key);
        self.services.into_iter().fold(key, |all, (service, hash, scopes)| all.and(service, hash, scopes))
    }
}

/// Reads all of it; what is wrong becomes a fault.
pub(super) fn access(reader: &mut Reader<'_>, environment: &EnvVars) -> AccessSettings {
    let max_staleness = reader.duration("access.max_staleness", std::time::Duration::from_secs(1));
    AccessSettings {
        api_key: api_key(reader, environment),
        services: services(reader, environment),
        limits: Settings { max_staleness },
    }
}

/// The variables that let a service in, or say how far.
pub(crate) fn variables(environment: &EnvVars) -> impl Iterator<Item = &str> {
    environment
        .names()
        .filter(|name| name.starts_with(PREFIX) && (name.ends_with(HASH) || name.ends_with(SCOPES)))
}

fn api_key(reader: &mut Reader<'_>, environment: &EnvVars) -> Option<TokenHash> {
    let key = TokenHash::of_presentable(&variable(reader, environment, API_KEY_VARIABLE)?);
    key.map_err(|error| refuse(reader, API_KEY_VARIABLE, error.to_string())).ok()
}

fn services(reader: &mut Reader<'_>, environment: &EnvVars) -> Vec<(ServiceName, TokenHash, Scopes)> {
    let mut services: Vec<(ServiceName, TokenHash, Scopes)> = Vec::new();
    for name in variables(environment) {
        let Some(middle) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(HASH)) else {
            let hash = format!("{}{HASH}", name.strip_suffix(SCOPES).unwrap_or(name));
            if matches!(environment.get(&hash), Ok(None)) {
                refuse(
                    reader,
                    name,
                    format!("limits a service that nothing lets in; set {hash} too, or leave it out"),
                );
            }
            continue;
        };
        match service(reader, environment, name, middle) {
            Some((service, hash, _)) if services.iter().any(|(_, known, _)| *known == hash) => {
                refuse(
                    reader,
                    name,
                    format!("has the hash of another service; give `{service}` a token of its own"),
                );
            }
            found => services.extend(found),
        }
    }
    services
}

fn service(
    reader: &mut Reader<'_>,
    environment: &EnvVars,
    name: &str,
    middle: &str,
) -> Option<(ServiceName, TokenHash, Scopes)> {
    let hash = TokenHash::from_hex(variable(reader, environment, name)?.reveal());
    let hash = hash.map_err(|error| refuse(reader, name, error.to_string())).ok()?;
    let service = middle.to_lowercase().parse::<ServiceName>();
    let service = service.map_err(|error| refuse(reader, name, error.to_string())).ok()?;
    if service.as_str() == API_KEY_SERVICE {
        refuse(
            reader,
            name,
            format!("takes the name of the API key, `{API_KEY_SERVICE}`; give the service another"),
        );
        return None;
    }
    let limit = format!("{PREFIX}{middle}{SCOPES}");
    let scopes = match environment.get(&limit) {
        Ok(None) => Scopes::all_but_admin(),
        Ok(Some(text)) => match text.reveal().parse::<Scopes>() {
            Ok(scopes) => scopes,
            Err(error) => return reject(reader, &limit, error.to_string()),
        },
        Err(problem) => return reject(reader, &limit, problem.to_owned()),
    };
    Some((service, hash, scopes))
}

fn reject<T>(reader: &mut Reader<'_>, variable: &str, problem: String) -> Option<T> {
    refuse(reader, variable, problem);
    None
}

fn refuse(reader: &mut Reader<'_>, variable: &str, problem: String) {
    reader.faults.push(SettingFault::new(Some(Origin::Environment(variable.to_owned())), "", problem));
}
