//! The trace that a call belongs to (W3C Trace Context): passed on, or begun here.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use jeton_core::entropy::Entropy;

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// Where the id of the trace stands in `traceparent`: `00-TRACE_ID-PARENT_ID-FLAGS`.
const TRACE_ID: std::ops::Range<usize> = 3..35;

/// Begins traces.
#[derive(Debug)]
pub(crate) struct Traces {
    /// Tells processes apart.
    process: u64,
    count: AtomicU64,
}

impl Traces {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut process = [0; 8];
        entropy.fill(&mut process);
        Self { process: u64::from_be_bytes(process), count: AtomicU64::new(1) }
    }

    /// Makes sure that a request belongs to a trace. One that cannot be read is begun anew, as the standard says, without what
    /// vendors added to it.
    pub(crate) fn continue_or_begin(&self, headers: &mut HeaderMap) {
        let mut lines = headers.get_all(TRACE_PARENT).iter();
        if lines.next().is_some_and(is_valid) && lines.next().is_none() {
            return;
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let begun = format!("00-{:016x}{number:016x}-{number:016x}-01", self.process);
        headers.insert(TRACE_PARENT, HeaderValue::try_from(begun).expect("digits make a header"));
        headers.remove(TRACE_STATE);
    }
}

/// The id of the trace that a request belongs to.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACE_PARENT).filter(|line| is_valid(line))?.to_str().ok()?.get(TRACE_ID)
}

/// Whether it is `traceparent` of this version, or of one to come, which may be longer.
fn is_valid(line: &HeaderValue) -> bool {
    let bytes = line.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
    };
    let is_zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == b'0');
    let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
    let ends = match bytes.len() {
        55 => true,
        0..55 => false,
        _ => bytes[55] == b'-' && &bytes[..2] != b"00",
    };
    ends && dashes
        && hex(0..2)
        && hex(TRACE_ID)
        && hex(36..52)
        && hex(53..55)
        && &bytes[..2] != b"ff"
        && !is_zero(TRACE_ID)
        && !is_zero(36..52)
}

#[cfg(test)]
mod tests {
    use jeton_core::entropy::SystemEntropy;

    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn continued(lines: &[&str]) -> String {
        let mut headers: HeaderMap =
            lines.iter().map(|line| (TRACE_PARENT, HeaderValue::from_str(line).unwrap())).collect();
        headers.insert(TRACE_STATE, HeaderValue::from_static("vendor=1"));
        Traces::new(&SystemEntropy).continue_or_begin(&mut headers);
        let line = headers[TRACE_PARENT].to_str().unwrap().to_owned();
        assert_eq!(headers.contains_key(TRACE_STATE), lines == [line.as_str()], "{lines:?}");
        assert!(trace_id(&headers).is_some());
        line
    }

    #[test]
    fn a_trace_is_passed_on_as_it_is() {
        let later = format!("cc{}-what-the-future-will-be-like", &SENT[2..]);
        for sent in [SENT, &later] {
            assert_eq!(continued(&[sent]), sent);
        }
    }

    #[test]
    fn a_trace_that_cannot_be_read_is_begun_anew() {
        let zero = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let long = format!("{SENT}-x");
        for sent in
            [&[][..], &["x"], &[SENT, SENT], &[&SENT[..54]], &[&zero], &[&long], &[&SENT.to_uppercase()]]
        {
            let begun = continued(sent);
            assert!(is_valid(&HeaderValue::from_str(&begun).unwrap()), "{begun}");
            assert!(!sent.contains(&begun.as_str()));
        }
    }
}
