//! The answers that define a connection; its provider says which are missing or wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jeton_core::keep::provider::{Client, DefineError, Definition, Provider, Setup};
use jeton_core::secret::Secret;

use crate::command_error::CommandError;

/// Where the client secret is, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretSource {
    /// In this file, as the settings name it.
    File(PathBuf),
    /// In this environment variable.
    Env(String),
    /// Typed by a person: it goes into a file of its own.
    Typed,
}

/// What is known of a new connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) vars: BTreeMap<String, Secret>,
    pub(super) client: Client,
    pub(super) secret_source: Option<SecretSource>,
    /// Whether the redirect URI was given, and does not follow from `server.public_url`.
    pub(super) redirect_given: bool,
}

/// An answer that is missing or wrong.
#[derive(Debug)]
pub(super) struct MissingAnswer {
    pub(super) error: DefineError,
    /// Whether it was given, and is wrong.
    pub(super) given: bool,
}

impl Answers {
    /// No answers but the redirect URI that follows from the settings.
    pub(super) fn new(redirect_uri: Option<String>) -> Self {
        Self { client: Client { redirect_uri, ..Client::default() }, ..Self::default() }
    }

    pub(super) fn set_var(&mut self, name: String, value: Secret) -> Result<(), CommandError> {
        let twice = format!("the variable `{name}` is given twice; give it once");
        self.vars.insert(name, value).map_or(Ok(()), |_| Err(CommandError::usage(twice)))
    }

    pub(super) fn set_secret(&mut self, secret: Secret, place: SecretSource) {
        self.client.secret = Some(secret);
        self.secret_source = Some(place);
    }

    pub(super) fn set_redirect(&mut self, uri: String) {
        self.client.redirect_uri = Some(uri);
        self.redirect_given = true;
    }

    /// Sets the answer for a field.
    pub(super) fn set(&mut self, field: &str, answer: Secret) {
        match field {
            "client.id" => self.client.id = Some(answer.reveal().to_owned()),
            "client.secret" => self.set_secret(answer, SecretSource::Typed),
            "client.redirect_uri" => self.set_redirect(answer.reveal().to_owned()),
            field => {
                let name = field.strip_prefix("vars.").unwrap_or(field);
                self.vars.insert(name.to_owned(), answer);
            }
        }
    }

    /// Removes a wrong answer, so that it is asked for again.
    pub(super) fn clear(&mut self, field: &str) {
        match field {
            "client.id" => self.client.id = None,
            "client.secret" => (self.client.secret, self.secret_source) = (None, None),
            "client.redirect_uri" => (self.client.redirect_uri, self.redirect_given) = (None, false),
            field => {
                self.vars.remove(field.strip_prefix("vars.").unwrap_or(field));
            }
        }
    }

    pub(super) fn has(&self, field: &str) -> bool {
        match field {
            "client.id" => self.client.id.is_some(),
            "client.secret" => self.client.secret.is_some(),
            "client.redirect_uri" => self.client.redirect_uri.is_some(),
            field => field.strip_prefix("vars.").is_none_or(|name| self.vars.contains_key(name)),
        }
    }

    /// The connection as far as its variables are known, with a client that is made up.
    pub(super) fn trial(&self, provider: &Arc<Provider>) -> Result<Definition, DefineError> {
        let made_up = Some("x".to_owned());
        let client = Client { id: made_up.clone(), secret: made_up.map(Secret::from), redirect_uri: None };
        provider.define(Setup { vars: self.vars.clone(), client, ..Setup::default() })
    }

    /// The connection, or the first answer that is missing or does not match its pattern.
    pub(super) fn define(&self, provider: &Arc<Provider>) -> Result<Definition, MissingAnswer> {
        let setup = Setup { vars: self.vars.clone(), client: self.client.clone(), ..Setup::default() };
        provider.define(setup).map_err(|error| MissingAnswer { given: self.has(&error.field), error })
    }
}

impl MissingAnswer {
    /// The error where nobody can be asked.
    pub(super) fn into_error(self, provider: &Provider) -> CommandError {
        let Self { error: DefineError { field, problem }, given } = self;
        let flag = match field.as_str() {
            "client.id" => "--client-id ID".to_owned(),
            "client.secret" => "--client-secret-file FILE, or --client-secret-env VARIABLE".to_owned(),
            "client.redirect_uri" => "--redirect-uri URL, or set server.public_url".to_owned(),
            field => {
                let name = field.strip_prefix("vars.").unwrap_or(field);
                let secret = provider.vars().any(|var| var.name() == name && var.is_secret());
                if secret { format!("--var-file {name}=FILE") } else { format!("--var {name}=VALUE") }
            }
        };
        if given {
            CommandError::usage(format!("{field}: {problem}"))
        } else {
            CommandError::usage(format!("{field}: {problem}; give {flag}"))
        }
    }
}
