//! From what is wrong to the line it stands on.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{FileError, Flaw};
use crate::suggest;

/// Says what TOML itself, or the names and types of the schema, object to.
pub(super) fn syntax(file: &str, text: &str, error: &toml::de::Error) -> FileError {
    let mut problem = error.message().lines().collect::<Vec<_>>().join(", ");
    // serde names the wrong word first and the right ones after it, each between backticks.
    let quoted: Vec<&str> = problem.split('`').skip(1).step_by(2).collect();
    if problem.starts_with("unknown ")
        && let Some((wrong, right)) = quoted.split_first()
        && let Some(nearest) = suggest::nearest_name(wrong, right.iter().copied())
    {
        problem = format!("{}; did you mean `{nearest}`?", problem.split(", ").next().unwrap_or(&problem));
    }
    let span = error.span();
    let key = span.as_ref().and_then(|span| key_at(text, span)).unwrap_or_default();
    FileError { file: file.to_owned(), line: span.map(|span| line_of(text, span.start)), key, problem }
}

/// Says where a flaw of a well-formed file is.
pub(super) fn flaw(file: &str, text: &str, flaw: &Flaw) -> FileError {
    let span = DeTable::parse(text).ok().and_then(|table| span_of(table.get_ref(), &flaw.at));
    FileError {
        file: file.to_owned(),
        line: span.map(|span| line_of(text, span.start)),
        key: flaw.at.join("."),
        problem: flaw.problem.clone(),
    }
}

/// The lines on which the tables of an array of tables begin.
pub(super) fn each_line(text: &str, array: &str) -> Vec<Option<usize>> {
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let items = table.get_ref().get(array).and_then(|value| value.get_ref().as_array());
    items
        .map(|items| items.iter().map(|item| Some(line_of(text, item.span().start))).collect())
        .unwrap_or_default()
}

/// Checks that dotted keys lead to things that are written in the file; names the nearest key for one that does not.
pub(super) fn all_written<'k>(text: &str, keys: impl IntoIterator<Item = &'k String>) -> Result<(), Flaw> {
    // Whoever asks has read the text as TOML before.
    let Ok(file) = DeTable::parse(text) else { return Ok(()) };
    keys.into_iter().try_for_each(|key| {
        let words: Vec<_> = key.split('.').collect();
        written(file.get_ref(), &words).map_err(|problem| Flaw::new(problem).under(key))
    })
}

fn written(table: &DeTable<'_>, words: &[&str]) -> Result<(), String> {
    let Some((first, rest)) = words.split_first() else { return Ok(()) };
    if let Some(value) = table.get(*first) {
        return written_in(value.get_ref(), rest);
    }
    let names: Vec<&str> = table.keys().map(|key| key.get_ref().as_ref()).collect();
    Err(format!("`{first}` is not written in this file; {}", suggest::hint(first, names)))
}

fn written_in(value: &DeValue<'_>, words: &[&str]) -> Result<(), String> {
    match (value, words) {
        (_, []) => Ok(()),
        (DeValue::Table(table), _) => written(table, words),
        (DeValue::Array(items), [first, rest @ ..]) => {
            match first.parse::<usize>().ok().and_then(|index| items.get(index)) {
                Some(item) => written_in(item.get_ref(), rest),
                None => Err(format!(
                    "`{first}` is not written in this file; the list has {} entries, counted from 0",
                    items.len()
                )),
            }
        }
        (_, [first, ..]) => Err(format!("`{first}` is not written in this file; a single value stands here")),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The span of the deepest key of a path that is written in the file.
fn span_of(table: &DeTable<'_>, path: &[String]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let (key, value) = table.get_key_value(first.as_str())?;
    Some(deepest(value, rest).unwrap_or_else(|| key.span()))
}

fn deepest(value: &Spanned<DeValue<'_>>, path: &[String]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    if let Some(table) = value.get_ref().as_table() {
        return span_of(table, path);
    }
    let item =
        |items: &[Spanned<DeValue<'_>>]| first.parse::<usize>().ok().filter(|index| *index < items.len());
    if let Some(items) = value.get_ref().as_array()
        && let Some(index) = item(items)
    {
        let item = &items[index];
        return Some(deepest(item, rest).unwrap_or_else(|| item.span()));
    }
    // A single item that stands for a list of one has no index of its own in the file.
    deepest(value, rest)
}

/// The dotted path of the innermost table or key around a span.
fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut path = Vec::new();
    collect(table.get_ref(), span, &mut path);
    Some(path.join("."))
}

fn collect(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) {
    let inside = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        if inside(key.span()) {
            path.push(key.get_ref().to_string());
            return;
        }
        let mut below = vec![key.get_ref().to_string()];
        let found = match value.get_ref() {
            DeValue::Table(inner) => {
                collect(inner, span, &mut below);
                below.len() > 1 || inside(value.span())
            }
            DeValue::Array(items) => collect_items(items.iter(), span, &mut below) || inside(value.span()),
            _ => inside(value.span()),
        };
        if found {
            path.append(&mut below);
            return;
        }
    }
}

fn collect_items<'v, 'i: 'v>(
    items: impl Iterator<Item = &'v Spanned<DeValue<'i>>>,
    span: &Range<usize>,
    path: &mut Vec<String>,
) -> bool {
    for (index, item) in items.enumerate() {
        if let Some(table) = item.get_ref().as_table() {
            let mut below = vec![index.to_string()];
            collect(table, span, &mut below);
            if below.len() > 1 {
                path.append(&mut below);
                return true;
            }
        }
    }
    false
}
