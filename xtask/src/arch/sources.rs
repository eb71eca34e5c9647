//! The Rust files of the tree, their sizes and their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::breach::{Breach, Rule};
use super::syntax::{self, Module};

/// Above this a file answers more than one question.
const MAX_LINES: usize = 700;

/// Below this a file is better read as part of another one.
const MIN_LINES: usize = 20;

/// Files that may be shorter, and why.
const SHORT: [(&str, &str); 5] = [
    ("crates/cli/src/actor.rs", "commands of several modules use it"),
    ("crates/jeton/tests/it/guide/after.rs", "a guide shows the whole file"),
    ("crates/server/src/state.rs", "every handler imports it"),
    ("crates/store/tests/it/file/conformance.rs", "each store has a file of tests"),
    ("crates/store/tests/it/memory.rs", "each store has a file of tests"),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "managers", "data", "info"];

/// A Rust file.
#[derive(Debug)]
pub(super) struct Source {
    /// From the root of the project.
    pub(super) place: String,
    /// The folder of its crate: `crates/NAME`, or `xtask`.
    pub(super) folder: String,
    pub(super) lines: usize,
    pub(super) module: Module,
    /// Whether only tests need it: no `mod` without `#[cfg(test)]` leads to it.
    pub(super) test: bool,
}

/// All of them, in order of place.
pub(super) fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for top in ["crates", "xtask"] {
        walk(root, top, &mut sources)?;
    }
    sources.sort_by(|a: &Source, b| a.place.cmp(&b.place));
    Ok(sources)
}

fn walk(root: &Path, folder: &str, sources: &mut Vec<Source>) -> Result<()> {
    let path = root.join(folder);
    if !path.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&path).with_context(|| format!("reading {folder}"))? {
        let entry = entry?;
        let place = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            walk(root, &place, sources)?;
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("reading {place}"))?;
            let module = syntax::read(&text)
                .map_err(|error| anyhow::anyhow!("{place} cannot be read as Rust: {error}"))?;
            let parts = if place.starts_with("crates/") { 2 } else { 1 };
            let folder = place.split('/').take(parts).collect::<Vec<_>>().join("/");
            sources.push(Source { place, folder, lines: text.lines().count(), module, test: true });
        }
    }
    Ok(())
}

/// Sizes, and names of files, folders and functions that say nothing.
pub(super) fn check(sources: &[Source]) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = sources.iter().filter_map(bad_size).collect();
    let mut places: BTreeSet<&Path> = BTreeSet::new();
    for source in sources {
        places.extend(Path::new(&source.place).ancestors());
        let handles = source.module.functions.iter().filter(|(_, name)| name.starts_with("handle_"));
        breaches.extend(handles.map(|(line, name)| {
            let rule = format!("`{name}` says nothing: name the function after what it does");
            Breach::error(Rule::Names, format!("{}:{line}", source.place), rule)
        }));
    }
    for place in places {
        let name = place.file_stem().unwrap_or_default().to_string_lossy();
        if EMPTY_NAMES.contains(&&*name) {
            let rule = format!("the name `{name}` says nothing: name the question it answers");
            breaches.push(Breach::error(Rule::Names, place.to_string_lossy(), rule));
        }
    }
    breaches
}

fn bad_size(source: &Source) -> Option<Breach> {
    let Source { place, lines, module, test, .. } = source;
    if *lines > MAX_LINES {
        let rule = format!("{lines} lines, more than {MAX_LINES}: split it by question");
        let breach = if *test { Breach::warning } else { Breach::error };
        return Some(breach(Rule::Sizes, place.clone(), rule));
    }
    let name = place.rsplit('/').next()?;
    let is_facade =
        matches!(name, "lib.rs" | "main.rs") || module.items.is_empty() && module.impls.is_empty();
    let is_allowed = is_facade || SHORT.iter().any(|(short, _)| short == place);
    (*lines < MIN_LINES && !is_allowed).then(|| {
        let rule =
            format!("{lines} lines, fewer than {MIN_LINES}: put it into the file that it is read with");
        Breach::error(Rule::Sizes, place, rule)
    })
}

/// A table: lines of Rust by crate, of the crate itself and of its tests.
pub(super) fn lines(sources: &[Source]) -> Vec<String> {
    let mut sums: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for source in sources {
        for name in [source.folder.as_str(), "total"] {
            sums.entry(name).or_default()[usize::from(source.test)] += source.lines;
        }
    }
    let row = |(name, [code, tests]): (&str, [usize; 2])| {
        format!("| {name} | {code} | {tests} | {} |", code + tests)
    };
    let head = ["| folder | source | tests | in all |", "| --- | ---: | ---: | ---: |"];
    let total = sums.remove("total").unwrap_or_default();
    let rows = sums.into_iter().map(row).chain([row(("all", total))]);
    head.into_iter().map(str::to_owned).chain(rows).collect()
}
