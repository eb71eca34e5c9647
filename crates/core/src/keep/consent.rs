//! A person consents in a browser: from the printed link to the exchange of the code.
//!
//! A *ticket* opens the link once. Opening it gives the browser a cookie and sends it to the provider with a *state*;
//! the provider sends it back with that state, which is good once, for a while, and in that browser alone
//! (RFC 6749, section 10.12; RFC 9700, section 4.7). Without a browser at hand the terminal takes its place. Of ticket,
//! state and cookie only fingerprints are kept.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::id::{AttemptId, ConnectionName, ConsentId, Generation, ProviderName};
use crate::seal::{Fingerprint, SealContext};
use crate::secret::Secret;
use crate::time::Timestamp;

use super::attempt::{Attempt, AttemptStatus};

/// How long a printed link can be opened.
pub const LINK_LIFE: Duration = Duration::from_mins(10);

/// How long the provider's answer is waited for, from the opening of the link.
pub const ANSWER_LIFE: Duration = Duration::from_mins(10);

/// One request for consent, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Its id.
    pub id: ConsentId,
    /// The connection that it is for.
    pub connection: ConnectionName,
    /// The provider of that connection at that time.
    pub provider: ProviderName,
    /// Names the ticket.
    pub ticket: Fingerprint,
    /// When the link was made.
    pub created_at: Timestamp,
    /// Until when it can be opened.
    pub link_until: Timestamp,
    /// The link was opened, and the person sent to the provider.
    pub authorization: Option<AuthorizationRequest>,
    /// What came back, once something has.
    pub outcome: Option<ConsentOutcome>,
}

/// A person was sent to the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationRequest {
    /// Names the state.
    pub state: Fingerprint,
    /// Names the cookie of the browser; absent where the terminal takes its place.
    pub browser: Option<Fingerprint>,
    /// The verifier of RFC 7636, sealed at [`verifier_context`]; wiped when the answer has come.
    #[serde(with = "crate::seal::text")]
    pub verifier: Option<Vec<u8>>,
    /// When.
    pub at: Timestamp,
    /// Until when the answer counts.
    pub until: Timestamp,
}

/// What the provider's answer led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ConsentOutcome {
    /// The exchange of its code, which is this attempt of the refresh log.
    Exchange(AttemptId),
    /// Nothing: it was a refusal, or was refused.
    Refused {
        /// A stable code, such as `access_denied`.
        code: String,
        /// One sentence for people, with no secret.
        message: String,
        /// What the provider said, as [`Attempt::provider_message`] has it.
        #[serde(default)]
        provider_message: Option<String>,
    },
}

/// Where the verifier of a consent is sealed. `id` is [`ConsentId`] as text.
pub fn verifier_context(id: &str) -> SealContext<'_> {
    SealContext { table: "consents", row: id, field: "verifier", generation: 0 }
}

/// A random text that is good once: 256 bits in 43 characters, each of which may stand in a URL and in a verifier of
/// RFC 7636 (section 4.1).
pub fn one_time_text(entropy: &dyn Entropy) -> Secret {
    let mut random = [0; 32];
    entropy.fill(&mut random);
    Secret::from(URL_SAFE_NO_PAD.encode(random))
}

/// The challenge that belongs to a verifier, by the method S256 (RFC 7636, section 4.2).
pub fn code_challenge(verifier: &Secret) -> Secret {
    Secret::from(URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.reveal().as_bytes())))
}

/// Why a link is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedLink {
    /// It was opened before.
    Used,
    /// It was not opened in time.
    Late,
}

/// Whether the link of `consent` may be opened at `now`.
pub fn opens(consent: &Consent, now: Timestamp) -> Result<(), ClosedLink> {
    match consent.authorization {
        Some(_) => Err(ClosedLink::Used),
        None if now >= consent.link_until => Err(ClosedLink::Late),
        None => Ok(()),
    }
}

/// Who brings the provider's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A browser, with the cookie that this fingerprint names, or with none.
    Browser(Option<Fingerprint>),
    /// The terminal that asked.
    Terminal,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackRefusal {
    /// It came before.
    Used,
    /// It came too late.
    Late,
    /// Another browser opened the link.
    AnotherBrowser,
    /// It belongs into the terminal that asked.
    ForTerminal,
}

