//! The map in ARCHITECTURE.md and the folders it shows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::breach::{Breach, Rule};
use super::manifest::Manifest;

const MAP: &str = "ARCHITECTURE.md";

pub(super) fn check(root: &Path, manifests: &[Manifest]) -> Result<Vec<Breach>> {
    let text = fs::read_to_string(root.join(MAP)).with_context(|| format!("reading {MAP}"))?;
    let drawn = drawn(&text);
    let there: BTreeSet<String> =
        manifests.iter().filter(|m| m.name != "xtask").map(|m| format!("crates/{}", m.name)).collect();
    let missing = there.difference(&drawn).map(|folder| {
        Breach::error(
            Rule::Map,
            folder,
            format!("the map in {MAP} does not show this crate: add a row `| {folder} | ... |`"),
        )
    });
    let stale = drawn.difference(&there).map(|folder| {
        Breach::error(Rule::Map, MAP, format!("the map shows `{folder}`, and there is no such folder"))
    });
    Ok(missing.chain(stale).collect())
}

/// The folders `crates/NAME` in the first column of any table.
fn drawn(text: &str) -> BTreeSet<String> {
    let cells = text.lines().filter_map(|line| line.trim_start().strip_prefix('|')?.split('|').next());
    let names = cells.map(|cell| cell.trim().trim_matches(['`', '*']).trim_end_matches('/'));
    names.filter(|name| name.starts_with("crates/")).map(str::to_owned).collect()
}
