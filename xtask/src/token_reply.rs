//! A token as its caller receives it, and what the answer itself promises.

use std::fmt;

use http::StatusCode;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_testkit::Reply;
use serde::Deserialize;

/// What `GET /api/v1/connections/{name}/token` answers with 200.
#[derive(Clone, Deserialize)]
pub(crate) struct TokenReply {
    pub(crate) access_token: Secret,
    expires_at: Option<Timestamp>,
    pub(crate) generation: u64,
    fingerprint: String,
    warning: Option<String>,
}

impl TokenReply {
    /// Reads an answer; `None` when it is no token.
    pub(crate) fn read(reply: &Reply) -> Option<Self> {
        let read = || serde_json::from_slice(&reply.body).ok();
        (reply.status == StatusCode::OK).then(read).flatten()
    }

    /// When it expires, by its own words. The providers of these runs always say it; a token without an expiry is dead.
    pub(crate) fn expires_at(&self) -> Timestamp {
        self.expires_at.unwrap_or_default()
    }

    /// Whether it had expired by its own words before it was asked for, and came without a warning.
    pub(crate) fn was_past(&self, asked_at: Timestamp) -> bool {
        self.warning.is_none() && self.expires_at() <= asked_at
    }
}

impl fmt::Display for TokenReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, fingerprint, .. } = self;
        write!(f, "generation {generation}, expires_at {}, fingerprint {fingerprint}", self.expires_at())
    }
}

/// The code of an error; the status where the answer has none.
pub(crate) fn error_code(reply: &Reply) -> String {
    let body = reply.json().unwrap_or_default();
    body["code"].as_str().map_or_else(|| reply.status.to_string(), str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;

    pub(crate) const START: Timestamp = Timestamp::from_secs(1_700_000_000);

    pub(crate) fn at(secs: u64) -> Timestamp {
        START + Duration::from_secs(secs)
    }

    /// A token that expires so many seconds after the start.
    pub(crate) fn token(dies: u64) -> TokenReply {
        TokenReply::read(&reply(StatusCode::OK, &body(dies))).unwrap()
    }

    fn body(dies: u64) -> Value {
        json!({"access_token": "at", "token_type": "Bearer", "expires_at": at(dies), "expires_in": 1, "generation": 3,
            "fingerprint": "00ff"})
    }

    fn reply(status: StatusCode, body: &Value) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: body.to_string().into() }
    }

    #[test]
    fn a_token_is_past_when_it_had_expired_before_it_was_asked_for_unless_a_warning_says_so() {
        assert!(token(5).was_past(at(5)) && token(5).was_past(at(9)));
        assert!(!token(5).was_past(at(4)));
        let mut warned = body(5);
        warned["warning"] = "the token is past its expiry already".into();
        assert!(!TokenReply::read(&reply(StatusCode::OK, &warned)).unwrap().was_past(at(9)));
        let mut silent = body(5);
        silent["expires_at"] = Value::Null;
        assert!(TokenReply::read(&reply(StatusCode::OK, &silent)).unwrap().was_past(at(0)));
    }

    #[test]
    fn only_a_whole_answer_of_200_is_a_token_and_it_is_shown_without_its_secret() {
        assert!(TokenReply::read(&reply(StatusCode::BAD_GATEWAY, &body(5))).is_none());
        assert!(TokenReply::read(&reply(StatusCode::OK, &json!({"code": "BUSY"}))).is_none());
        assert_eq!(error_code(&reply(StatusCode::CONFLICT, &json!({"code": "BUSY"}))), "BUSY");
        assert_eq!(error_code(&reply(StatusCode::BAD_GATEWAY, &json!([]))), "502 Bad Gateway");
        assert_eq!(token(5).to_string(), "generation 3, expires_at 2023-11-14T22:13:25Z, fingerprint 00ff");
    }
}