/// Whether an answer for `consent` that `answered_by` brings is taken at `now`.
///
/// Who brings it is looked at first: a stranger learns nothing about what became of the consent, and uses nothing up.
pub fn takes(consent: &Consent, answered_by: AnsweredBy, now: Timestamp) -> Result<(), CallbackRefusal> {
    let Some(asked) = &consent.authorization else { return Err(CallbackRefusal::Late) };
    match (answered_by, asked.browser) {
        (AnsweredBy::Browser(_), None) => return Err(CallbackRefusal::ForTerminal),
        (AnsweredBy::Browser(presented), own) if presented != own => {
            return Err(CallbackRefusal::AnotherBrowser);
        }
        (AnsweredBy::Terminal, Some(_)) => return Err(CallbackRefusal::AnotherBrowser),
        _ => {}
    }
    if consent.outcome.is_some() {
        return Err(CallbackRefusal::Used);
    }
    if now >= asked.until { Err(CallbackRefusal::Late) } else { Ok(()) }
}

/// How far a consent has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Progress {
    /// The link has not been opened.
    Waiting {
        /// Until when it can be.
        until: Timestamp,
    },
    /// The person is at the provider.
    Asked {
        /// Until when the answer counts.
        until: Timestamp,
    },
    /// The code is being exchanged.
    Exchanging,
    /// The connection is made.
    Done {
        /// The generation that it brought.
        generation: Generation,
    },
    /// The person or the provider refused, or jeton refused the answer.
    Refused {
        /// A stable code.
        code: String,
        /// One sentence for people.
        message: String,
        /// What the provider said in its own words, shortened and without anything that looks like a secret. Absent where it said
        /// nothing of that kind, and for whoever holds the link alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider_message: Option<String>,
    },
    /// The exchange failed; the code is worth nothing any more.
    Failed {
        /// A stable code.
        code: String,
        /// One sentence for people.
        message: String,
        /// What the provider said in its own words, shortened and without anything that looks like a secret. Absent where it said
        /// nothing of that kind, and for whoever holds the link alone.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider_message: Option<String>,
    },
    /// The code may have been sent, and nobody knows what became of it.
    Unknown,
    /// Nobody opened the link, or no answer came, in time.
    Expired,
}

impl Progress {
    /// The same for whoever holds the link alone: what the provider said in its own words is for operators.
    #[must_use]
    pub fn without_provider_message(mut self) -> Self {
        if let Self::Refused { provider_message, .. } | Self::Failed { provider_message, .. } = &mut self {
            *provider_message = None;
        }
        self
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Waiting { .. } | Self::Asked { .. } | Self::Exchanging)
    }
}

/// How far `consent` has come at `now`; `attempt` is the one of its [`ConsentOutcome::Exchange`].
pub fn progress(consent: &Consent, attempt: Option<&Attempt>, now: Timestamp) -> Progress {
    match (&consent.outcome, &consent.authorization) {
        (Some(ConsentOutcome::Refused { code, message, provider_message }), _) => Progress::Refused {
            code: code.clone(),
            message: message.clone(),
            provider_message: provider_message.clone(),
        },
        (Some(ConsentOutcome::Exchange(_)), _) => exchanged(attempt, now),
        (None, Some(asked)) if now < asked.until => Progress::Asked { until: asked.until },
        (None, None) if now < consent.link_until => Progress::Waiting { until: consent.link_until },
        (None, _) => Progress::Expired,
    }
}

