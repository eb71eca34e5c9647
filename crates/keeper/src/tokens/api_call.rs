//! What a call to the API of a connection is made with.

use std::time::Duration;

use jeton_core::keep::provider::{ApiBase, Definition, Injection, RequestValues, Vars};

use crate::error::TokenError;
use crate::tokens::get::ServedToken;
use crate::tokens::request::{Token, TokenRequest};
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
    /// When it was made, by the clock that counts suspension: it is sent afterwards.
    made_at: Duration,
    /// It is made in place of one whose token was refused.
    is_replacement: bool,
}

/// What an API said to the token of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVerdict {
    /// It answered what was asked.
    Accepted,
    /// It does not accept the token.
    Refused,
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
        let ServedToken { token, known } = self.living(name, request).await?;
        self.made_of(name, token, &known.captured)
    }

    /// What the API said to the token of a call. Whoever makes calls says it of each: it tells a token that died early from an
    /// API that refuses for another reason.
    pub fn note_verdict(&self, name: &str, call: &Call, verdict: ApiVerdict) {
        let (helped, token) = (&self.shared.early_expiry, &call.token);
        match verdict {
            ApiVerdict::Accepted => helped.note_acceptance(name, token.fingerprint, call.made_at),
            ApiVerdict::Refused => helped.note_refusal(name, token.fingerprint),
        }
        if verdict == ApiVerdict::Refused && call.is_replacement {
            helped.note_failure(name, token.generation);
        }
    }

    /// The API refused the token of a call, which was noted: what the same call is made with now, by [`Vault::reject`]. A token
    /// that came from a cure and was accepted has really died since, however fresh it is, and pulls no brake.
    ///
    /// # Errors
    /// As [`Vault::reject`] says; [`TokenError::Definition`] where nobody says where the API is.
    pub async fn replace_refused(
        &self,
        name: &str,
        refused: &Call,
        request: TokenRequest,
    ) -> Result<Call, TokenError> {
        let (helped, refused) = (&self.shared.early_expiry, refused.token.fingerprint);
        let died = helped.believes(name, refused);
        let (ServedToken { token, known }, refreshed) = self.rejected(name, refused, request, died).await?;
        if refreshed {
            helped.note_cure(name, token.fingerprint);
        }
        Ok(Call { is_replacement: true, ..self.made_of(name, token, &known.captured)? })
    }

    /// A call with a token and what was captured beside it: the host that one grant named never sees the token of another.
    fn made_of(&self, name: &str, token: Token, captured: &Vars) -> Result<Call, TokenError> {
        let defined = self.shared.defined(name)?;
        let unusable = |message: String| TokenError::Definition { name: defined.name.clone(), message };
        let definition = &defined.definition;
        let base = definition.api_base(captured).map_err(|error| unusable(error.to_string()))?;
        let base = base.ok_or_else(|| {
            let provider = &defined.provider;
            unusable(format!("`{provider}` does not say where its API is; give the variable of `api.base`"))
        })?;
        let values = RequestValues {
            access: Some(token.access.clone()),
            captured: captured.clone(),
            ..RequestValues::default()
        };
        let injections = definition.inject(&values).map_err(|error| unusable(error.to_string()))?;
        Ok(Call { token, base, injections, made_at: self.shared.clock.uptime(), is_replacement: false })
    }
}
