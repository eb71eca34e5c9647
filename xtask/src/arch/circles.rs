//! Circles of files within a crate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::breach::{Breach, Rule};
use super::modules::{Modules, PathTarget};
use super::sources::Source;

/// From a file to those whose items it names, and the names.
type Arrows<'a> = BTreeMap<usize, BTreeMap<usize, BTreeSet<&'a str>>>;

/// The shortest circle, then the shortest without its thinnest arrow, and so on until there is none.
pub(super) fn check(sources: &[Source], modules: &Modules<'_>) -> Vec<Breach> {
    let mut arrows = arrows(modules);
    let mut breaches = Vec::new();
    while let Some(circle) = shortest(&arrows) {
        let ties = || circle.iter().copied().zip(circle.iter().copied().cycle().skip(1));
        let short =
            |file: usize| sources[file].place[sources[file].folder.len() + 1..].trim_start_matches("src/");
        let tie = |(from, to)| {
            let names: Vec<&str> = arrows[&from][&to].iter().copied().take(6).collect();
            format!("{} -[{}]-> ", short(from), names.join(", "))
        };
        let way: String = ties().map(tie).collect();
        let rule = format!("files name each other in a circle: {way}{}", short(circle[0]));
        breaches.push(Breach::error(Rule::Circles, &sources[circle[0]].place, rule));
        let thinnest = ties().min_by_key(|(from, to)| arrows[from][to].len());
        if let Some(to) = thinnest.and_then(|(from, to)| Some((arrows.get_mut(&from)?, to))) {
            to.0.remove(&to.1);
        }
    }
    breaches
}

fn arrows<'a>(modules: &Modules<'a>) -> Arrows<'a> {
    let mut arrows = Arrows::new();
    for (id, node) in (0..).zip(&modules.nodes) {
        let mut tie = |target, name| match target {
            Some(PathTarget::Item(to)) if modules.nodes[to].file != node.file => {
                arrows.entry(node.file).or_default().entry(modules.nodes[to].file).or_default().insert(name);
            }
            _ => {}
        };
        for used in &node.module.uses {
            match used.name.as_str() {
                "*" => {
                    let Some(PathTarget::Module(whole)) = modules.resolve(id, &used.path) else { continue };
                    for name in &modules.nodes[whole].module.items {
                        if node.module.names.contains(&name.name) {
                            tie(Some(PathTarget::Item(whole)), name.name.as_str());
                        }
                    }
                }
                // A facade only hands it on.
                name if used.public && !node.module.names.contains(name) => {}
                name => tie(modules.resolve(id, &used.path), name),
            }
        }
        for path in &node.module.paths {
            let is_type = |name: &&String| name.starts_with(char::is_uppercase);
            let name = path.iter().find(is_type).or(path.last());
            tie(modules.resolve(id, path), name.map_or("", String::as_str));
        }
    }
    arrows
}

fn shortest(arrows: &Arrows<'_>) -> Option<Vec<usize>> {
    arrows.keys().filter_map(|start| way_back(arrows, *start)).min_by_key(Vec::len)
}

/// The shortest way from a file back to itself.
fn way_back(arrows: &Arrows<'_>, start: usize) -> Option<Vec<usize>> {
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(here) = queue.pop_front() {
        for &next in arrows.get(&here).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut way = vec![here];
                while way[way.len() - 1] != start {
                    way.push(before[&way[way.len() - 1]]);
                }
                way.reverse();
                return Some(way);
            }
            before.entry(next).or_insert_with(|| {
                queue.push_back(next);
                here
            });
        }
    }
    None
}
