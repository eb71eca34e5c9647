//! What each crate says it depends on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use toml::Table;

/// The dependencies of one crate.
#[derive(Debug)]
pub(super) struct Manifest {
    /// The name of its folder below `crates/`, or `xtask`.
    pub(super) name: String,
    /// The file, from the root of the project.
    pub(super) place: String,
    /// Names of the packages it needs to be built.
    pub(super) needs: BTreeSet<String>,
    /// Names of the packages that only its tests need.
    pub(super) tests_need: BTreeSet<String>,
}

impl Manifest {
    /// The crates of this project among `packages`, by the names of their folders.
    pub(super) fn own(packages: &BTreeSet<String>) -> impl Iterator<Item = &str> {
        packages.iter().filter_map(|package| match package.as_str() {
            // The library of the facade carries the project's own name.
            "jeton" => Some("jeton"),
            other => other.strip_prefix("jeton-"),
        })
    }
}

/// All crates below `crates/`, and `xtask`.
pub(super) fn read_all(root: &Path) -> Result<Vec<Manifest>> {
    let mut folders = vec![];
    let crates = root.join("crates");
    for entry in fs::read_dir(&crates).with_context(|| format!("reading {}", crates.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(format!("crates/{}", entry.file_name().to_string_lossy()));
        }
    }
    folders.sort();
    if root.join("xtask").is_dir() {
        folders.push("xtask".to_owned());
    }
    folders.iter().map(|folder| read(root, folder)).collect()
}

fn read(root: &Path, folder: &str) -> Result<Manifest> {
    let place = format!("{folder}/Cargo.toml");
    let text = fs::read_to_string(root.join(&place)).with_context(|| format!("reading {place}"))?;
    let table: Table = text.parse().with_context(|| format!("reading {place}"))?;
    let (mut needs, mut tests_need) = (BTreeSet::new(), BTreeSet::new());
    // `[target.'cfg(..)'.dependencies]` counts like any other.
    let targets = table.get("target").and_then(toml::Value::as_table).into_iter().flat_map(Table::values);
    for part in std::iter::once(&table).chain(targets.filter_map(toml::Value::as_table)) {
        needs.extend(packages(part, "dependencies"));
        needs.extend(packages(part, "build-dependencies"));
        tests_need.extend(packages(part, "dev-dependencies"));
    }
    let name = folder.strip_prefix("crates/").unwrap_or(folder).to_owned();
    Ok(Manifest { name, place, needs, tests_need })
}

/// The packages of one section, by the name they have in the registry or the workspace.
fn packages<'a>(table: &'a Table, section: &str) -> impl Iterator<Item = String> + 'a {
    let entries = table.get(section).and_then(toml::Value::as_table).into_iter().flatten();
    entries.map(|(key, value)| match value.get("package").and_then(toml::Value::as_str) {
        Some(renamed) => renamed.to_owned(),
        None => key.clone(),
    })
}
