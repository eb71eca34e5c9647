//! One name for one type, and the methods of one type in few files.

use std::collections::{BTreeMap, BTreeSet};

use super::breach::{Breach, Rule};
use super::modules::{Modules, PathTarget};
use super::sources::Source;

/// In how many files the `impl` blocks of one type may stand.
const MAX_FILES: usize = 3;

/// In how many crates one name may mean different things.
const MAX_CRATES: usize = 3;

/// Names that may mean another thing in each module, because that module is always said with them.
const SHARED: [(&str, &str); 3] = [
    ("Error", "what may go wrong in the module"),
    ("Options", "the arguments of one command"),
    ("Settings", "what the module can be told"),
];

pub(super) fn check(sources: &[Source], modules: &Modules<'_>) -> Vec<Breach> {
    let mut breaches = scattered(sources, modules);
    breaches.extend(ambiguous(sources, modules));
    breaches
}

fn scattered(sources: &[Source], modules: &Modules<'_>) -> Vec<Breach> {
    let mut files: BTreeMap<(usize, &str), BTreeSet<usize>> = BTreeMap::new();
    for (id, node) in (0..).zip(&modules.nodes) {
        for path in &node.module.impls {
            if let (Some(PathTarget::Item(home)), Some(name)) = (modules.resolve(id, path), path.last()) {
                files.entry((modules.nodes[home].file, name)).or_default().insert(node.file);
            }
        }
    }
    let many = files.into_iter().filter(|(_, files)| files.len() > MAX_FILES);
    many.map(|((home, name), files)| {
        let places: Vec<&str> = files.iter().map(|file| sources[*file].place.as_str()).collect();
        let rule = format!("`impl {name}` stands in {} files: {}", files.len(), places.join(", "));
        Breach::error(Rule::Impls, &sources[home].place, rule)
    })
    .collect()
}

fn ambiguous(sources: &[Source], modules: &Modules<'_>) -> Vec<Breach> {
    let mut homes: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for node in &modules.nodes {
        let Source { folder, place, .. } = &sources[node.file];
        let types = node.module.items.iter().filter(|item| item.is_type);
        for item in types.filter(|item| SHARED.iter().all(|(shared, _)| item.name != *shared)) {
            homes.entry(&item.name).or_default().entry(folder).or_default().insert(place);
        }
    }
    let mut breaches = Vec::new();
    for (name, crates) in homes {
        for places in crates.values().filter(|places| places.len() > 1) {
            let places: Vec<&str> = places.iter().copied().collect();
            let rule = format!("`{name}` is another type in {}", places[1..].join(", "));
            breaches.push(Breach::error(Rule::Types, places[0], rule));
        }
        if crates.len() > MAX_CRATES {
            let places: Vec<&str> = crates.values().flatten().copied().collect();
            let rule = format!("`{name}` is another type in {} crates: {}", crates.len(), places.join(", "));
            breaches.push(Breach::error(Rule::Types, places[0], rule));
        }
    }
    breaches
}
