use std::collections::BTreeSet;

use super::*;

/// Method, path and operation of all state.
fn operations() -> Vec<(String, String, Value)> {
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.push((method.clone(), path.clone(), operation.clone()));
        }
    }
    all
}

#[test]
fn every_door_has_a_name_a_place_and_a_sentence() {
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations() {
        let what = format!("{method} {path}");
        let text = |member: &str| operation[member].as_str().unwrap_or_default().to_owned();
        assert!(!text("operationId").is_empty() && ids.insert(text("operationId")), "{what}");
        let summary = text("summary");
        assert!(summary.ends_with('.') && summary.starts_with(|c: char| c.is_ascii_uppercase()), "{what}");
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(fixed::TAGS.iter().any(|(name, _)| *name == tag), "{what}: {tag}");
        let statuses: Vec<&String> = operation["responses"].as_object().unwrap().keys().collect();
        assert!(statuses.iter().any(|status| status.starts_with('2') || *status == "default"), "{what}");
    }
}

#[test]
fn every_part_of_a_path_in_braces_is_described_and_nothing_else() {
    for (method, path, operation) in operations() {
        let named: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let described: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(described, named, "{method} {path}");
        assert!(parameters.iter().all(|parameter| parameter["description"].is_string()), "{method} {path}");
    }
}

#[test]
fn every_member_of_a_refusal_is_described() {
    let schema = fixed::problem();
    for problem in catalogue().into_values() {
        let written = serde_json::to_value(&problem).unwrap();
        for member in written.as_object().unwrap().keys() {
            assert!(!schema["properties"][member].is_null(), "{}: {member}", problem.code);
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(openapi()).unwrap();
    let mut references = 0;
    for part in openapi().split("\"$ref\": \"#").skip(1) {
        let place = part.split('"').next().unwrap();
        assert!(document.pointer(place).is_some(), "{place}");
        references += 1;
    }
    assert!(references > 50, "{references}");
}

#[test]
fn no_door_stands_outside_the_list() {
    let source = include_str!("../router.rs");
    let ways = [".route(", ".route_service(", ".nest(", ".merge(", ".fallback("];
    let used: Vec<usize> = ways.iter().map(|way| source.matches(way).count()).collect();
    // The list, and what answers where there is no door.
    assert_eq!(used, [1, 0, 0, 0, 1], "a URL that is not in the list would not be described");
}
