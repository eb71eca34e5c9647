//! A token as its caller is given it, and what the answer itself promises.

use std::fmt;

use http::StatusCode;
use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_testkit::Reply;
use serde::Deserialize;

/// What `GET /api/v1/connections/{name}/token` answers with 200.
#[derive(Clone, Deserialize)]
pub(super) struct Given {
    pub(super) access_token: Secret,
    expires_at: Option<Timestamp>,
    generation: u64,
    fingerprint: String,
    warning: Option<String>,
}

impl Given {
    /// Reads an answer; `None` when it is no token.
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let read = || serde_json::from_slice(&reply.body).ok();
        (reply.status == StatusCode::OK).then(read).flatten()
    }

    /// When it dies by its own words. The providers of these runs always say it; one of which it is not said is dead.
    pub(super) fn expires_at(&self) -> Timestamp {
        self.expires_at.unwrap_or_default()
    }

    /// Whether it was dead by its own words before it was asked for, and came without a warning.
    pub(super) fn was_past(&self, asked_at: Timestamp) -> bool {
        self.warning.is_none() && self.expires_at() <= asked_at
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, fingerprint, .. } = self;
        write!(f, "generation {generation}, expires_at {}, fingerprint {fingerprint}", self.expires_at())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::soak) const START: Timestamp = Timestamp::from_secs(1_700_000_000);

    pub(in crate::soak) fn at(secs: u64) -> Timestamp {
        START + Duration::from_secs(secs)
    }

    /// A token that dies so many seconds after the start.
    pub(in crate::soak) fn token(dies: u64) -> Given {
        let Some(given) = Given::read(&reply(StatusCode::OK, &told(dies))) else { panic!("it is a token") };
        given
    }

    fn told(dies: u64) -> Value {
        json!({"access_token": "at", "token_type": "Bearer", "expires_at": at(dies), "expires_in": 1, "generation": 3,
            "fingerprint": "00ff"})
    }

    fn reply(status: StatusCode, body: &Value) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: body.to_string().into() }
    }

    #[test]
    fn a_token_is_past_when_it_was_dead_before_it_was_asked_for_unless_a_warning_says_so() {
        assert!(token(5).was_past(at(5)) && token(5).was_past(at(9)));
        assert!(!token(5).was_past(at(4)));
        let mut warned = told(5);
        warned["warning"] = "the token is past its expiry already".into();
        assert!(!Given::read(&reply(StatusCode::OK, &warned)).unwrap().was_past(at(9)));
        let mut silent = told(5);
        silent["expires_at"] = Value::Null;
        assert!(Given::read(&reply(StatusCode::OK, &silent)).unwrap().was_past(at(0)));
    }

    #[test]
    fn only_a_whole_answer_of_200_is_a_token_and_it_is_told_without_its_secret() {
        assert!(Given::read(&reply(StatusCode::BAD_GATEWAY, &told(5))).is_none());
        assert!(Given::read(&reply(StatusCode::OK, &json!({"code": "BUSY"}))).is_none());
        assert_eq!(token(5).to_string(), "generation 3, expires_at 2023-11-14T22:13:25Z, fingerprint 00ff");
    }
}
