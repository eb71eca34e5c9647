//! What names a request in the log, and in the log of its caller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use jeton_core::entropy::Entropy;

/// The header that brings the id of a request, and gives it back.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a caller that is used.
const MAX_LENGTH: usize = 64;

/// The id of a request: what its caller calls it in `X-Request-ID`, or a new one. An extension of every request that
/// [`serve`](crate::serve) takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// That of a request with these extensions; absent where it came over no connection.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Its text: letters, digits, `.`, `_` and `-`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as the value of a header.
    ///
    /// # Panics
    /// Never: an id holds letters, digits and three signs alone.
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("an id holds letters, digits and three signs alone")
    }

    /// That of the caller, if it is one: no other text of a caller is logged.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(REQUEST_ID).iter();
        let text = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        // A service token that was put into the wrong header is no id.
        let is_id =
            (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(plain) && !text.contains("jts_");
        is_id.then(|| Self(text.into()))
    }
}

/// Makes the ids of the requests of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct RequestIds {
    /// Tells processes apart.
    process: u32,
    count: Arc<AtomicU64>,
}

impl RequestIds {
    /// Those of this process.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut process = [0; 4];
        entropy.fill(&mut process);
        Self { process: u32::from_be_bytes(process), count: Arc::default() }
    }

    /// The id of a request with these headers.
    pub(crate) fn id_of(&self, headers: &HeaderMap) -> RequestId {
        RequestId::read(headers).unwrap_or_else(|| {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            RequestId(format!("{:08x}-{number:x}", self.process).into())
        })
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::entropy::SystemEntropy;

    use super::*;

    fn id(values: &[&str]) -> String {
        let line = |value: &&str| (REQUEST_ID, HeaderValue::from_str(value).unwrap());
        RequestIds::new(&SystemEntropy).id_of(&values.iter().map(line).collect()).as_str().to_owned()
    }

    #[test]
    fn a_caller_names_its_request_with_plain_characters_and_nothing_else() {
        for own in ["7", "0f8fad5b-d9cb-469f-a165-70867728950e", "Root=1.67_a", &"x".repeat(64)] {
            let used = own != "Root=1.67_a";
            assert_eq!(id(&[own]) == own, used, "{own}");
        }
        let token = format!("jts_{}", "a".repeat(40));
        for not_one in ["", "two words", &"x".repeat(65), "a,b", &token] {
            assert_ne!(id(&[not_one]), not_one);
        }
        assert!(!["a", "b"].contains(&id(&["a", "b"]).as_str()), "two ids are none");
    }

    #[test]
    fn no_two_new_ids_are_equal() {
        let ids = RequestIds::new(&SystemEntropy);
        let made: std::collections::BTreeSet<String> =
            (0..1_000).map(|_| ids.clone().id_of(&HeaderMap::new()).as_str().to_owned()).collect();
        assert_eq!(made.len(), 1_000);
    }
}
