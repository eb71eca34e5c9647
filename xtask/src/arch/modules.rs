//! The modules of all crates, and what a path in one of them leads to.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::Source;
use super::syntax::Module;

/// How many `pub use` lead to an item at most.
const MAX_STEPS: usize = 16;

/// A module: a file, or a part of one.
pub(super) struct ModuleNode<'a> {
    /// Its file, by its place among all.
    pub(super) file: usize,
    pub(super) module: &'a Module,
    parent: Option<usize>,
    children: BTreeMap<&'a str, usize>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathTarget {
    Module(usize),
    /// The node that defines it.
    Item(usize),
}

pub(super) struct Modules<'a> {
    sources: &'a [Source],
    places: BTreeMap<&'a str, usize>,
    pub(super) nodes: Vec<ModuleNode<'a>>,
}

impl<'a> Modules<'a> {
    /// The modules below each `lib.rs` and `main.rs`.
    pub(super) fn of(sources: &'a [Source]) -> Self {
        let places = (0..).zip(sources).map(|(file, source)| (source.place.as_str(), file)).collect();
        let mut modules = Self { sources, places, nodes: Vec::new() };
        for (file, source) in (0..).zip(sources) {
            if ["src/lib.rs", "src/main.rs"]
                .iter()
                .any(|root| source.place == format!("{}/{root}", source.folder))
            {
                let folder = format!("{}/src", source.folder);
                modules.add(file, &source.module, None, &folder);
            }
        }
        modules
    }

    /// The files that some module is in: all but those of tests.
    pub(super) fn files(&self) -> BTreeSet<usize> {
        self.nodes.iter().map(|node| node.file).collect()
    }

    /// Adds a module and those below it, whose files are in `folder`.
    fn add(&mut self, file: usize, module: &'a Module, parent: Option<usize>, folder: &str) -> usize {
        let id = self.nodes.len();
        self.nodes.push(ModuleNode { file, module, parent, children: BTreeMap::new() });
        for (name, inner) in &module.inline {
            let child = self.add(file, inner, Some(id), &format!("{folder}/{name}"));
            self.nodes[id].children.insert(name, child);
        }
        for name in &module.files {
            let below = format!("{folder}/{name}");
            let forms = [format!("{below}.rs"), format!("{below}/mod.rs")];
            if let Some(&file) = forms.iter().find_map(|place| self.places.get(place.as_str())) {
                let child = self.add(file, &self.sources[file].module, Some(id), &below);
                self.nodes[id].children.insert(name, child);
            }
        }
        id
    }

    /// What `path` leads to when it stands in the module `from`; `None` beyond the crate.
    pub(super) fn resolve(&self, from: usize, path: &[String]) -> Option<PathTarget> {
        self.follow(from, path, MAX_STEPS)
    }

    fn follow(&self, from: usize, path: &[String], steps: usize) -> Option<PathTarget> {
        let mut here = from;
        let mut certain = false;
        for (at, name) in path.iter().enumerate() {
            match name.as_str() {
                "self" if at == 0 => certain = true,
                "crate" => {
                    certain = true;
                    while let Some(parent) = self.nodes[here].parent {
                        here = parent;
                    }
                }
                "super" => {
                    certain = true;
                    here = self.nodes[here].parent?;
                }
                _ => match self.find(here, name, at + 1 == path.len(), steps) {
                    Some(PathTarget::Module(module)) => (here, certain) = (module, true),
                    Some(item) => return Some(item),
                    // What a macro defines is not seen, but nothing else can be meant.
                    None => return certain.then_some(PathTarget::Item(here)),
                },
            }
        }
        Some(PathTarget::Module(here))
    }

    fn find(&self, here: usize, name: &str, last: bool, steps: usize) -> Option<PathTarget> {
        let steps = steps.checked_sub(1)?;
        let node = &self.nodes[here];
        let item = node.module.items.iter().any(|item| item.name == name).then_some(PathTarget::Item(here));
        let child = node.children.get(name).map(|child| PathTarget::Module(*child));
        let found = if last { item.or(child) } else { child.or(item) };
        let named = node.module.uses.iter().filter(|used| used.name == name && used.path != [name]);
        let whole = node.module.uses.iter().filter(|used| used.name == "*");
        found.or_else(|| named.into_iter().find_map(|used| self.follow(here, &used.path, steps))).or_else(
            || {
                whole.into_iter().find_map(|used| match self.follow(here, &used.path, steps)? {
                    PathTarget::Module(module) => self.find(module, name, last, steps),
                    PathTarget::Item(_) => None,
                })
            },
        )
    }
}
