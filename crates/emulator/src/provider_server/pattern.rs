//! What the requests of a provider look like: made by the code that makes them, with marks where tokens go, so that the
//! tokens of a request that came in are found where the marks are.

use http::header;
use jeton_core::keep::provider::{Definition, Injection, OutboundRequest, RequestValues, Step};
use jeton_core::secret::Secret;

use crate::request::{self, Fields, ParsedRequest};

/// The texts that stand for what is not known beforehand. They are longer than any least length of a refresh token.
const MARK_LENGTH: usize = 512;

/// What a mark stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Access,
    Refresh,
    Code,
    State,
    /// What a code is tied to by PKCE; it is not looked into.
    Proof,
}

const MARKS: [Mark; 5] = [Mark::Access, Mark::Refresh, Mark::Code, Mark::State, Mark::Proof];

impl Mark {
    fn text(self) -> String {
        let letter = match self {
            Self::Access => "a",
            Self::Refresh => "r",
            Self::Code => "c",
            Self::State => "s",
            Self::Proof => "p",
        };
        // No value that anybody writes into a provider file looks like this.
        format!("mark-{}-mark", letter.repeat(MARK_LENGTH))
    }
}

/// What was found where the marks are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundTokens {
    pub(super) access: Option<String>,
    pub(super) refresh: Option<String>,
    pub(super) code: Option<String>,
    pub(super) state: Option<String>,
}

/// What is wrong with a request: the name of the field, and whether it is one that says who the client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) what: String,
    pub(super) credential: bool,
}

/// What one step's request looks like.
pub(super) struct RequestPattern {
    pub(super) step: Step,
    method: &'static str,
    path: String,
    query: Fields,
    headers: Vec<(String, String)>,
    body: Fields,
    /// Texts that only the client knows.
    credentials: Vec<String>,
}

/// The shapes of every step that the connection can request.
pub(super) fn of_all_steps(definition: &Definition) -> Vec<RequestPattern> {
    let mark = |mark: Mark| Some(Secret::from(mark.text()));
    let full = RequestValues {
        access: mark(Mark::Access),
        refresh: mark(Mark::Refresh),
        code: mark(Mark::Code),
        state: mark(Mark::State),
        code_challenge: mark(Mark::Proof),
        code_verifier: mark(Mark::Proof),
        ..RequestValues::default()
    };
    // Where a token is optional, a request may come without it.
    let without_access = RequestValues { access: None, ..full.clone() };
    let without_refresh = RequestValues { refresh: None, ..full.clone() };
    let made = |step| {
        let variants = [&full, &without_access, &without_refresh];
        let requests = variants.into_iter().filter_map(move |values| definition.request(step, values).ok());
        requests.map(move |request| RequestPattern::of(step, &request, definition))
    };
    Step::ALL.iter().copied().flat_map(made).collect()
}

impl RequestPattern {
    fn of(step: Step, request: &OutboundRequest, definition: &Definition) -> Self {
        let pairs = request.url.query().unwrap_or_default();
        let hidden = definition.vars().values().filter(|value| value.is_hidden());
        let client = definition.client();
        let known = [client.id.as_deref(), client.secret.as_ref().map(Secret::reveal)];
        Self {
            step,
            method: request.method.as_str(),
            path: request.url.path().to_owned(),
            // Requests of ours are read by the same rules; one that breaks them has no fields, and nothing matches it.
            query: request::form(pairs.as_bytes()).unwrap_or_default(),
            body: request::fields(request.content_type, &request.body).unwrap_or_default(),
            // A browser goes there, with headers of its own.
            headers: request
                .headers
                .iter()
                .filter(|_| step != Step::Authorize)
                .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
                .collect(),
            credentials: hidden
                .map(|value| value.reveal().to_owned())
                .chain(known.into_iter().flatten().map(str::to_owned))
                .collect(),
        }
    }

    /// Whether a request goes where this step is.
    pub(super) fn is_at(&self, asked: &ParsedRequest) -> bool {
        self.method == asked.method && self.path == asked.path
    }

    /// What a request carries, if it looks like this; else everything that differs.
    pub(super) fn compare(&self, asked: &ParsedRequest) -> Result<FoundTokens, Vec<Difference>> {
        let mut comparison =
            Comparison { shape: self, caught: FoundTokens::default(), differences: Vec::new() };
        comparison.fields("query", &self.query, &asked.query);
        comparison.fields("body", &self.body, &asked.body);
        for (name, expected) in &self.headers {
            let found = asked.headers.get(name).and_then(|value| value.to_str().ok());
            comparison.field(&format!("header {name}"), expected, found);
        }
        let ours = self.headers.iter().any(|(name, _)| name == header::AUTHORIZATION.as_str());
        if !ours && asked.headers.contains_key(header::AUTHORIZATION) {
            // Both ways at once prove nothing (RFC 6749, section 2.3).
            comparison.differ("header authorization is sent", true);
        }
        if comparison.differences.is_empty() { Ok(comparison.caught) } else { Err(comparison.differences) }
    }
}

