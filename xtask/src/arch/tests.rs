//! Each rule is shown to fail on a tree that breaks it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::breach::Rule;
use super::*;

/// A small tree that breaks nothing, with these files put in place of its own or beside them.
fn breaches_with(files: &[(&str, &str)]) -> Vec<String> {
    let tree = sound_tree();
    for (place, text) in files {
        write(tree.path(), place, text);
    }
    check(tree.path()).unwrap().iter().map(ToString::to_string).collect()
}

/// Those among them that break this rule.
fn breaches_of(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let rule = format!(": {}: ", format!("{rule:?}").to_lowercase());
    breaches_with(files).into_iter().filter(|breach| breach.contains(&rule)).collect()
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
        "error: arrows: crates/keeper/Cargo.toml: `keeper` must not depend on `store`; it may depend on core"
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
    assert!(breaches[0].starts_with("error: map: ARCHITECTURE.md: the map shows `crates/gone`"));
    assert!(breaches[1].starts_with("error: map: crates/keeper: the map in ARCHITECTURE.md does not show"));
}

#[test]
fn a_crate_without_arrows_is_refused() {
    let map = "| `crates/core` |\n| `crates/keeper` |\n| `crates/odd` |\n";
    let breaches = breaches_with(&[("ARCHITECTURE.md", map), ("crates/odd/Cargo.toml", &manifest(""))]);
    assert!(the_only(&breaches).contains("no arrow is drawn for the crate `odd`"));
}

#[test]
fn names_that_say_nothing_are_refused_for_files_and_folders() {
    let breaches = breaches_of(
        Rule::Names,
        &[("crates/core/src/keep/util.rs", ""), ("crates/core/src/helpers/x.rs", "")],
    );
    assert_eq!(breaches.len(), 2, "{breaches:#?}");
    assert!(breaches[0].contains("crates/core/src/helpers: the name `helpers` says nothing"));
    assert!(breaches[1].contains("crates/core/src/keep/util.rs: the name `util` says nothing"));
}

#[test]
fn a_long_file_is_an_error_and_a_long_test_a_warning() {
    let long = "\n".repeat(701);
    let breaches = breaches_with(&[("crates/core/src/lib.rs", &long)]);
    assert!(the_only(&breaches).starts_with("error: sizes: crates/core/src/lib.rs: 701 lines"));
    let lib = ("crates/core/src/lib.rs", "#[cfg(test)]\nmod due_tests;");
    for test in ["crates/core/tests/it/x.rs", "crates/core/src/due_tests.rs"] {
        let breaches = breaches_with(&[lib, (test, &long)]);
        assert!(the_only(&breaches).starts_with(&format!("warning: sizes: {test}")));
    }
    let enough = "\n".repeat(700);
    assert_eq!(breaches_with(&[("crates/core/src/lib.rs", &enough)]), Vec::<String>::new());
}

#[test]
fn a_short_file_is_refused_unless_it_only_names_modules() {
    let lib = ("crates/core/src/lib.rs", "mod a;\nmod b;");
    let facade = ("crates/core/src/b.rs", "mod c;\npub use c::C;");
    let breaches = breaches_with(&[lib, ("crates/core/src/a.rs", "pub const A: u8 = 0;"), facade]);
    assert!(the_only(&breaches).starts_with("error: sizes: crates/core/src/a.rs: 1 lines, fewer than 20"));
}

#[test]
fn a_function_named_handle_something_is_refused_with_its_line() {
    let text = "// fn handle_comment\n\npub(crate) async fn handle_request() {}\n";
    let breaches = breaches_with(&[("crates/core/src/lib.rs", text)]);
    assert!(
        the_only(&breaches)
            .starts_with("error: names: crates/core/src/lib.rs:3: `handle_request` says nothing")
    );
}

#[test]
fn files_that_name_each_other_are_a_circle_with_the_names_that_tie_it() {
    let lib = ("crates/core/src/lib.rs", "mod a;\nmod b;\nmod c;\npub use a::Alpha;");
    let a = ("crates/core/src/a.rs", "use crate::b::*;\npub struct Alpha(Beta);");
    let c = ("crates/core/src/c.rs", "pub fn third() { crate::b::beta() }");
    for b in [
        "use crate::Alpha;\npub struct Beta;",
        "pub struct Beta;\nfn b() { vec![super::Alpha] }",
        "use crate::a;\npub struct Beta;\nmod inner { fn b(_: &super::a::Alpha) {} }",
    ] {
        let circles = breaches_of(Rule::Circles, &[lib, a, c, ("crates/core/src/b.rs", b)]);
        assert!(the_only(&circles).ends_with("circle: a.rs -[Beta]-> b.rs -[Alpha]-> a.rs"), "{circles:?}");
    }
    for b in [
        "pub struct Beta;",
        "pub struct Beta;\n#[cfg(test)]\nmod tests { use crate::Alpha; }",
        "mod a {} pub struct Beta; fn f() { a::Alpha }",
    ] {
        let circles = breaches_of(Rule::Circles, &[lib, a, c, ("crates/core/src/b.rs", b)]);
        assert_eq!(circles, Vec::<String>::new());
    }
}

