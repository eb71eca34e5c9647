//! Who may depend on whom.

use std::collections::BTreeMap;

use super::breach::{Breach, Rule};
use super::manifest::Manifest;

/// The arrows. Every crate may depend on `core` besides.
const ARROWS: [(&str, &[&str]); 12] = [
    ("core", &[]),
    ("store", &[]),
    ("keeper", &[]),
    ("issuer", &[]),
    ("notify", &[]),
    ("emulator", &[]),
    ("gateway", &["keeper", "issuer", "server"]),
    ("server", &["keeper", "issuer", "notify"]),
    ("jeton", &["keeper", "store"]),
    ("cli", &["store", "keeper", "issuer", "notify", "emulator", "gateway", "server", "jeton"]),
    ("testkit", &["emulator"]),
    ("xtask", &["emulator", "store", "testkit"]),
];

/// What the tests of any crate may use besides.
const FOR_TESTS: [&str; 3] = ["testkit", "emulator", "store"];

/// What would bring I/O into the rules.
const NOT_IN_CORE: [&str; 8] =
    ["tokio", "tokio-util", "hyper", "hyper-util", "axum", "rusqlite", "tokio-postgres", "reqwest"];

pub(super) fn check(manifests: &[Manifest]) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = manifests.iter().flat_map(arrows_of).collect();
    breaches.extend(manifests.iter().flat_map(io_in_core));
    breaches.extend(circle(manifests));
    breaches
}

fn arrows_of(manifest: &Manifest) -> Vec<Breach> {
    let name = manifest.name.as_str();
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        let rule = format!("no arrow is drawn for the crate `{name}`: draw it in xtask/src/arch/arrows.rs");
        return vec![Breach::error(Rule::Arrows, &manifest.place, rule)];
    };
    let free = |to: &str| to == "core" && name != "core" || allowed.contains(&to);
    let forbidden = Manifest::own(&manifest.needs).filter(|to| !free(to)).map(|to| {
        let mut may: Vec<&str> = allowed.to_vec();
        if name != "core" {
            may.insert(0, "core");
        }
        let may = if may.is_empty() { "no crate of this project".to_owned() } else { may.join(", ") };
        Breach::error(
            Rule::Arrows,
            &manifest.place,
            format!("`{name}` must not depend on `{to}`; it may depend on {may}"),
        )
    });
    let in_tests = tests_need(manifest).filter(|to| !free(to) && !FOR_TESTS.contains(to)).map(|to| {
        let rule =
            format!("the tests of `{name}` must not depend on `{to}`; they may add {}", FOR_TESTS.join(", "));
        Breach::error(Rule::Arrows, &manifest.place, rule)
    });
    forbidden.chain(in_tests).collect()
}

/// What the tests of a crate need besides it. A crate that names itself there turns on a feature of its own, and no more.
fn tests_need(manifest: &Manifest) -> impl Iterator<Item = &str> {
    Manifest::own(&manifest.tests_need).filter(|to| *to != manifest.name)
}

fn io_in_core(manifest: &Manifest) -> Vec<Breach> {
    let banned =
        NOT_IN_CORE.iter().filter(|package| manifest.name == "core" && manifest.needs.contains(**package));
    let rule = |package| format!("`core` has the rules and no I/O: it must not depend on `{package}`");
    banned.map(|package| Breach::error(Rule::Arrows, &manifest.place, rule(package))).collect()
}

/// The first circle among the crates of this project, tests included: with one, a crate is compiled twice and its types differ
/// from themselves.
fn circle(manifests: &[Manifest]) -> Option<Breach> {
    let edges: BTreeMap<&str, Vec<&str>> = manifests
        .iter()
        .map(|m| (m.name.as_str(), Manifest::own(&m.needs).chain(tests_need(m)).collect()))
        .collect();
    let path = edges.keys().find_map(|start| way_back(&edges, start, &mut vec![start]))?;
    let place = &manifests.iter().find(|m| m.name == path[0])?.place;
    Some(Breach::error(
        Rule::Arrows,
        place,
        format!("the crates depend on each other in a circle: {}", path.join(" -> ")),
    ))
}

fn way_back<'a>(
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    start: &str,
    path: &mut Vec<&'a str>,
) -> Option<Vec<&'a str>> {
    let here = *path.last()?;
    for next in edges.get(here).into_iter().flatten() {
        if *next == start {
            path.push(next);
            return Some(path.clone());
        }
        if !path.contains(next) {
            path.push(next);
            if let Some(found) = way_back(edges, start, path) {
                return Some(found);
            }
            path.pop();
        }
    }
    None
}
