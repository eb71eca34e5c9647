//! What a connection needs, as its provider says by refusing to do without it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jeton_core::keep::provider::{Client, DefineError, Definition, PolicyOverrides, Provider, Setup};
use jeton_core::secret::Secret;

use crate::command_error::CommandError;

/// Where the client secret is, or will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretPlace {
    /// In that file, as the settings name it.
    File(PathBuf),
    /// In that environment variable.
    Env(String),
    /// A person has typed it: it goes into a file of its own.
    Typed,
}

/// What is known of a connection that is to be.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) vars: BTreeMap<String, Secret>,
    pub(super) client: Client,
    pub(super) secret_place: Option<SecretPlace>,
    /// Whether the redirect URI must be written, because no setting makes it.
    pub(super) own_redirect: bool,
}

/// What keeps answers from being a connection.
#[derive(Debug)]
pub(super) struct Lack {
    pub(super) error: DefineError,
    /// Whether somebody gave it, and it is wrong.
    pub(super) given: bool,
}

impl Answers {
    /// Nothing but what the settings say already: where callbacks come in.
    pub(super) fn new(redirect_uri: Option<String>) -> Self {
        Self { client: Client { redirect_uri, ..Client::default() }, ..Self::default() }
    }

    pub(super) fn give_var(&mut self, name: String, value: Secret) -> Result<(), CommandError> {
        let twice = format!("the variable `{name}` is given twice; give it once");
        self.vars.insert(name, value).map_or(Ok(()), |_| Err(CommandError::usage(twice)))
    }

    pub(super) fn give_secret(&mut self, secret: Secret, place: SecretPlace) {
        self.client.secret = Some(secret);
        self.secret_place = Some(place);
    }

    pub(super) fn give_redirect(&mut self, uri: String) {
        self.client.redirect_uri = Some(uri);
        self.own_redirect = true;
    }

    /// Takes an answer to what was lacking; a blank one is no answer.
    pub(super) fn take(&mut self, field: &str, answer: Secret) {
        match field {
            "client.id" => self.client.id = Some(answer.reveal().to_owned()),
            "client.secret" => self.give_secret(answer, SecretPlace::Typed),
            "client.redirect_uri" => self.give_redirect(answer.reveal().to_owned()),
            field => {
                let name = field.strip_prefix("vars.").unwrap_or(field);
                self.vars.insert(name.to_owned(), answer);
            }
        }
    }

    /// Takes an answer back, so that it is asked for again.
    pub(super) fn forget(&mut self, field: &str) {
        match field {
            "client.id" => self.client.id = None,
            "client.secret" => (self.client.secret, self.secret_place) = (None, None),
            "client.redirect_uri" => (self.client.redirect_uri, self.own_redirect) = (None, false),
            field => {
                self.vars.remove(field.strip_prefix("vars.").unwrap_or(field));
            }
        }
    }

    fn has(&self, field: &str) -> bool {
        match field {
            "client.id" => self.client.id.is_some(),
            "client.secret" => self.client.secret.is_some(),
            "client.redirect_uri" => self.client.redirect_uri.is_some(),
            field => field.strip_prefix("vars.").is_none_or(|name| self.vars.contains_key(name)),
        }
    }

    /// The connection, or the first thing that is lacking: the provider itself says what it cannot do without, and
    /// holds every value to its pattern.
    pub(super) fn define(&self, provider: &Arc<Provider>) -> Result<Definition, Lack> {
        let setup = Setup {
            vars: self.vars.clone(),
            client: self.client.clone(),
            policy: PolicyOverrides::default(),
        };
        provider.define(setup).map_err(|error| Lack { given: self.has(&error.field), error })
    }
}

impl Lack {
    /// What to say where nobody can be asked.
    pub(super) fn refuse(self, provider: &Provider) -> CommandError {
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
