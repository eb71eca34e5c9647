//! Each rule is shown to fail on a tree that breaks it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A small tree that breaks nothing, with these files put in place of its own or beside them.
fn breaches_with(files: &[(&str, &str)]) -> Vec<String> {
    let tree = sound_tree();
    for (place, text) in files {
        write(tree.path(), place, text);
    }
    check(tree.path()).unwrap().iter().map(ToString::to_string).collect()
}

fn sound_tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    write(
        root,
        "ARCHITECTURE.md",
        "# Map\n\n| where | what |\n|---|---|\n| `crates/core` | a |\n| `crates/keeper` | b |\n",
    );
    write(
        root,
        "crates/core/Cargo.toml",
        "[package]\nname = \"jeton-core\"\n[dependencies]\nserde = \"1\"\n",
    );
    write(root, "crates/core/src/lib.rs", "//! rules\n");
    write(
        root,
        "crates/keeper/Cargo.toml",
        "[package]\nname = \"jeton-keeper\"\n[dependencies]\njeton-core.workspace = true\ntokio = \"1\"\n",
    );
    write(root, "crates/keeper/src/lib.rs", "//! keeps\npub fn keep() {}\n");
    tree
}

fn write(root: &Path, place: &str, text: &str) {
    let path = root.join(place);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn manifest(dependencies: &str) -> String {
    format!("[package]\nname = \"x\"\n{dependencies}")
}

fn the_only(breaches: &[String]) -> &str {
    assert_eq!(breaches.len(), 1, "{breaches:#?}");
    &breaches[0]
}

#[test]
fn a_tree_that_keeps_the_rules_has_no_breach() {
    assert_eq!(breaches_with(&[]), Vec::<String>::new());
}

#[test]
fn an_arrow_that_is_not_drawn_is_refused() {
    let keeper = manifest("[dependencies]\njeton-store.workspace = true\n");
    let breaches = breaches_with(&[("crates/keeper/Cargo.toml", &keeper)]);
    let said = the_only(&breaches);
    assert_eq!(
        said,
        "error: crates/keeper/Cargo.toml: `keeper` must not depend on `store`; it may depend on core"
    );
}

#[test]
fn a_renamed_or_target_specific_dependency_does_not_hide_an_arrow() {
    let renamed = manifest("[dependencies]\nrows = { package = \"jeton-store\", path = \"../store\" }\n");
    let targeted = manifest("[target.'cfg(unix)'.dependencies]\njeton-store.workspace = true\n");
    for text in [renamed, targeted] {
        let breaches = breaches_with(&[("crates/keeper/Cargo.toml", &text)]);
        assert!(the_only(&breaches).contains("must not depend on `store`"));
    }
}

#[test]
fn tests_may_add_the_rigs_and_nothing_else() {
    let rigs = manifest(
        "[dev-dependencies]\njeton-testkit.workspace = true\njeton-emulator.workspace = true\njeton-store.workspace = true\n",
    );
    assert_eq!(breaches_with(&[("crates/keeper/Cargo.toml", &rigs)]), Vec::<String>::new());
    let server = manifest("[dev-dependencies]\njeton-server.workspace = true\n");
    let breaches = breaches_with(&[("crates/keeper/Cargo.toml", &server)]);
    assert!(the_only(&breaches).contains("the tests of `keeper` must not depend on `server`"));
}

#[test]
fn nothing_but_tests_and_xtask_may_use_the_testkit() {
    let breaches = breaches_with(&[
        ("crates/cli/Cargo.toml", &manifest("[dependencies]\njeton-testkit.workspace = true\n")),
        ("ARCHITECTURE.md", "| `crates/core` |\n| `crates/keeper` |\n| `crates/cli` |\n"),
    ]);
    assert!(the_only(&breaches).contains("`cli` must not depend on `testkit`"));
}

#[test]
fn a_circle_is_named_from_end_to_end() {
    let keeper = manifest("[dependencies]\njeton-core.workspace = true\n");
    let core = manifest("[dev-dependencies]\njeton-keeper.workspace = true\n");
    let breaches = breaches_with(&[("crates/keeper/Cargo.toml", &keeper), ("crates/core/Cargo.toml", &core)]);
    assert!(breaches.iter().any(|b| b.contains("in a circle: core -> keeper -> core")), "{breaches:#?}");
}

#[test]
fn tests_may_turn_on_a_feature_of_their_own_crate_but_a_crate_does_not_need_itself() {
    let feature = manifest("[dev-dependencies]\njeton-keeper = { path = \".\", features = [\"story\"] }\n");
    assert_eq!(breaches_with(&[("crates/keeper/Cargo.toml", &feature)]), Vec::<String>::new());
    let itself = manifest("[dependencies]\njeton-keeper.workspace = true\n");
    let breaches = breaches_with(&[("crates/keeper/Cargo.toml", &itself)]);
    assert!(breaches.iter().any(|b| b.contains("in a circle: keeper -> keeper")), "{breaches:#?}");
}

#[test]
fn core_has_no_io() {
    for package in ["tokio", "hyper", "rusqlite"] {
        let core = manifest(&format!("[dependencies]\n{package} = \"1\"\n"));
        let breaches = breaches_with(&[("crates/core/Cargo.toml", &core)]);
        assert!(the_only(&breaches).contains(&format!("must not depend on `{package}`")));
    }
}

#[test]
fn a_crate_that_the_map_does_not_show_is_refused_and_so_is_a_stale_row() {
    let map = "| where |\n|---|\n| `crates/core` |\n| `crates/gone` |\n";
    let breaches = breaches_with(&[("ARCHITECTURE.md", map)]);
    assert_eq!(breaches.len(), 2, "{breaches:#?}");
    assert!(breaches[0].starts_with("error: ARCHITECTURE.md: the map shows `crates/gone`"));
    assert!(breaches[1].starts_with("error: crates/keeper: the map in ARCHITECTURE.md does not show"));
}

#[test]
fn a_crate_without_arrows_is_refused() {
    let map = "| `crates/core` |\n| `crates/keeper` |\n| `crates/odd` |\n";
    let breaches = breaches_with(&[("ARCHITECTURE.md", map), ("crates/odd/Cargo.toml", &manifest(""))]);
    assert!(the_only(&breaches).contains("no arrow is drawn for the crate `odd`"));
}

#[test]
fn names_that_say_nothing_are_refused_for_files_and_folders() {
    let breaches =
        breaches_with(&[("crates/core/src/keep/util.rs", ""), ("crates/core/src/helpers/x.rs", "")]);
    assert_eq!(breaches.len(), 2, "{breaches:#?}");
    assert!(breaches[0].contains("crates/core/src/helpers: the name `helpers` says nothing"));
    assert!(breaches[1].contains("crates/core/src/keep/util.rs: the name `util` says nothing"));
}

#[test]
fn a_long_file_is_an_error_and_a_long_test_a_warning() {
    let long = "\n".repeat(501);
    let breaches = breaches_with(&[("crates/core/src/lib.rs", &long)]);
    assert!(the_only(&breaches).starts_with("error: crates/core/src/lib.rs: 501 lines"));
    for test in ["crates/core/tests/it/x.rs", "crates/core/src/due_tests.rs", "crates/core/src/due/tests.rs"]
    {
        let breaches = breaches_with(&[(test, &long)]);
        assert!(the_only(&breaches).starts_with(&format!("warning: {test}")));
    }
    let enough = "\n".repeat(500);
    assert_eq!(breaches_with(&[("crates/core/src/lib.rs", &enough)]), Vec::<String>::new());
}

#[test]
fn a_function_named_handle_something_is_refused_with_its_line() {
    let text = "// fn handle_comment\n\npub(crate) async fn handle_request() {}\n";
    let breaches = breaches_with(&[("crates/core/src/lib.rs", text)]);
    assert!(
        the_only(&breaches).starts_with("error: crates/core/src/lib.rs:3: `handle_request` says nothing")
    );
}

#[test]
fn a_warning_does_not_fail_the_check_and_an_error_does() {
    let tree = sound_tree();
    write(tree.path(), "crates/core/tests/it/x.rs", &"\n".repeat(501));
    run(tree.path()).unwrap();
    write(tree.path(), "crates/core/src/info.rs", "");
    let error = run(tree.path()).unwrap_err().to_string();
    assert_eq!(error, "the tree breaks 1 of its rules, named above");
}
