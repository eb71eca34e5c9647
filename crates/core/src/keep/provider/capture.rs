//! What callbacks and replies bring from outside, held to the rules of the provider's file.

use super::address::{Given, Source, UrlFault};
use super::define::Definition;
use super::http_types::CallbackParams;
use super::request_values::Vars;
use super::template::Name;
use super::vars::{Capture, Var};

/// A callback brought something that must not be used; the consent is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the callback's `{parameter}` is refused: {problem}")]
pub struct CaptureError {
    /// The parameter of the callback.
    pub parameter: String,
    /// What is wrong with it, with no secret.
    pub problem: String,
}

impl Definition {
    /// Captures variables from a callback, in the order of their names. Parameters that no variable asks for are
    /// ignored; a variable that the connection sets itself must not be contradicted.
    pub fn capture(&self, callback: &CallbackParams) -> Result<Vars, CaptureError> {
        let mut captured = Vars::new();
        for var in self.provider.vars() {
            let Some(Capture::Callback(parameter)) = var.capture() else { continue };
            let refuse = |problem: String| CaptureError { parameter: parameter.clone(), problem };
            let Some(value) = callback.get(parameter).filter(|value| !value.is_empty()) else { continue };
            self.check_captured(var, value).map_err(refuse)?;
            if let Some(set) = self.vars.get(var.name())
                && set.reveal() != value
            {
                let problem = if var.is_secret() {
                    format!("it is not the value of vars.{} that this connection is set to", var.name())
                } else {
                    format!(
                        "the consent was given for {value:?}, and this connection is set to {:?}",
                        set.reveal()
                    )
                };
                return Err(refuse(problem));
            }
            captured.insert(var.name().to_owned(), var.wrap(value));
        }
        Ok(captured)
    }

    /// Says what is wrong with a value that came from outside: its pattern, and every host it would decide.
    pub(super) fn check_captured(&self, var: &Var, value: &str) -> Result<(), String> {
        if value.len() > MAX_CAPTURED {
            return Err(format!("longer than {MAX_CAPTURED} bytes"));
        }
        var.check(value)?;
        let name = Name::Var(var.name().to_owned());
        for (_, url) in self.provider.urls() {
            if !url.host_names().any(|host| *host == name) {
                continue;
            }
            // Everything else in the URL is as harmless as can be, so that only this value is judged.
            let stand_in = |other: &Name| {
                if *other == name {
                    return Some(Given { text: value, source: Source::Captured });
                }
                let own = match other {
                    Name::Var(other) => self.vars.get(other).map(super::request_values::VarValue::reveal),
                    _ => None,
                };
                own.map(|text| Given { text, source: Source::Operator })
                    .or(Some(Given { text: "x", source: Source::File }))
            };
            if let Err(UrlFault::Bad(_, problem)) = url.fill(stand_in, &self.provider.hosts) {
                return Err(problem);
            }
        }
        Ok(())
    }
}

/// The longest value that is captured.
const MAX_CAPTURED: usize = 2048;
