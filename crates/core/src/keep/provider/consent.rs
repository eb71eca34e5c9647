//! Whether a person can consent to a connection in a browser, and who the callback must come from.

use super::capture::CaptureError;
use super::define::Definition;
use super::exchange::CallbackParams;
use super::fault::DefineError;
use super::request::Filler;
use super::slots::Slots;
use super::step::Step;
use super::template::Name;
use crate::secret::Secret;

/// The parameter by which a callback says where it comes from (RFC 9207, section 2).
const ISSUER: &str = "iss";

impl Definition {
    /// Whether a person gives the grant of this connection in a browser.
    pub fn asks_for_consent(&self) -> bool {
        self.has(Step::Authorize) && self.has(Step::Exchange)
    }

    /// Checks everything that a consent needs before anybody is asked, because a code is good once.
    pub fn check_consent(&self) -> Result<(), DefineError> {
        let provider = self.provider.name();
        for step in [Step::Authorize, Step::Exchange] {
            let Some(spec) = self.provider.steps.get(&step).filter(|_| self.has(step)) else {
                let problem =
                    format!("the provider `{provider}` gives no grant in the browser to this connection");
                return Err(DefineError::new(format!("{step} step"), problem));
            };
            let auth = self.client_auth(step);
            let (id, secret) = (self.client.id.is_some(), self.client.secret.is_some());
            self.check_credential("client.id", id, spec, &Name::ClientId, auth)?;
            self.check_credential("client.secret", secret, spec, &Name::ClientSecret, auth)?;
        }
        if self.client.redirect_uri.is_none() {
            let problem =
                "is where the provider sends the browser back to: set it, or set `server.public_url`";
            return Err(DefineError::new("client.redirect_uri", problem));
        }
        let ties = self.provider.steps.get(&Step::Authorize).is_some_and(|spec| spec.mentions(&Name::State));
        if !ties {
            let problem = "sends no `${state}`, so that nobody could tell a forged callback: add it to the provider file";
            return Err(DefineError::new("authorize step", problem));
        }
        let request = self.request(Step::Authorize, &placeholders());
        request.map(drop).map_err(|error| DefineError::new("authorize step", error.to_string()))
    }

    /// Checks where a callback says it comes from, so that one provider's answer is never taken for another's
    /// (RFC 9207, section 2.4; RFC 9700, section 4.4).
    ///
    /// Where the file knows the issuer, the callback must name just that. Where it does not, a callback that names one
    /// must name the host that the person was sent to.
    pub fn check_issuer(&self, callback: &CallbackParams) -> Result<(), CaptureError> {
        let refuse = |problem: String| Err(CaptureError { parameter: ISSUER.to_owned(), problem });
        let named = callback.get(ISSUER).map(String::as_str);
        match (self.issuer(), named) {
            (Some(expected), Some(named)) if expected.reveal() == named => Ok(()),
            (Some(expected), Some(named)) => refuse(format!(
                "it names {:?}, and this connection consents at {:?}",
                clip(named),
                expected.reveal()
            )),
            (Some(expected), None) => refuse(format!(
                "it is missing, and the provider {:?} always sends it; if yours does not, leave the issuer out of the settings",
                expected.reveal()
            )),
            (None, None) => Ok(()),
            (None, Some(named)) => {
                let asked = self.request(Step::Authorize, &placeholders()).ok();
                let asked = asked.and_then(|request| request.url.host_str().map(str::to_owned));
                let named_host =
                    url::Url::parse(named).ok().and_then(|url| url.host_str().map(str::to_owned));
                if asked.is_some() && asked == named_host {
                    return Ok(());
                }
                refuse(format!(
                    "it names {:?}, and the person was sent to {:?}; if that is right, say so as `issuer` under [authorize] \
                     of the provider file",
                    clip(named),
                    asked.unwrap_or_default()
                ))
            }
        }
    }

