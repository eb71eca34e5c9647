//! All values that were written anywhere, each with its origin: later layers cover earlier ones.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::fault::Fault;
use super::origin::Origin;
use super::schema::{self, Place};

/// A value and where it came from.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Values by path.
#[derive(Default)]
pub(crate) struct Values {
    settings: BTreeMap<Vec<String>, Found>,
    sections: BTreeMap<Vec<String>, Origin>,
}

/// The path that a dotted name means, where no key of it holds a dot itself.
pub(crate) fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

impl Values {
    /// Covers what stands at `path`, if a setting may stand there.
    pub(crate) fn set(&mut self, path: Vec<String>, value: Value, origin: Origin) -> Result<(), Fault> {
        match schema::place(&path) {
            Place::Setting(_) => {
                for depth in 1..path.len() {
                    self.sections.entry(path[..depth].to_vec()).or_insert_with(|| origin.clone());
                }
                self.settings.insert(path, Found { value, origin });
                Ok(())
            }
            Place::Section => Err(misplaced(&path, origin)),
            Place::Unknown => Err(unknown(&path, origin)),
        }
    }

    /// Notes that a section is written, though it may be empty.
    pub(crate) fn note_section(&mut self, path: Vec<String>, origin: Origin) {
        // Each layer that names a section may correct where a reader should look.
        self.sections.insert(path, origin);
    }

    pub(crate) fn get(&self, path: &[String]) -> Option<&Found> {
        self.settings.get(path)
    }

    /// What stands directly below a section, by key.
    pub(crate) fn below(&self, section: &[String]) -> BTreeMap<String, Found> {
        // Paths are in order, so that what is below a section stands together: other sections are not looked at.
        let below = self.settings.range(section.to_vec()..).take_while(|(path, _)| path.starts_with(section));
        let direct = below.filter(|(path, _)| path.len() == section.len() + 1);
        direct.filter_map(|(path, found)| path.last().map(|key| (key.clone(), found.clone()))).collect()
    }

    /// The names of the connections that are written anywhere.
    pub(crate) fn connections(&self) -> BTreeSet<String> {
        let named = self.sections.keys().filter(|path| path.len() == 2 && path[0] == "connections");
        named.map(|path| path[1].clone()).collect()
    }

    /// Where the deepest part of `path` is written.
    pub(crate) fn origin(&self, path: &[String]) -> Option<Origin> {
        (1..=path.len()).rev().find_map(|depth| {
            let part = &path[..depth];
            let setting = self.settings.get(part).map(|found| &found.origin);
            setting.or_else(|| self.sections.get(part)).cloned()
        })
    }

    /// All of them, by path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Vec<String>, &Found)> {
        self.settings.iter()
    }
}

/// A section has a value where its settings should be.
fn misplaced(path: &[String], origin: Origin) -> Fault {
    let name = path.join(".");
    let problem = format!("is a section and takes no value; its settings stand below [{name}]");
    Fault::new(Some(origin), name, problem)
}

/// No setting and no section has this path: says so about its first wrong key.
pub(crate) fn unknown(path: &[String], origin: Origin) -> Fault {
    let wrong = (1..=path.len()).find(|depth| schema::place(&path[..*depth]) == Place::Unknown);
    let wrong = &path[..wrong.unwrap_or(path.len())];
    if let Some((_, above)) = wrong.split_last()
        && matches!(schema::place(above), Place::Setting(_))
    {
        return Fault::new(Some(origin), above.join("."), "takes a value and is no section");
    }
    Fault::new(Some(origin), wrong.join("."), format!("there is no such setting; {}", schema::cure(wrong)))
}
