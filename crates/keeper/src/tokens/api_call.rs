//! What a call to the API of a connection is made with.

use jeton_core::keep::provider::{Endpoint, Injection, RequestValues, Vars};

use super::get::Tokens;
use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::tokens::get::ServedToken;
use crate::tokens::request::{Token, TokenRequest};

/// A living token, where to go with it and how it is carried.
#[derive(Clone, Debug)]
pub struct Call {
    /// The token.
    pub token: Token,
    /// Where the API is.
    pub base: Endpoint,
    /// What is put into the call, and where.
    pub injections: Vec<Injection>,
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

impl Tokens {
    pub(crate) async fn call(&self, name: &str, request: TokenRequest) -> Result<Call, TokenError> {
        let ServedToken { token, known } = self.living(name, request).await?;
        self.made_of(name, token, &known.captured)
    }

    /// A living token, and what a call of one's own carries, wherever the API is.
    pub(crate) async fn injections(
        &self,
        name: &str,
        request: TokenRequest,
    ) -> Result<(Token, Vec<Injection>), TokenError> {
        let ServedToken { token, known } = self.living(name, request).await?;
        let injections = injections_of(self.definitions.get(name)?, &token, &known.captured)?;
        Ok((token, injections))
    }

    pub(crate) fn note_verdict(&self, name: &str, call: &Call, verdict: ApiVerdict) {
        match verdict {
            ApiVerdict::Accepted => self.early_expiry.note_acceptance(name, call.token.fingerprint),
            ApiVerdict::Refused if call.is_replacement => {
                self.early_expiry.note_second_refusal(name, call.token.fingerprint);
            }
            ApiVerdict::Refused => {}
        }
    }

    /// The API refused the token of a call, which was noted: what the same call is made with now. One that has ended early is
    /// replaced however fresh it is.
    pub(crate) async fn replace_refused(
        &self,
        name: &str,
        refused: &Call,
        request: TokenRequest,
    ) -> Result<Call, TokenError> {
        let refused = refused.token.fingerprint;
        let ended_early = self.early_expiry.has_ended_early(name, refused);
        let (ServedToken { token, known }, refreshed) =
            self.rejected(name, refused, request, ended_early).await?;
        if refreshed {
            self.early_expiry.note_replacement(name, token.fingerprint);
        }
        Ok(Call { is_replacement: true, ..self.made_of(name, token, &known.captured)? })
    }

    /// A call with a token and what was captured beside it: the host that one grant named never sees the token of another.
    fn made_of(&self, name: &str, token: Token, captured: &Vars) -> Result<Call, TokenError> {
        let def = self.definitions.get(name)?;
        let unusable = |message: String| TokenError::Definition { name: def.name.clone(), message };
        let base = def.definition.api_base(captured).map_err(|error| unusable(error.to_string()))?;
        let base = base.ok_or_else(|| {
            let provider = &def.provider;
            unusable(format!("`{provider}` does not say where its API is; give the variable of `api.base`"))
        })?;
        let injections = injections_of(def, &token, captured)?;
        Ok(Call { token, base, injections, is_replacement: false })
    }
}

fn injections_of(def: &ConnectionDef, token: &Token, captured: &Vars) -> Result<Vec<Injection>, TokenError> {
    let values = RequestValues {
        access: Some(token.access.clone()),
        captured: captured.clone(),
        ..RequestValues::default()
    };
    let injections = def.definition.inject(&values);
    injections.map_err(|error| TokenError::Definition { name: def.name.clone(), message: error.to_string() })
}
