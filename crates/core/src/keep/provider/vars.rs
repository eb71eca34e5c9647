//! Variables of a provider: what a connection sets, and what callbacks and replies bring.

use regex_lite::Regex;

use super::condition;
use super::fault::{Flaw, Under};
use super::request_values::VarValue;
use super::schema::{self, MetadataMember};
use super::template::BUILT_IN;
use crate::secret::Secret;

/// The longest value of a variable with a pattern, in bytes.
const MAX_VALUE: usize = 8 * 1024;

/// Where the value of a variable is captured, unless the connection sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// A parameter of the callback.
    Callback(String),
    /// A reply, by `take.vars`.
    Take,
}

/// A variable.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the file")]
pub struct Var {
    name: String,
    about: Option<String>,
    capture: Option<Capture>,
    pattern: Option<(String, Regex)>,
    secret: bool,
    one_of: Option<Vec<String>>,
    default: Option<String>,
    optional: bool,
    list: bool,
    discover: Option<MetadataMember>,
    ask: bool,
}

impl Var {
    pub(super) fn compile(name: &str, written: schema::VarTable) -> Result<Self, Flaw> {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(word) {
            return Err(Flaw::new("a variable is named with a-z, 0-9 and `_`, beginning with a letter"));
        }
        if BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
            return Err(Flaw::new(format!("`{name}` is a built-in name: choose another")));
        }
        let capture = match written.capture.as_deref() {
            None => None,
            Some("take") => Some(Capture::Take),
            Some(text) => match text.strip_prefix("callback.") {
                Some(parameter) if !parameter.is_empty() => Some(Capture::Callback(parameter.to_owned())),
                _ => {
                    return Err(Flaw::new("write `take`, or `callback.` and the name of a parameter")
                        .under("capture"));
                }
            },
        };
        let pattern = match written.pattern {
            None => None,
            Some(text) => {
                // The whole value must match, whether or not the file remembers to say so.
                let regex = condition::pattern(&format!("^(?:{text})$")).under("pattern")?;
                Some((text, regex))
            }
        };
        let var = Self {
            name: name.to_owned(),
            about: written.about,
            capture,
            pattern,
            secret: written.secret,
            one_of: written.one_of,
            default: written.default,
            optional: written.optional,
            list: written.list,
            discover: written.discover,
            ask: written.ask,
        };
        if let Some(default) = &var.default {
            var.check(default).map_err(|problem| Flaw::new(problem).under("default"))?;
            if var.optional {
                return Err(Flaw::new(
                    "a variable with a `default` always has a value: leave `optional` out",
                ));
            }
            if var.secret {
                return Err(Flaw::new("a secret cannot have a `default`"));
            }
        }
        Ok(var)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for, in words.
    pub fn about(&self) -> Option<&str> {
        self.about.as_deref()
    }

    /// Where its value is captured.
    pub fn capture(&self) -> Option<&Capture> {
        self.capture.as_ref()
    }

    /// The regular expression that the whole value must match.
    pub fn pattern(&self) -> Option<&str> {
        self.pattern.as_ref().map(|(text, _)| text.as_str())
    }

    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// The values it may have.
    pub fn one_of(&self) -> Option<&[String]> {
        self.one_of.as_deref()
    }

    /// Whether its value is several, separated by spaces, each of which a query or a form carries by itself.
    pub fn is_list(&self) -> bool {
        self.list
    }

    /// The member of the issuer's metadata that gives its value, unless the connection sets it.
    pub fn discover(&self) -> Option<MetadataMember> {
        self.discover
    }

    /// Whether a person who describes a connection is asked for it, though it may be left out.
    pub fn is_asked(&self) -> bool {
        self.ask
    }

    /// Its value where nobody gives one.
    pub fn default_value(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// Whether a connection must set it.
    pub fn is_mandatory(&self) -> bool {
        self.capture.is_none() && self.default.is_none() && !self.optional
    }

    /// Says what is wrong with a value, without showing a secret one.
    pub(super) fn check(&self, value: &str) -> Result<(), String> {
        let shown = || if self.secret { "the value".to_owned() } else { format!("{:?}", clip(value)) };
        if value.is_empty() {
            return Err("is empty: give it a value or leave it out".to_owned());
        }
        if value.chars().any(char::is_control) {
            return Err("holds a line break or another control character".to_owned());
        }
        if let Some(one_of) = &self.one_of
            && !one_of.iter().any(|allowed| allowed == value)
        {
            let cure = crate::suggest::hint(value, one_of.iter().map(String::as_str));
            let cure = if self.secret { "see the provider file".to_owned() } else { cure };
            return Err(format!("{} is not one of its values; {cure}", shown()));
        }
        // A pattern must see the whole value.
        if self.pattern.is_some() && value.len() > MAX_VALUE {
            return Err(format!("has {} bytes: the most is {MAX_VALUE}", value.len()));
        }
        if let Some((text, regex)) = &self.pattern
            && !regex.is_match(value)
        {
            let about = self.about.as_ref().map(|about| format!("; it is {about}")).unwrap_or_default();
            return Err(format!("{} does not match the pattern {text}{about}", shown()));
        }
        Ok(())
    }

    /// Wraps a value as the file says.
    pub(super) fn wrap(&self, value: &str) -> VarValue {
        if self.secret { VarValue::Hidden(Secret::new(value)) } else { VarValue::Plain(value.to_owned()) }
    }
}

fn clip(value: &str) -> String {
    value.chars().take(80).collect()
}