    /// Who callbacks come from, where that is known.
    fn issuer(&self) -> Option<Secret> {
        let template = self.provider.steps.get(&Step::Authorize)?.issuer.as_ref()?;
        let filler = Filler { definition: self, slots: &Slots::default(), step: Step::Authorize.as_str() };
        // One that hangs on a variable without a value is not known.
        filler.text(template).ok().flatten()
    }
}

/// What stands for the values of a consent that has not begun.
fn placeholders() -> Slots {
    let text = || Some(Secret::new("x"));
    Slots { state: text(), code_challenge: text(), ..Slots::default() }
}

fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::define::{Client, Setup};
    use super::super::{Catalogue, Definition};
    use super::*;

    fn definition(provider: &str, vars: &[(&str, &str)], client: Client) -> Definition {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        let setup = Setup { vars, client, ..Setup::default() };
        Catalogue::builtin().get(provider).unwrap().define(setup).unwrap()
    }

    fn client() -> Client {
        Client {
            id: Some("id-1".into()),
            secret: Some("hush".into()),
            redirect_uri: Some("http://127.0.0.1:9095/oauth/callback".into()),
        }
    }

    const OAUTH2: [(&str, &str); 2] =
        [("token_url", "https://sso.example.com/token"), ("authorize_url", "https://sso.example.com/auth")];

    fn names(issuer: Option<&str>) -> CallbackParams {
        issuer.map(|issuer| ("iss".to_owned(), issuer.to_owned())).into_iter().collect::<BTreeMap<_, _>>()
    }

    #[test]
    fn a_consent_needs_a_client_and_a_place_to_come_back_to() {
        definition("oauth2", &OAUTH2, client()).check_consent().unwrap();
        let without = Client { redirect_uri: None, ..client() };
        let error = definition("oauth2", &OAUTH2, without).check_consent().unwrap_err();
        assert_eq!(error.field, "client.redirect_uri");
        assert!(error.problem.contains("server.public_url"), "{error:?}");
        let no_page = definition("oauth2", &OAUTH2[..1], client());
        assert!(!no_page.asks_for_consent());
        assert!(no_page.check_consent().is_err());
    }

    #[test]
    fn an_issuer_that_is_known_must_be_named_exactly() {
        let mut vars = OAUTH2.to_vec();
        vars.push(("issuer", "https://sso.example.com/realm"));
        let known = definition("oauth2", &vars, client());
        known.check_issuer(&names(Some("https://sso.example.com/realm"))).unwrap();
        for wrong in ["https://sso.example.com", "https://sso.example.com/realm/", "https://evil.example"] {
            let error = known.check_issuer(&names(Some(wrong))).unwrap_err().to_string();
            assert!(error.starts_with("the callback's `iss` is refused: it names"), "{error}");
        }
        assert!(known.check_issuer(&names(None)).unwrap_err().to_string().contains("it is missing"));
    }

    #[test]
    fn an_issuer_that_is_not_known_must_be_the_host_that_was_asked() {
        let unknown = definition("oauth2", &OAUTH2, client());
        unknown.check_issuer(&names(None)).unwrap();
        unknown.check_issuer(&names(Some("https://sso.example.com/any"))).unwrap();
        for wrong in ["https://evil.example/", "sso.example.com", ""] {
            assert!(unknown.check_issuer(&names(Some(wrong))).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_built_in_provider_that_asks_for_consent_ties_the_callback_to_the_browser() {
        let catalogue = Catalogue::builtin();
        let with_page = catalogue.names().filter_map(|name| {
            let provider = catalogue.get(name.as_str()).ok()?;
            provider.steps.get(&Step::Authorize).map(|spec| (name.clone(), spec.mentions(&Name::State)))
        });
        let with_page: Vec<_> = with_page.collect();
        assert!(with_page.len() > 5);
        assert!(with_page.iter().all(|(_, ties)| *ties), "{with_page:?}");
    }
}
