//! `cargo xtask check-arch`: holds the tree to its arrows, its map, its sizes and its names.

mod arrows;
mod manifest;
mod map;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use crate::report;

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Breach {
    /// The file or folder, from the root of the project.
    place: String,
    /// The rule, and how it is broken.
    rule: String,
    /// Whether it fails the check; otherwise it is a warning.
    fatal: bool,
}

impl Breach {
    fn error(place: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { place: place.into(), rule: rule.into(), fatal: true }
    }

    fn warning(place: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { fatal: false, ..Self::error(place, rule) }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = if self.fatal { "error" } else { "warning" };
        write!(f, "{weight}: {}: {}", self.place, self.rule)
    }
}

/// Checks the tree below `root` and reports.
///
/// # Errors
/// A rule is broken, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let breaches = check(root)?;
    for breach in &breaches {
        report::line(&breach.to_string());
    }
    match breaches.iter().filter(|breach| breach.fatal).count() {
        0 => Ok(()),
        count => bail!("the tree breaks {count} of its rules, named above"),
    }
}

/// Everything in the tree below `root` that breaks a rule, in order of place.
fn check(root: &Path) -> Result<Vec<Breach>> {
    let manifests = manifest::read_all(root)?;
    let mut breaches = arrows::check(&manifests);
    breaches.extend(map::check(root, &manifests)?);
    breaches.extend(sources::check(root)?);
    breaches.sort();
    Ok(breaches)
}
