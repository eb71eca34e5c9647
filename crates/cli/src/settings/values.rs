//! All values that were written anywhere, each with its origin; later layers overwrite earlier ones.

use std::collections::BTreeMap;

use jeton_core::secret::Secret;
use toml::Value;

use super::fault::{Origin, SettingFault};
use super::schema::{self, PathKind};
use crate::env_vars::EnvVars;

/// A value and where it was written.
#[derive(Clone)]
pub(crate) struct SettingValue {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// All values; or those below one key.
#[derive(Default)]
pub(crate) struct Section {
    /// Where it is written; absent for the whole.
    origin: Option<Origin>,
    below: BTreeMap<String, Node>,
}

/// What one key holds. The schema says which of the two a path leads to.
enum Node {
    Setting(SettingValue),
    Section(Section),
}

/// The path of a dotted name none of whose keys holds a dot.
pub(crate) fn path(dotted: &str) -> Vec<String> {
    dotted.split('.').map(str::to_owned).collect()
}

impl Section {
    /// Sets the value at `path`, if a setting may stand there.
    pub(crate) fn set(&mut self, path: &[String], value: Value, origin: Origin) -> Result<(), SettingFault> {
        match (schema::path_kind(path), path.split_last()) {
            (PathKind::Setting(_), Some((key, above))) => {
                let section = above.iter().fold(self, |section, key| section.section_mut(key, &origin));
                section.insert(key.clone(), SettingValue { value, origin });
                Ok(())
            }
            (PathKind::Section | PathKind::List, _) => Err(value_for_section(path, origin)),
            _ => Err(unknown_setting(path, origin)),
        }
    }

    /// Sets the value at `path` to a text, read by the type of the setting.
    pub(super) fn set_text(
        &mut self,
        path: &[String],
        text: &str,
        origin: Origin,
    ) -> Result<(), SettingFault> {
        let value = match schema::path_kind(path) {
            PathKind::Setting(example) => schema::from_text(example, text),
            _ => text.into(),
        };
        self.set(path, value, origin)
    }

    /// Sets the value at `path` to that of a variable.
    pub(super) fn set_variable(
        &mut self,
        path: &[String],
        variable: &str,
        environment: &EnvVars,
    ) -> Result<(), SettingFault> {
        let origin = Origin::variable(variable, environment);
        match environment.get(variable) {
            Ok(text) => self.set_text(path, text.as_ref().map_or("", Secret::reveal), origin),
            Err(problem) => Err(SettingFault::new(Some(origin), path.join("."), problem)),
        }
    }

    /// Sets a value of this section.
    pub(super) fn insert(&mut self, key: String, value: SettingValue) {
        self.below.insert(key, Node::Setting(value));
    }

    /// Creates the section below `key`, or corrects where a reader looks for it.
    pub(super) fn enter(&mut self, key: &str, origin: Origin) -> &mut Self {
        let below = self.section_mut(key, &origin);
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
            _ => unreachable!("it was inserted above"),
        }
    }

    /// The value at `path`.
    pub(crate) fn get(&self, path: &[String]) -> Option<&SettingValue> {
        let (key, above) = path.split_last()?;
        self.section_at(above)?.value(key)
    }

    /// The value below `key`.
    pub(crate) fn value(&self, key: &str) -> Option<&SettingValue> {
        match self.below.get(key)? {
            Node::Setting(value) => Some(value),
            Node::Section(_) => None,
        }
    }

    /// The section below `key`.
    pub(crate) fn section(&self, key: &str) -> Option<&Self> {
        match self.below.get(key)? {
            Node::Section(below) => Some(below),
            Node::Setting(_) => None,
        }
    }

    /// The section at `path`.
    pub(crate) fn section_at(&self, path: &[String]) -> Option<&Self> {
        path.iter().try_fold(self, |section, key| section.section(key))
    }

    /// The keys that hold a value, in order.
    pub(crate) fn value_keys(&self) -> impl Iterator<Item = &str> {
        self.below.iter().filter_map(|(key, node)| matches!(node, Node::Setting(_)).then_some(key.as_str()))
    }

    /// The keys that hold a section, in order.
    pub(super) fn section_keys(&self) -> impl Iterator<Item = &str> {
        self.below.iter().filter_map(|(key, node)| matches!(node, Node::Section(_)).then_some(key.as_str()))
    }

    /// The names of all connections, in order.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &str> {
        self.section("connections").into_iter().flat_map(|section| section.below.keys().map(String::as_str))
    }

    /// Where the longest written part of `path` stands.
    pub(crate) fn origin(&self, path: &[String]) -> Option<Origin> {
        let (mut section, mut deepest) = (self, None);
        for key in path {
            match section.below.get(key) {
                Some(Node::Section(below)) => {
                    deepest = below.origin.as_ref().or(deepest);
                    section = below;
                }
                Some(Node::Setting(value)) => return Some(value.origin.clone()),
                None => break,
            }
        }
        deepest.cloned()
    }

    /// All values in the order of their paths.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Vec<String>, &SettingValue)> {
        let mut open = vec![(Vec::new(), self.below.iter())];
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
                    Node::Setting(value) => return Some((path, value)),
                    Node::Section(section) => open.push((path, section.below.iter())),
                }
            }
        })
    }
}

/// A section was given a value.
pub(super) fn value_for_section(path: &[String], origin: Origin) -> SettingFault {
    let name = path.join(".");
    let problem = format!("is a section and takes no value; its settings stand below [{name}]");
    SettingFault::new(Some(origin), name, problem)
}

/// Neither a setting nor a section has this path: the fault names its first wrong key.
pub(super) fn unknown_setting(path: &[String], origin: Origin) -> SettingFault {
    let wrong = (1..=path.len()).find(|depth| schema::path_kind(&path[..*depth]) == PathKind::Unknown);
    let wrong = &path[..wrong.unwrap_or(path.len())];
    if let Some((_, above)) = wrong.split_last()
        && matches!(schema::path_kind(above), PathKind::Setting(_))
    {
        return SettingFault::new(Some(origin), above.join("."), "takes a value and is no section");
    }
    SettingFault::new(
        Some(origin),
        wrong.join("."),
        format!("there is no such setting; {}", schema::hint(wrong)),
    )
}
