//! What a call to the API of a connection is made with.

use jeton_core::keep::provider::{ApiBase, Definition, Injection, Slots};

use crate::error::TokenError;
use crate::token::{Token, TokenRequest};
use crate::vault::Vault;

/// A living token, where to go with it and how it is carried.
#[derive(Clone, Debug)]
pub struct Call {
    /// The token.
    pub token: Token,
    /// Where the API is.
    pub base: ApiBase,
    /// What is put into the call, and where.
    pub injections: Vec<Injection>,
}

impl Vault {
    /// How a connection is defined.
    ///
    /// # Errors
    /// [`TokenError::UnknownConnection`].
    pub fn definition(&self, name: &str) -> Result<&Definition, TokenError> {
        Ok(&self.shared.defined(name)?.definition)
    }

    /// What a call to the API of a connection is made with: [`Vault::token`], and where it goes.
    ///
    /// # Errors
    /// As [`Vault::token`] says; [`TokenError::Definition`] where nobody says where the API is.
    pub async fn call(&self, name: &str, request: TokenRequest) -> Result<Call, TokenError> {
        let token = self.token(name, request).await?;
        self.call_with(name, token)
    }

    /// The same with a token that was given already, such as by [`Vault::reject`].
    ///
    /// # Errors
    /// [`TokenError::Definition`] where nobody says where the API is.
    pub fn call_with(&self, name: &str, token: Token) -> Result<Call, TokenError> {
        let defined = self.shared.defined(name)?;
        let known = self.shared.memory.find(name).and_then(|slot| slot.known());
        let captured = known.map(|known| known.captured.clone()).unwrap_or_default();
        let unusable = |message: String| TokenError::Definition { name: defined.name.clone(), message };
        let definition = &defined.definition;
        let base = definition.api_base(&captured).map_err(|error| unusable(error.to_string()))?;
        let base = base.ok_or_else(|| {
            let provider = &defined.provider;
            unusable(format!("`{provider}` does not say where its API is; give the variable of `api.base`"))
        })?;
        let slots = Slots { access: Some(token.access.clone()), captured, ..Slots::default() };
        let injections = definition.inject(&slots).map_err(|error| unusable(error.to_string()))?;
        Ok(Call { token, base, injections })
    }
}
