//! Sizes and names of source files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Breach;

/// Above this a file answers more than one question.
const MAX_LINES: usize = 500;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "managers", "data", "info"];

pub(super) fn check(root: &Path) -> Result<Vec<Breach>> {
    let mut breaches = Vec::new();
    for top in ["crates", "xtask"] {
        walk(root, top, &mut breaches)?;
    }
    Ok(breaches)
}

fn walk(root: &Path, folder: &str, breaches: &mut Vec<Breach>) -> Result<()> {
    let path = root.join(folder);
    if !path.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&path).with_context(|| format!("reading {folder}"))? {
        let entry = entry?;
        let place = format!("{folder}/{}", entry.file_name().to_string_lossy());
        let is_source = entry.path().extension().is_some_and(|extension| extension == "rs");
        if entry.file_type()?.is_dir() {
            breaches.extend(empty_name(&place));
            walk(root, &place, breaches)?;
        } else if is_source {
            let text = fs::read_to_string(entry.path()).with_context(|| format!("reading {place}"))?;
            breaches.extend(empty_name(&place));
            breaches.extend(too_long(&place, &text));
            breaches.extend(named_handle(&place, &text));
        }
    }
    Ok(())
}

fn empty_name(place: &str) -> Option<Breach> {
    let name = Path::new(place).file_stem()?.to_str()?;
    let empty = EMPTY_NAMES.contains(&name);
    empty.then(|| {
        Breach::error(place, format!("the name `{name}` says nothing: name the question it answers"))
    })
}

fn too_long(place: &str, text: &str) -> Option<Breach> {
    let lines = text.lines().count();
    if lines <= MAX_LINES {
        return None;
    }
    let rule = format!("{lines} lines, more than {MAX_LINES}: split it by question");
    Some(if is_test(place) { Breach::warning(place, rule) } else { Breach::error(place, rule) })
}

fn is_test(place: &str) -> bool {
    place.contains("/tests/") || place.ends_with("/tests.rs") || place.ends_with("_tests.rs")
}

fn named_handle(place: &str, text: &str) -> Vec<Breach> {
    let named = |line: &str| {
        let code = line.trim_start();
        let (before, rest) = code.split_once("fn handle_")?;
        // In a comment or a text it is no function.
        let modifiers = ["pub", "async", "const", "unsafe", "extern"];
        let declares = before
            .split_whitespace()
            .all(|word| modifiers.iter().any(|m| word.starts_with(m)) || word.ends_with(')'));
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        declares.then(|| format!("handle_{name}"))
    };
    let breach = |(number, name)| {
        let rule = format!("`{name}` says nothing: name the function after what it does");
        Breach::error(format!("{place}:{number}"), rule)
    };
    (1..).zip(text.lines()).filter_map(|(number, line)| Some((number, named(line)?))).map(breach).collect()
}
