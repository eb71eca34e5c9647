//! The examples run, with no account anywhere, and show what they say.

use std::path::PathBuf;
use std::process::Command;

/// What an example prints. Examples are built with the tests, beside them.
fn run(name: &str) -> String {
    let test: PathBuf = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples").join(name);
    let ended =
        Command::new(&example).output().unwrap_or_else(|error| panic!("{}: {error}", example.display()));
    let output = String::from_utf8(ended.stdout).unwrap();
    assert!(ended.status.success(), "{output}\n{}", String::from_utf8_lossy(&ended.stderr));
    output
}

#[test]
fn first_token_is_what_the_readme_shows() {
    let readme = std::fs::read_to_string(jeton_testkit::project_root().join("README.md")).unwrap();
    let shown = readme.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    let example = include_str!("../../examples/first_token.rs").replace("\n    ", "\n");
    assert!(shown.lines().count() > 3 && example.contains(shown), "{shown}");
    assert!(run("first_token").starts_with("Authorization: Bearer "));
}

#[test]
fn single_flight() {
    assert_eq!(run("single_flight"), "1000 tasks got 1 token, from 1 refresh\n");
}

#[test]
fn reqwest() {
    let expected =
        "before: 200 OK\nafter the token was revoked: 50 of 50 calls answered 200, with 1 refresh more\n";
    assert_eq!(run("reqwest"), expected);
}

#[test]
fn two_processes() {
    let output = run("two_processes");
    let last = output.lines().last().unwrap();
    let numbers: Vec<u64> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] >= 2 && numbers[0] == numbers[1], "{output}");
    assert_eq!(output.lines().filter(|line| line.contains("live tokens")).count(), 2, "{output}");
}
