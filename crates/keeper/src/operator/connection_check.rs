//! Whether a stored token set is what its provider's tokens are, for people who look for a fault.

use jeton_core::keep::connection::GrantState;
use jeton_core::keep::provider::{AccessFormat, Policy, Step, Vars};
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;

use super::commands::Operator;
use crate::consent::progress::renews;
use crate::error::TokenError;
use crate::token_crypto::{ClearTokens, unseal_tokens};
use crate::token_metadata::TokenMetadata;

/// How much of a JWT's header is shown; it is no secret.
const PREVIEW: usize = 12;

/// How the header of a JWT begins: `{"` in base64.
const JWT_BEGINS: &str = "eyJ";

/// The parts of a JWT in its compact form (RFC 7515, section 7.1).
const JWT_PARTS: usize = 3;

/// What an examination of the stored token set found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionCheck {
    /// What is wrong with it, one sentence each, with no secret; nothing is wrong where it is empty.
    pub problems: Vec<String>,
    /// Whether there is an access token.
    pub has_access: bool,
    /// When the access token expires, where that is known.
    pub expires_at: Option<Timestamp>,
    /// The instant at which all this was found.
    pub now: Timestamp,
    /// How the header of the access token begins, if it is a JWT; of any other token nothing is shown.
    pub access_preview: Option<String>,
    /// How long the refresh token is, in bytes; zero where there is none.
    pub refresh_length: usize,
}

impl ConnectionCheck {
    /// Whether no access token lives: there is none, or it has expired.
    pub fn is_expired(&self) -> bool {
        !self.has_access || self.expires_at.is_some_and(|at| at <= self.now)
    }
}

/// How a connection is set up, with no secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSetup {
    /// The account's own host where the provider has one (a variable `domain`), else the host of the token endpoint.
    pub domain: Option<String>,
    /// The client id at the provider.
    pub client_id: Option<String>,
    /// Where the provider sends browsers back to.
    pub redirect_uri: Option<String>,
}

impl Operator {
    /// How a connection is set up, with what was captured since.
    ///
    /// # Errors
    /// There is no such connection, or the store cannot be reached.
    pub(crate) async fn connection_setup(&self, name: &str) -> Result<ConnectionSetup, TokenError> {
        let def = self.definitions.get(name)?;
        let mut captured = Vars::new();
        if let Some(known) = self.memory.reload(&def.name).await?
            && let Some(tokens) = &known.row.tokens
            && let Ok(opened) =
                unseal_tokens(&self.node.sealer, &known.row.name, known.row.generation, tokens)
        {
            captured = TokenMetadata::from_text(opened.extras.as_ref()).vars;
        }
        let definition = &def.definition;
        let domain = captured.get("domain").or_else(|| definition.vars().get("domain"));
        let step = if definition.has(Step::Refresh) { Step::Refresh } else { Step::Acquire };
        let host = || definition.endpoint(step, &captured).ok()??.url.host_str().map(str::to_owned);
        Ok(ConnectionSetup {
            domain: domain.map(|domain| domain.reveal().to_owned()).or_else(host),
            client_id: definition.client().id.clone(),
            redirect_uri: definition.client().redirect_uri.clone(),
        })
    }