#[test]
fn a_type_may_be_implemented_in_three_files_and_not_in_four() {
    let lib = "pub struct A<T>(T);\nmod b;\nmod c;\nmod d;\n#[cfg(test)]\nmod e;\nimpl<T> A<T> {}";
    let file = |name, text| (format!("crates/core/src/{name}.rs"), text);
    let four = [
        file("b", "impl super::A<u8> {}"),
        file("c", "use crate::A;\nimpl<T: Fn() -> u8> From<A<T>> for A<T> where T: B {}"),
        file("d", "impl Drop for &'a crate::A<u8> {}"),
        file("e", "impl super::A<u8> {}"),
    ];
    let found = |count: usize| {
        let files = four.iter().take(count).map(|(place, text)| (place.as_str(), *text));
        breaches_of(Rule::Impls, &files.chain([("crates/core/src/lib.rs", lib)]).collect::<Vec<_>>())
    };
    assert!(the_only(&found(4)).contains("crates/core/src/lib.rs: `impl A` stands in 4 files"));
    assert_eq!(found(2), Vec::<String>::new());
}

#[test]
fn a_name_is_one_type_in_a_crate_and_in_three_crates_at_most() {
    let two = "mod a { pub struct A; impl B for A { type Err = u8; } }\nmod b { pub type Err = u8; }";
    let other = ("crates/core/src/b.rs", "pub enum A {}\npub struct Error;");
    let files = [("crates/core/src/lib.rs", "mod b;\npub struct Error;\nmod c { pub struct A; }"), other];
    assert_eq!(breaches_of(Rule::Types, &[("crates/core/src/lib.rs", two)]), Vec::<String>::new());
    assert!(
        the_only(&breaches_of(Rule::Types, &files))
            .ends_with("`A` is another type in crates/core/src/lib.rs")
    );
    let places = ["core", "keeper", "store", "cli"].map(|name| format!("crates/{name}/src/lib.rs"));
    let found = |count| {
        let files = places.iter().take(count).map(|place| (place.as_str(), "struct A;"));
        let manifests = [("crates/store/Cargo.toml", ""), ("crates/cli/Cargo.toml", "")];
        breaches_of(Rule::Types, &files.chain(manifests).collect::<Vec<_>>())
    };
    assert_eq!(found(3), Vec::<String>::new());
    assert!(the_only(&found(4)).contains("`A` is another type in 4 crates"));
}

#[test]
fn a_warning_does_not_fail_the_check_and_an_error_does() {
    let tree = sound_tree();
    write(tree.path(), "crates/core/tests/it/x.rs", &"\n".repeat(701));
    run(tree.path()).unwrap();
    write(tree.path(), "crates/core/src/info.rs", "");
    let error = run(tree.path()).unwrap_err().to_string();
    assert_eq!(error, "the tree breaks 1 of its rules, named above");
}

#[test]
fn stop_words_are_found_in_pages_documentation_and_messages_alone() {
    let lib = "//! A House-mate.\n// a door\n/// outdoors\nfn door() -> &'static str { \"door\" }\n#[cfg(test)]\nmod t { const T: &str = \"the door\"; }\nconst M: &str = \"no\n such doors\";";
    let page = ("docs/guides/a.md", "Two requests in flight.\nThe Pilot lands.");
    let words = breaches_of(Rule::Words, &[("crates/core/src/lib.rs", lib), page]);
    let places: Vec<&str> = words.iter().filter_map(|word| word.split(" is no plain").next()).collect();
    let found = |place, word| format!("error: words: {place}: `{word}`");
    assert_eq!(
        places,
        [
            found("crates/core/src/lib.rs:1", "house"),
            found("crates/core/src/lib.rs:8", "door"),
            found("docs/guides/a.md:2", "pilot")
        ]
    );
}

#[test]
fn a_long_subject_is_found_in_what_there_is_of_the_history() {
    let tree = sound_tree();
    let subjects =
        |tree: &TempDir| check(tree.path()).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(subjects(&tree), Vec::<String>::new());
    let root = tree.path().to_str().unwrap();
    let git = |arguments: &[&str]| {
        let who =
            ["-C", root, "-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"];
        crate::tools::answer("git", &[&who[..], arguments].concat()).unwrap();
    };
    git(&["init"]);
    git(&["commit", "--allow-empty", "-m", &"x".repeat(72)]);
    assert_eq!(subjects(&tree), Vec::<String>::new());
    git(&["commit", "--allow-empty", "-m", &"y".repeat(73)]);
    assert!(the_only(&subjects(&tree)).contains("the subject is longer than 72 characters: yyy"));
}
