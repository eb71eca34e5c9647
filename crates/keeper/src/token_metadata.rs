//! What a reply gave besides its tokens: captured variables, the token type, the scope. It is kept sealed as text.

use std::collections::BTreeMap;

use jeton_core::keep::provider::{Definition, TokenReply, VarValue, Vars, scope_list};
use jeton_core::secret::Secret;
use serde::{Deserialize, Serialize};

/// What a reply gave besides its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenMetadata {
    pub(crate) vars: Vars,
    pub(crate) token_type: Option<String>,
    pub(crate) scope: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default)]
    vars: BTreeMap<String, WrittenVar>,
    token_type: Option<String>,
    scope: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct WrittenVar {
    value: String,
    hidden: bool,
}

/// The scopes that a new grant is asked for, which a silent reply grants; absent where none are named.
pub(crate) fn asked_scope(definition: &Definition) -> Option<String> {
    Some(definition.asked_scopes().join(" ")).filter(|scope| !scope.is_empty())
}

impl TokenMetadata {
    /// What `reply` gave, over what was known before: a reply leaves out what stays as it was.
    pub(crate) fn after(mut self, reply: &TokenReply) -> Self {
        self.vars.extend(reply.vars.clone());
        self.token_type = Some(reply.token_type.clone());
        // A silent reply leaves the scopes as they were: those asked for, or of the set before (RFC 6749, sections 5.1 and 6).
        let granted = reply.scope.as_deref().map(|text| scope_list(text).join(" "));
        self.scope = granted.filter(|text| !text.is_empty()).or(self.scope);
        self
    }

    /// As text to be sealed.
    pub(crate) fn to_text(&self) -> Secret {
        let vars = self
            .vars
            .iter()
            .map(|(name, value)| {
                (name.clone(), WrittenVar { value: value.reveal().to_owned(), hidden: value.is_hidden() })
            })
            .collect();
        let written = Written { vars, token_type: self.token_type.clone(), scope: self.scope.clone() };
        Secret::new(serde_json::to_string(&written).expect("text and flags are always JSON"))
    }

    /// Reads [`TokenMetadata::to_text`] again; nothing where there was none.
    pub(crate) fn from_text(text: Option<&Secret>) -> Self {
        let Some(written) = text.and_then(|text| serde_json::from_str::<Written>(text.reveal()).ok()) else {
            return Self::default();
        };
        let vars = written.vars.into_iter().map(|(name, var)| {
            let value = if var.hidden {
                VarValue::Hidden(Secret::from(var.value))
            } else {
                VarValue::Plain(var.value)
            };
            (name, value)
        });
        Self { vars: vars.collect(), token_type: written.token_type, scope: written.scope }
    }
}