    /// Examines what is stored of a connection, which may be nothing. Nothing is refreshed, and nothing is asked of the provider.
    ///
    /// # Errors
    /// There is no such connection, or the store cannot be reached.
    pub(crate) async fn check_connection(&self, name: &str) -> Result<ConnectionCheck, TokenError> {
        let def = self.definitions.get(name)?;
        let known = self.memory.reload(&def.name).await?;
        let clock = &self.node.clock;
        let mut check = ConnectionCheck {
            problems: Vec::new(),
            has_access: false,
            expires_at: None,
            now: clock.readings().civil,
            access_preview: None,
            refresh_length: 0,
        };
        let row = known.as_ref().map(|known| &known.row);
        if let Some(row) = row.filter(|row| row.state == GrantState::Dead) {
            let code = row.state_code.as_deref().or(row.last_error.as_deref()).unwrap_or("dead_grant");
            check.problems.push(format!("the grant is dead ({code}): a person must consent again"));
        }
        let Some((row, tokens)) = row.and_then(|row| Some((row, row.tokens.as_ref()?))) else {
            check.problems.push("nothing is connected: there are no tokens".to_owned());
            return Ok(check);
        };
        check.expires_at = tokens.access_expires_at.map(|expiry| clock.shown(expiry));
        match unseal_tokens(&self.node.sealer, &row.name, row.generation, tokens) {
            Ok(opened) => {
                check.problems.extend(problems(&opened, def.definition.policy(), def.can_redeem()));
                check.has_access = opened.access.is_some();
                check.access_preview = opened.access.as_ref().map(preview);
                check.refresh_length = opened.refresh.as_ref().map_or(0, Secret::len);
            }
            Err(error) => check.problems.push(format!("a stored token does not open: {error}")),
        }
        Ok(check)
    }

    /// Whether the grant of a connection outlives its access token: the provider gave a refresh token, or new tokens can
    /// be acquired without one.
    ///
    /// # Errors
    /// There is no such connection, or the store cannot be reached.
    pub(crate) async fn renews(&self, name: &str) -> Result<bool, TokenError> {
        let def = self.definitions.get(name)?;
        let known = self.memory.reload(&def.name).await?;
        let tokens =
            known.as_ref().and_then(|known| known.row.tokens.as_ref().map(|tokens| (&known.row, tokens)));
        let opened = tokens.and_then(|(row, tokens)| {
            unseal_tokens(&self.node.sealer, &row.name, row.generation, tokens).ok()
        });
        Ok(renews(def, opened.is_some_and(|opened| opened.refresh.is_some())))
    }
}

fn problems(opened: &ClearTokens, policy: &Policy, redeems: bool) -> Vec<String> {
    let mut problems = Vec::new();
    match &opened.access {
        None => problems.push("there is no access token".to_owned()),
        Some(access) if policy.access_format == AccessFormat::Jwt && !is_jwt(access) => {
            problems.push("the access token is no JWT of three parts".to_owned());
        }
        Some(_) => {}
    }
    match &opened.refresh {
        None if redeems => problems.push("there is no refresh token".to_owned()),
        Some(refresh) if refresh.len() < policy.min_refresh_length => problems.push(format!(
            "the refresh token is shorter than the {} characters that this provider's tokens have",
            policy.min_refresh_length
        )),
        _ => {}
    }
    problems
}

fn is_jwt(token: &Secret) -> bool {
    let mut parts = token.reveal().split('.');
    parts.by_ref().take(JWT_PARTS).filter(|part| !part.is_empty()).count() == JWT_PARTS
        && parts.next().is_none()
}

/// How the header of a JWT begins.
fn preview(token: &Secret) -> String {
    let header =
        token.reveal().split('.').next().filter(|part| is_jwt(token) && part.starts_with(JWT_BEGINS));
    let shown: String = header.unwrap_or_default().chars().take(PREVIEW).collect();
    format!("{shown}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_has_three_parts_and_none_is_empty() {
        for (token, is) in [("a.b.c", true), ("a.b", false), ("a..c", false), ("a.b.c.d", false), ("", false)]
        {
            assert_eq!(is_jwt(&Secret::new(token)), is, "{token}");
        }
    }

    #[test]
    fn a_preview_shows_the_header_of_a_jwt_and_nothing_of_any_other_token() {
        let signed = |header: &str| format!("{header}.{}.{}", "x".repeat(60), "y".repeat(40));
        assert_eq!(preview(&Secret::new(signed("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9"))), "eyJ0eXAiOiJK...");
        assert_eq!(preview(&Secret::new(signed("eyJ9"))), "eyJ9...", "and nothing of its claims");
        let opaque =
            ["ya29.a0AfB_byC-secret-of-a-service", "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9", "", "12345678"];
        for token in opaque.into_iter().map(str::to_owned).chain([signed("xoxb-secret")]) {
            assert_eq!(preview(&Secret::new(token.clone())), "...", "{token}");
        }
    }
}