struct Comparison<'s> {
    shape: &'s RequestPattern,
    caught: FoundTokens,
    differences: Vec<Difference>,
}

impl Comparison<'_> {
    fn fields(&mut self, place: &str, expected: &Fields, found: &Fields) {
        for (name, text) in expected {
            self.field(&format!("{place} {name}"), text, found.get(name).map(String::as_str));
        }
        for name in found.keys().filter(|name| !expected.contains_key(*name)) {
            let credential = name == "client_id" || name == "client_secret";
            self.differ(&format!("{place} {name} is sent"), credential);
        }
    }

    fn field(&mut self, what: &str, expected: &str, found: Option<&str>) {
        let credential = what == "header authorization"
            && !MARKS.iter().any(|mark| expected.contains(&mark.text()))
            || self.shape.credentials.iter().any(|known| expected.contains(known.as_str()));
        let Some(found) = found else {
            return self.differ(&format!("{what} is missing"), credential);
        };
        match catch(expected, found) {
            Match::Same => {}
            Match::Caught(mark, text) => self.keep(mark, text),
            Match::Different => self.differ(&format!("{what} is another"), credential),
        }
    }

    fn keep(&mut self, mark: Mark, text: &str) {
        let slot = match mark {
            Mark::Access => &mut self.caught.access,
            Mark::Refresh => &mut self.caught.refresh,
            Mark::Code => &mut self.caught.code,
            Mark::State => &mut self.caught.state,
            Mark::Proof => return,
        };
        *slot = Some(text.to_owned());
    }

    fn differ(&mut self, what: &str, credential: bool) {
        self.differences.push(Difference { what: what.to_owned(), credential });
    }
}

/// What a text is to the one that is expected.
#[derive(Debug, PartialEq, Eq)]
enum Match<'f> {
    Same,
    /// The same, with this where the mark is.
    Caught(Mark, &'f str),
    Different,
}

fn catch<'f>(expected: &str, found: &'f str) -> Match<'f> {
    for mark in MARKS {
        if let Some((before, after)) = expected.split_once(&mark.text()) {
            let inner = found.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            return match inner.filter(|inner| !inner.is_empty()) {
                Some(inner) => Match::Caught(mark, inner),
                None => Match::Different,
            };
        }
    }
    if expected == found { Match::Same } else { Match::Different }
}

/// How calls to the API carry their access token.
pub(super) struct Api {
    carriers: Vec<Injection>,
}

impl Api {
    pub(super) fn of(definition: &Definition) -> Option<Self> {
        let values =
            RequestValues { access: Some(Secret::from(Mark::Access.text())), ..RequestValues::default() };
        let carriers = definition.inject(&values).ok()?;
        Some(Self { carriers })
    }

    /// The access token of a call.
    pub(super) fn token(&self, asked: &ParsedRequest) -> Option<String> {
        self.carriers.iter().find_map(|carrier| {
            let (expected, found) = match carrier {
                Injection::Header(name, value) => {
                    (value, asked.headers.get(name).and_then(|value| value.to_str().ok()))
                }
                Injection::Query(name, value) => (value, asked.query.get(name).map(String::as_str)),
                Injection::Cookie(name, value) => (value, asked.cookie(name)),
                Injection::Body(name, value) => (value, asked.body.get(name).map(String::as_str)),
            };
            match catch(expected.reveal(), found?) {
                Match::Caught(Mark::Access, text) => Some(text.to_owned()),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_a_mark_is_caught_and_everything_around_it_must_be_the_same() {
        let expected = format!("Bearer {}!", Mark::Access.text());
        assert_eq!(catch(&expected, "Bearer at-1!"), Match::Caught(Mark::Access, "at-1"));
        for wrong in ["Bearer !", "Basic at-1!", "Bearer at-1", ""] {
            assert_eq!(catch(&expected, wrong), Match::Different, "{wrong}");
        }
        assert_eq!(catch("refresh_token", "refresh_token"), Match::Same);
        assert_eq!(catch("refresh_token", "code"), Match::Different);
    }
}
