//! What breaks a rule, and where.

use std::fmt;

/// The rules, in the order in which they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    Arrows,
    Map,
    Circles,
    Impls,
    Types,
    Sizes,
    Names,
    Words,
    Subjects,
}

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Breach {
    pub(super) rule: Rule,
    /// The file or folder, from the root of the project; with a line, where there is one.
    place: String,
    /// How the rule is broken.
    how: String,
    /// Whether it fails the check; otherwise it is a warning.
    pub(super) fatal: bool,
}

impl Breach {
    pub(super) fn error(rule: Rule, place: impl Into<String>, how: impl Into<String>) -> Self {
        Self { rule, place: place.into(), how: how.into(), fatal: true }
    }

    pub(super) fn warning(rule: Rule, place: impl Into<String>, how: impl Into<String>) -> Self {
        Self { fatal: false, ..Self::error(rule, place, how) }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = if self.fatal { "error" } else { "warning" };
        write!(f, "{weight}: {}: {}: {}", format!("{:?}", self.rule).to_lowercase(), self.place, self.how)
    }
}