fn exchanged(attempt: Option<&Attempt>, now: Timestamp) -> Progress {
    // A log that was cleaned up no longer knows.
    let Some(attempt) = attempt else { return Progress::Unknown };
    match attempt.status_at(now) {
        AttemptStatus::Success => {
            Progress::Done { generation: attempt.new_generation.unwrap_or(attempt.generation) }
        }
        AttemptStatus::Running => Progress::Exchanging,
        AttemptStatus::Failed | AttemptStatus::Skipped => Progress::Failed {
            code: attempt.code.clone().unwrap_or_else(|| "failed".to_owned()),
            message: attempt.message.clone().unwrap_or_else(|| "the exchange failed".to_owned()),
            provider_message: attempt.provider_message.clone(),
        },
        AttemptStatus::Interrupted => Progress::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{at, redeem};
    use super::*;
    use crate::entropy::SystemEntropy;

    fn print(number: u8) -> Fingerprint {
        Fingerprint::from_bytes([number; 16])
    }

    fn invited() -> Consent {
        Consent {
            id: ConsentId::from_bytes([1; 16]),
            connection: "acme".parse().unwrap(),
            provider: "strict".parse().unwrap(),
            ticket: print(1),
            created_at: at(0),
            link_until: at(600),
            authorization: None,
            outcome: None,
        }
    }

    fn asked(browser: Option<Fingerprint>) -> Consent {
        let asked = AuthorizationRequest {
            state: print(2),
            browser,
            verifier: Some(vec![1]),
            at: at(100),
            until: at(700),
        };
        Consent { authorization: Some(asked), ..invited() }
    }

    #[test]
    fn a_link_opens_once_and_in_time() {
        assert_eq!(opens(&invited(), at(599)), Ok(()));
        assert_eq!(opens(&invited(), at(600)), Err(ClosedLink::Late));
        assert_eq!(opens(&asked(None), at(101)), Err(ClosedLink::Used));
    }

    #[test]
    fn an_answer_is_taken_once_in_time_and_from_the_browser_that_opened_the_link() {
        let own = asked(Some(print(3)));
        let browser = AnsweredBy::Browser(Some(print(3)));
        assert_eq!(takes(&own, browser, at(699)), Ok(()));
        assert_eq!(takes(&own, browser, at(700)), Err(CallbackRefusal::Late));
        let ended = Consent {
            outcome: Some(ConsentOutcome::Exchange(AttemptId::from_bytes([1; 16]))),
            ..own.clone()
        };
        assert_eq!(takes(&ended, browser, at(200)), Err(CallbackRefusal::Used));
        for stranger in [AnsweredBy::Browser(None), AnsweredBy::Browser(Some(print(4))), AnsweredBy::Terminal]
        {
            for consent in [&own, &ended] {
                assert_eq!(takes(consent, stranger, at(200)), Err(CallbackRefusal::AnotherBrowser));
            }
        }
    }

    #[test]
    fn an_answer_that_the_terminal_waits_for_is_not_taken_from_a_browser() {
        let own = asked(None);
        assert_eq!(takes(&own, AnsweredBy::Terminal, at(200)), Ok(()));
        for browser in [AnsweredBy::Browser(None), AnsweredBy::Browser(Some(print(3)))] {
            assert_eq!(takes(&own, browser, at(200)), Err(CallbackRefusal::ForTerminal));
        }
    }

    #[test]
    fn progress_ends_where_nothing_more_can_come() {
        assert_eq!(progress(&invited(), None, at(1)), Progress::Waiting { until: at(600) });
        assert_eq!(progress(&invited(), None, at(600)), Progress::Expired);
        assert_eq!(progress(&asked(None), None, at(101)), Progress::Asked { until: at(700) });
        assert_eq!(progress(&asked(None), None, at(700)), Progress::Expired);
        let attempt = redeem();
        let ended = Consent { outcome: Some(ConsentOutcome::Exchange(attempt.id)), ..asked(None) };
        assert_eq!(progress(&ended, Some(&attempt), at(1)), Progress::Exchanging);
        assert_eq!(progress(&ended, Some(&attempt), at(99)), Progress::Unknown, "its lease has lapsed");
        let done = Attempt {
            status: AttemptStatus::Success,
            new_generation: Some(Generation(7)),
            ..attempt.clone()
        };
        assert_eq!(progress(&ended, Some(&done), at(99)), Progress::Done { generation: Generation(7) });
        let failed = Attempt { status: AttemptStatus::Failed, code: Some("x".into()), ..attempt };
        assert!(
            matches!(progress(&ended, Some(&failed), at(1)), Progress::Failed { code, .. } if code == "x")
        );
    }

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".into();
        assert_eq!(code_challenge(&verifier).reveal(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let text = one_time_text(&SystemEntropy);
        assert_eq!(text.len(), 43);
        assert!(text.reveal().bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')));
        assert_ne!(text, one_time_text(&SystemEntropy));
    }
}
