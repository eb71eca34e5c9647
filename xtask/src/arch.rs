//! `cargo xtask check-arch`: holds the tree to its arrows, its map, its sizes, its names and its words.

mod arrows;
mod breach;
mod circles;
mod manifest;
mod map;
mod modules;
mod sources;
mod syntax;
#[cfg(test)]
mod tests;
mod texts;
mod types;

use std::path::Path;

use anyhow::{Result, bail};

use crate::tools::print_line;
use breach::Breach;
use modules::Modules;
use sources::Source;

/// Checks the tree below `root`, and prints what breaks a rule.
///
/// # Errors
/// A rule is broken, or the tree cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let breaches = check(root)?;
    for breach in &breaches {
        print_line(&breach.to_string());
    }
    match breaches.iter().filter(|breach| breach.fatal).count() {
        0 => Ok(()),
        count => bail!("the tree breaks {count} of its rules, named above"),
    }
}

/// Prints how many lines of Rust each crate has.
///
/// # Errors
/// The tree cannot be read.
pub(crate) fn lines(root: &Path) -> Result<()> {
    for line in sources::lines(&read(root)?) {
        print_line(&line);
    }
    Ok(())
}

/// The Rust files, with those marked that no crate reaches without its tests.
fn read(root: &Path) -> Result<Vec<Source>> {
    let mut sources = sources::read_all(root)?;
    let used = Modules::of(&sources).files();
    (0..).zip(&mut sources).for_each(|(file, source)| source.test = !used.contains(&file));
    Ok(sources)
}

/// Everything in the tree below `root` that breaks a rule, in order of rule and place.
fn check(root: &Path) -> Result<Vec<Breach>> {
    let manifests = manifest::read_all(root)?;
    let sources = read(root)?;
    let modules = Modules::of(&sources);
    let mut breaches = arrows::check(&manifests);
    breaches.extend(map::check(root, &manifests)?);
    breaches.extend(circles::check(&sources, &modules));
    breaches.extend(types::check(&sources, &modules));
    breaches.extend(sources::check(&sources));
    breaches.extend(texts::check(root, &sources)?);
    breaches.sort();
    Ok(breaches)
}
