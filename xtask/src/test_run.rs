//! The one test command: what `cargo xtask test` runs, in which order.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use jeton_core::time::{Clock, SystemClock};
use jeton_testkit::project_root;

use crate::tools::{cargo, print_line, run as run_command};
use crate::{
    arch, clocks, concurrent_refresh, conformance, gateway, isolation, keep_alive, many_connections, outage,
    rig, rotation, soak, tools,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Only the steps with these names
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
}

struct TestStep {
    name: &'static str,
    act: fn() -> Result<()>,
}

const STEPS: [TestStep; 21] = [
    TestStep { name: "tools", act: tools },
    TestStep { name: "fmt", act: || run_command(cargo(&["fmt", "--all", "--check"])) },
    TestStep { name: "clippy", act: clippy },
    TestStep { name: "build", act: || run_command(cargo(&["build", "--quiet", "--workspace", "--bins"])) },
    TestStep { name: "rig", act: rig::install },
    TestStep { name: "nextest", act: || run_command(cargo(&["nextest", "run", "--workspace"])) },
    TestStep { name: "nextest-postgres", act: nextest_postgres },
    TestStep { name: "doc", act: doc },
    TestStep { name: "vectors", act: vectors },
    TestStep { name: "check-arch", act: || arch::run(project_root()) },
    TestStep { name: "conformance", act: || conformance::run(&conformance::Options::short()) },
    TestStep { name: "keep-alive", act: || keep_alive::run(&keep_alive::Options::short()) },
    TestStep {
        name: "concurrent-refresh",
        act: || concurrent_refresh::run(&concurrent_refresh::Options::short()),
    },
    TestStep { name: "clocks", act: clocks::run_short },
    TestStep { name: "outage", act: outage::run_short },
    TestStep { name: "isolation", act: || isolation::run(&isolation::Options::short()) },
    TestStep { name: "rotation", act: || rotation::run(&rotation::Options::short()) },
    TestStep { name: "gateway", act: || gateway::run(&gateway::Options::short()) },
    TestStep { name: "many-connections", act: many_connections::run_short },
    TestStep { name: "soak", act: || soak::run(&soak::Options::short()) },
    TestStep { name: "soak-postgres", act: soak::run_short_on_postgres },
];

/// Runs the steps in order; the first that fails ends the run.
pub(crate) fn run(options: &Options) -> Result<()> {
    let steps = chosen(&options.only)?;
    let (clock, count) = (SystemClock, steps.len());
    let begun = clock.uptime();
    for (index, step) in (1..).zip(steps) {
        let name = step.name;
        print_line(&format!("[{index}/{count}] {name}"));
        let from = clock.uptime();
        let done = (step.act)();
        let took = seconds(clock.uptime().saturating_sub(from));
        let result = if done.is_ok() { "ok" } else { "FAILED" };
        print_line(&format!("[{index}/{count}] {name}: {result} in {took}"));
        done.with_context(|| {
            format!("the step `{name}` failed; `cargo xtask test --only {name}` runs it alone")
        })?;
    }
    print_line(&format!("all {count} steps ok in {}", seconds(clock.uptime().saturating_sub(begun))));
    Ok(())
}

fn chosen(only: &[String]) -> Result<Vec<&'static TestStep>> {
    if let Some(unknown) = only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("there is no step `{unknown}`; there are {}", names.join(", "));
    }
    Ok(STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)).collect())
}

fn tools() -> Result<()> {
    tools::node()?;
    tools::chromium()?;
    tools::postgres()?;
    tools::nginx_program()?;
    tools::python()?;
    tools::shell_tools()?;
    tools::nextest()
}

/// The tests that leave open which store they stand on, once more on PostgreSQL.
fn nextest_postgres() -> Result<()> {
    let mut command = cargo(&["nextest", "run", "--workspace", "--profile", "postgres"]);
    command.env("JETON_TEST_STORE", "postgres");
    run_command(command)
}

/// The whole of it, and the library as a program may take it: with none of its features, and with each alone.
fn clippy() -> Result<()> {
    strict_clippy(&["--workspace", "--all-targets"])?;
    let features = library_features()?;
    let alone = std::iter::once("").chain(features.iter().map(String::as_str));
    for feature in alone {
        strict_clippy(&["--package", "jeton", "--no-default-features", "--features", feature])?;
    }
    Ok(())
}

fn strict_clippy(what: &[&str]) -> Result<()> {
    run_command(cargo(&[&["clippy", "--quiet"], what, &["--", "-D", "warnings"]].concat()))
}

fn library_features() -> Result<Vec<String>> {
    let manifest: toml::Table =
        fs::read_to_string(project_root().join("crates/jeton/Cargo.toml"))?.parse()?;
    let features = manifest.get("features").and_then(toml::Value::as_table);
    Ok(features.context("the library has no features")?.keys().cloned().collect())
}

/// The documentation: no link leads nowhere, and every example runs.
fn doc() -> Result<()> {
    let mut command = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--all-features"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run_command(command)?;
    run_command(cargo(&["test", "--quiet", "--doc", "--workspace"]))
}

/// The golden vectors of every provider file, by the binary that users have.
fn vectors() -> Result<()> {
    let binary = jeton_testkit::jeton_binary()?;
    run_command(tools::command(binary, &["provider", "test"]))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_steps_keep_their_order_and_an_unknown_one_is_named() {
        let steps = chosen(&["soak".to_owned(), "fmt".to_owned()]).unwrap();
        assert_eq!(steps.iter().map(|step| step.name).collect::<Vec<_>>(), ["fmt", "soak"]);
        assert_eq!(chosen(&[]).unwrap().len(), STEPS.len());
        let error = chosen(&["fnt".to_owned()]).err().unwrap().to_string();
        assert!(error.contains("`fnt`") && error.contains("fmt, clippy"), "{error}");
    }

    #[test]
    fn the_features_of_the_library_are_read_from_its_manifest() {
        assert_eq!(library_features().unwrap(), ["postgres", "reqwest", "sqlite", "tower"]);
    }
}
