//! All values that were written anywhere, each with its origin: later layers cover earlier ones.

use std::collections::BTreeMap;

use toml::Value;

use super::fault::SettingFault;
use super::origin::Origin;
use super::schema::{self, PathKind};

/// A value and where it came from.
#[derive(Clone)]
pub(crate) struct SettingValue {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Values by path.
#[derive(Default)]
pub(crate) struct Values(Section);

/// What is written below one key, by the next.
#[derive(Default)]
pub(crate) struct Section {
    /// Where it is written; absent for the whole.
    origin: Option<Origin>,
    below: BTreeMap<String, Node>,
}

/// What one key holds. The schema says of each path which of the two it is.
enum Node {
    Setting(SettingValue),
    Section(Section),
}

/// The path that a dotted name means, where no key of it holds a dot itself.
pub(crate) fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

impl Values {
    /// Covers what stands at `path`, if a setting may stand there.
    pub(crate) fn set(&mut self, path: &[String], value: Value, origin: Origin) -> Result<(), SettingFault> {
        match (schema::place(path), path.split_last()) {
            (PathKind::Setting(_), Some((key, above))) => {
                let section = self.section_mut(above, &origin);
                section.put(key.clone(), SettingValue { value, origin });
                Ok(())
            }
            (PathKind::Section, _) => Err(misplaced(path, origin)),
            _ => Err(unknown(path, origin)),
        }
    }

    /// Everything, for a reader that knows the schema and takes what is written key by key.
    pub(super) fn root_mut(&mut self) -> &mut Section {
        &mut self.0
    }

    pub(crate) fn get(&self, path: &[String]) -> Option<&SettingValue> {
        let (key, above) = path.split_last()?;
        self.section(above)?.get(key)
    }

    /// The keys of the settings directly below a section, in order.
    pub(crate) fn below(&self, section: &[String]) -> impl Iterator<Item = &str> {
        self.section(section).into_iter().flat_map(Section::settings)
    }

    /// The names of the connections that are written anywhere, in order.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &str> {
        let section = self.section(&["connections".to_owned()]);
        section.into_iter().flat_map(|section| section.below.keys().map(String::as_str))
    }

    /// Where the deepest part of `path` is written.
    pub(crate) fn origin(&self, path: &[String]) -> Option<Origin> {
        let (mut section, mut deepest) = (&self.0, None);
        for key in path {
            match section.below.get(key) {
                Some(Node::Section(below)) => {
                    deepest = below.origin.as_ref().or(deepest);
                    section = below;
                }
                Some(Node::Setting(found)) => return Some(found.origin.clone()),
                None => break,
            }
        }
        deepest.cloned()
    }

    /// All settings in the order of their paths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Vec<String>, &SettingValue)> {
        let mut open = vec![(Vec::new(), self.0.below.iter())];
        std::iter::from_fn(move || {
            loop {
                let (above, nodes) = open.last_mut()?;
                let Some((key, node)) = nodes.next() else {
                    open.pop();
                    continue;
                };
                let mut path = above.clone();
                path.push(key.clone());
                match node {
                    Node::Setting(found) => return Some((path, found)),
                    Node::Section(section) => open.push((path, section.below.iter())),
                }
            }
        })
    }

    /// What is written below `path`.
    pub(crate) fn section(&self, path: &[String]) -> Option<&Section> {
        path.iter().try_fold(&self.0, |section, key| section.section(key))
    }

    /// The section at `path`; what of it is not there yet is written at `origin`.
    fn section_mut(&mut self, path: &[String], origin: &Origin) -> &mut Section {
        path.iter().fold(&mut self.0, |section, key| section.section_mut(key, origin))
    }
}

impl Section {
    pub(crate) fn get(&self, key: &str) -> Option<&SettingValue> {
        match self.below.get(key)? {
            Node::Setting(found) => Some(found),
            Node::Section(_) => None,
        }
    }

    pub(crate) fn section(&self, key: &str) -> Option<&Self> {
        match self.below.get(key)? {
            Node::Section(below) => Some(below),
            Node::Setting(_) => None,
        }
    }

    /// The keys of its own settings, in order.
    pub(crate) fn settings(&self) -> impl Iterator<Item = &str> {
        self.below.iter().filter_map(|(key, node)| matches!(node, Node::Setting(_)).then_some(key.as_str()))
    }

    /// Covers a setting.
    pub(super) fn put(&mut self, key: String, found: SettingValue) {
        self.below.insert(key, Node::Setting(found));
    }

    /// The section below `key`, which is written at `origin`, though it may be empty.
    pub(super) fn note(&mut self, key: &str, origin: Origin) -> &mut Self {
        let below = self.section_mut(key, &origin);
        // Each layer that names a section may correct where a reader should look.
        below.origin = Some(origin);
        below
    }

    fn section_mut(&mut self, key: &str, origin: &Origin) -> &mut Self {
        if self.section(key).is_none() {
            let new = Self { origin: Some(origin.clone()), below: BTreeMap::new() };
            self.below.insert(key.to_owned(), Node::Section(new));
        }
        match self.below.get_mut(key) {
            Some(Node::Section(below)) => below,
            _ => unreachable!("a section stands there now"),
        }
    }
}

/// A section has a value where its settings should be.
pub(super) fn misplaced(path: &[String], origin: Origin) -> SettingFault {
    let name = path.join(".");
    let problem = format!("is a section and takes no value; its settings stand below [{name}]");
    SettingFault::new(Some(origin), name, problem)
}

/// No setting and no section has this path: says so about its first wrong key.
pub(super) fn unknown(path: &[String], origin: Origin) -> SettingFault {
    let wrong = (1..=path.len()).find(|depth| schema::place(&path[..*depth]) == PathKind::Unknown);
    let wrong = &path[..wrong.unwrap_or(path.len())];
    if let Some((_, above)) = wrong.split_last()
        && matches!(schema::place(above), PathKind::Setting(_))
    {
        return SettingFault::new(Some(origin), above.join("."), "takes a value and is no section");
    }
    SettingFault::new(
        Some(origin),
        wrong.join("."),
        format!("there is no such setting; {}", schema::cure(wrong)),
    )
}
