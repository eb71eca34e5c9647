//! What people are told of a token endpoint that does not answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::provider::Definition;
use crate::time::Timestamp;

/// Why the last request to a token endpoint got no answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EndpointFailure {
    /// Its code, as the refresh log has it.
    pub code: String,
    /// The HTTP status, where something answered in the place of the token endpoint.
    pub http_status: Option<u16>,
    /// What happened, in one sentence.
    pub message: String,
    /// What the provider said in its own words, shortened and without anything that looks like a secret.
    pub provider_message: Option<String>,
}

/// A token endpoint that does not answer one client. Requests of the client wait, but for one trial at a time, and nobody needs to
/// do anything: the first answer ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnavailableEndpoint {
    /// The client id; null where the provider knows none.
    pub client: Option<String>,
    /// The host of the token endpoint, or the name of the provider where each account has a host of its own there.
    pub server: String,
    /// When the first request was sent that got no answer.
    pub since: Timestamp,
    /// When the next trial is due.
    pub next_trial: Timestamp,
    /// Why the last request got no answer.
    pub last_failure: EndpointFailure,
}

impl UnavailableEndpoint {
    /// Whether the token requests of `definition` go there.
    pub fn serves(&self, definition: &Definition) -> bool {
        self.client == definition.client().id && self.server == definition.token_server()
    }

    /// The same, with other instants in place of its own.
    #[must_use]
    pub fn map_instants(self, shown: impl Fn(Timestamp) -> Timestamp) -> Self {
        Self { since: shown(self.since), next_trial: shown(self.next_trial), ..self }
    }

    /// One sentence for people: which endpoint it is, since when and why, and what follows. The provider's own words are not in it.
    pub fn describe(&self) -> String {
        let next_trial = self.next_trial.to_the_second();
        format!("{self}; the next trial is due at {next_trial}, and nobody needs to do anything")
    }

    /// Joins what several processes tell of their endpoints: of one that is named twice, the longest outage and the next trial.
    pub fn merge(all: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for endpoint in all {
            let same = |known: &&mut Self| known.client == endpoint.client && known.server == endpoint.server;
            let Some(known) = merged.iter_mut().find(same) else {
                merged.push(endpoint);
                continue;
            };
            let next_trial = known.next_trial.min(endpoint.next_trial);
            if endpoint.since < known.since {
                *known = endpoint;
            }
            known.next_trial = next_trial;
        }
        merged
    }
}

impl fmt::Display for UnavailableEndpoint {
    /// Which endpoint it is, since when and why, without the provider's own words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.as_ref().map(|client| format!(" for the client `{client}`"));
        let (client, since) = (client.unwrap_or_default(), self.since.to_the_second());
        let why = &self.last_failure.message;
        write!(f, "the token endpoint at `{}`{client} has not answered since {since} ({why})", self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::at;
    use super::*;

    fn endpoint(server: &str, since: i64, next_trial: i64) -> UnavailableEndpoint {
        UnavailableEndpoint {
            client: Some("id".to_owned()),
            server: server.to_owned(),
            since: at(since),
            next_trial: at(next_trial),
            last_failure: EndpointFailure { message: format!("since {since}"), ..EndpointFailure::default() },
        }
    }

    #[test]
    fn of_what_several_processes_tell_the_longest_outage_and_the_next_trial_count() {
        let other_client = UnavailableEndpoint { client: None, ..endpoint("one", 5, 50) };
        let told =
            [endpoint("one", 9, 20), endpoint("two", 1, 2), endpoint("one", 3, 30), other_client.clone()];
        let one = UnavailableEndpoint { next_trial: at(20), ..endpoint("one", 3, 30) };
        assert_eq!(UnavailableEndpoint::merge(told), [one, endpoint("two", 1, 2), other_client]);
    }

    #[test]
    fn the_sentence_names_endpoint_client_and_begin_and_no_word_of_the_provider() {
        let mut down = endpoint("auth.example.com", 0, 60);
        down.last_failure.provider_message = Some("Under maintenance.".to_owned());
        let text = down.to_string();
        let since = at(0).to_string();
        assert!(text.starts_with(
            "the token endpoint at `auth.example.com` for the client `id` has not answered since "
        ));
        assert!(text.contains(&since) && text.ends_with("(since 0)"), "{text}");
        assert!(!text.contains("maintenance"), "{text}");
        down.client = None;
        assert!(down.to_string().contains("at `auth.example.com` has not answered since"), "{down}");
    }
}
