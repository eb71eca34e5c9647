//! People who consent, in a token file.

use jeton_core::id::{AttemptId, ConnectionName, ConsentId, ProviderName};
use jeton_core::keep::consent::{AuthorizationRequest, Consent, ConsentOutcome};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::Bytes;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsentRow {
    id: ConsentId,
    connection: ConnectionName,
    provider: ProviderName,
    ticket: Fingerprint,
    created_at: Timestamp,
    link_until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<AskedRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ending: Option<EndingRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRow {
    state: Fingerprint,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    browser: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verifier: Option<Bytes>,
    at: Timestamp,
    until: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum EndingRow {
    Exchange(AttemptId),
    Refused { code: String, message: String },
}

impl From<Consent> for ConsentRow {
    fn from(consent: Consent) -> Self {
        let Consent {
            id,
            connection,
            provider,
            ticket,
            created_at,
            link_until,
            authorization: asked,
            outcome: ending,
        } = consent;
        let asked = asked.map(|AuthorizationRequest { state, browser, verifier, at, until }| AskedRow {
            state,
            browser,
            verifier: verifier.map(Bytes),
            at,
            until,
        });
        let ending = ending.map(|ending| match ending {
            ConsentOutcome::Exchange(attempt) => EndingRow::Exchange(attempt),
            ConsentOutcome::Refused { code, message } => EndingRow::Refused { code, message },
        });
        Self { id, connection, provider, ticket, created_at, link_until, asked, ending }
    }
}

impl ConsentRow {
    pub(super) fn into_consent(self) -> Consent {
        let Self { id, connection, provider, ticket, created_at, link_until, asked, ending } = self;
        let asked = asked.map(|AskedRow { state, browser, verifier, at, until }| AuthorizationRequest {
            state,
            browser,
            verifier: verifier.map(|verifier| verifier.0),
            at,
            until,
        });
        let ending = ending.map(|ending| match ending {
            EndingRow::Exchange(attempt) => ConsentOutcome::Exchange(attempt),
            EndingRow::Refused { code, message } => ConsentOutcome::Refused { code, message },
        });
        Consent {
            id,
            connection,
            provider,
            ticket,
            created_at,
            link_until,
            authorization: asked,
            outcome: ending,
        }
    }
}
