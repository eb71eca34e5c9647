//! Rules that say which replies mean which class of failure.

use std::time::Duration;

use super::class::ErrorClass;
use super::condition::Condition;
use super::duration::DurationText;
use super::fault::{Flaw, Under};
use super::schema;

/// A rule; the first whose condition holds decides.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) when: Condition,
    pub(super) class: ErrorClass,
    pub(super) code: Option<String>,
    /// For how long to wait when the reply has no `Retry-After` of its own.
    pub(super) retry_after: Option<Duration>,
}

impl Rule {
    pub(super) fn compile_all(written: &[schema::Rule]) -> Result<Vec<Self>, Flaw> {
        written.iter().enumerate().map(|(index, rule)| Self::compile(rule).under(index)).collect()
    }

    fn compile(written: &schema::Rule) -> Result<Self, Flaw> {
        if let Some(code) = &written.code
            && (code.is_empty() || code.len() > 64 || !code.bytes().all(is_code_byte))
        {
            return Err(Flaw::new("a code has 1 to 64 of A-Z, a-z, 0-9, `_`, `.`, `:` and `-`").under("code"));
        }
        let retry_after = match written.retry_after.as_deref() {
            None | Some("header") => None,
            Some(text) => {
                let duration = text.parse::<DurationText>();
                Some(duration.map_err(|e| Flaw::new(format!("{e}, or `header`"))).under("retry_after")?.0)
            }
        };
        Ok(Self {
            when: Condition::compile(&written.when).under("when")?,
            class: written.class,
            code: written.code.clone(),
            retry_after,
        })
    }
}

/// Whether a byte may stand in a code.
pub(super) const fn is_code_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-')
}
