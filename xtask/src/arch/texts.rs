//! Words that public texts do without, and the subjects of commits.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::breach::{Breach, Rule};
use super::sources::Source;
use crate::tools;

/// Words and phrases, and what says it plainly, one a line. With an `s` at the end it is the same word.
const STOP: &str = include_str!("stop_words.txt");

/// Uses of those words that are plain English or names of others.
const ALLOWED: [&str; 6] =
    ["in flight", "in-flight", "in_flight", "single flight", "single-flight", "landing page"];

/// The first commit whose subject is held to [`MAX_SUBJECT`] is the one after it.
const SINCE: &str = "19b4948";

/// What a list of subjects shows whole.
const MAX_SUBJECT: usize = 72;

/// The pages, the settings, the providers, and what stands in the code of the crates for others to read.
pub(super) fn check(root: &Path, sources: &[Source]) -> Result<Vec<Breach>> {
    let mut breaches = Vec::new();
    for (folder, deep, endings) in [
        ("", false, &[".md", ".default.toml"][..]),
        ("docs", true, &[".md"]),
        ("providers", true, &[".toml"]),
        ("rigs", true, &[".md"]),
    ] {
        for place in files(root, folder, deep)?.iter().filter(|p| endings.iter().any(|end| p.ends_with(end)))
        {
            let text = fs::read_to_string(root.join(place)).with_context(|| format!("reading {place}"))?;
            breaches.extend(stop_words(place, 1, &text));
        }
    }
    for source in sources.iter().filter(|source| !source.test && source.folder != "xtask") {
        // A literal of one word is a name of the wire or of the database.
        for (line, text) in source.module.texts.iter().filter(|(_, text)| text.trim().contains(' ')) {
            breaches.extend(stop_words(&source.place, *line, text));
        }
    }
    breaches.extend(long_subjects(root));
    Ok(breaches)
}

fn files(root: &Path, folder: &str, deep: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return Ok(found) };
    for entry in entries {
        let entry = entry?;
        let place = format!("{folder}/{}", entry.file_name().to_string_lossy());
        let place = place.trim_start_matches('/');
        match entry.file_type()?.is_dir() {
            true if deep && !place.ends_with("node_modules") => found.extend(files(root, place, true)?),
            true => {}
            false => found.push(place.to_owned()),
        }
    }
    Ok(found)
}

fn stop_words(place: &str, first: usize, text: &str) -> Vec<Breach> {
    let mut plain = text.to_lowercase();
    for allowed in ALLOWED {
        plain = plain.replace(allowed, &"-".repeat(allowed.len()));
    }
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let mut breaches = Vec::new();
    for (word, better) in STOP.lines().filter_map(|line| line.split_once(": ")) {
        for (at, _) in plain.match_indices(word) {
            let rest = &plain[at + word.len()..];
            let rest = rest.strip_prefix('s').unwrap_or(rest);
            if !is_part(plain[..at].chars().next_back()) && !is_part(rest.chars().next()) {
                let line = first + plain[..at].matches('\n').count();
                let rule = format!("`{word}` is no plain word: {better}");
                breaches.push(Breach::error(Rule::Words, format!("{place}:{line}"), rule));
            }
        }
    }
    breaches
}

/// Without Git, or without a commit to begin with, what there is of the history is looked at.
fn long_subjects(root: &Path) -> Vec<Breach> {
    let root = root.to_string_lossy();
    let log = |range: &str| tools::answer("git", &["-C", &root, "log", "--format=%h %s", range]);
    let history = log(&format!("{SINCE}..HEAD")).or_else(|| log("HEAD")).unwrap_or_default();
    let subjects = history.lines().filter_map(|line| line.split_once(' '));
    let too_long = subjects.filter(|(_, subject)| subject.chars().count() > MAX_SUBJECT);
    too_long
        .map(|(commit, subject)| {
            let rule = format!("the subject is longer than {MAX_SUBJECT} characters: {subject}");
            Breach::error(Rule::Subjects, format!("commit {commit}"), rule)
        })
        .collect()
}
