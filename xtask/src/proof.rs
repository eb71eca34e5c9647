//! What all proofs have in common: the binary they run, how they end, and where their figures are written.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_testkit::{ServerProcess, project_root};
use serde::Serialize;
use serde_json::Value;

use crate::tools::{self, cargo, print_line};

/// The profile that this program, and so the binary it runs, was built with.
pub(crate) const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// How long things may take that are quick on any machine.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// What is written, with the machine and the commit it was measured on.
#[derive(Serialize)]
struct Measurement<'a, F> {
    proof: &'a str,
    at: Timestamp,
    /// Followed by `+dirty` where the work tree is not that commit; absent outside a checkout.
    commit: Option<String>,
    profile: &'static str,
    cores: usize,
    figures: &'a F,
}

/// Builds the binary and carries out a proof, which returns its figures and what it found wrong. Prints both, and writes the
/// figures as JSON to `target/proofs`.
///
/// # Errors
/// The proof could not be carried out, or it found something wrong.
pub(crate) fn run<F: Serialize>(
    name: &str,
    proof: impl Future<Output = Result<(F, Vec<String>)>>,
) -> Result<()> {
    build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let (figures, findings) =
        runtime.context("starting the runtime")?.block_on(proof).with_context(|| name.to_owned())?;
    for line in figure_lines(name, &serde_json::to_value(&figures)?) {
        print_line(&format!("      {line}"));
    }
    for finding in &findings {
        print_line(&format!("      {name}: FOUND {finding}"));
    }
    write(name, &figures)?;
    match findings.len() {
        0 => Ok(()),
        count => bail!("{name}: {count} findings, listed above"),
    }
}

/// The figures for people: those of an object on a line, and each object within it on a line of its own. Of a list they say the
/// length.
fn figure_lines(name: &str, figures: &Value) -> Vec<String> {
    let members = figures.as_object().into_iter().flatten();
    let (objects, values): (Vec<_>, Vec<_>) = members.partition(|(_, value)| value.is_object());
    let text = |(name, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::Array(items) => Some(format!("{name} {}", items.len())),
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map(|number| format!("{name} {number:.2}"))
        }
        value => Some(format!("{name} {value}")),
    };
    let values: Vec<String> = values.into_iter().filter_map(text).collect();
    let within =
        objects.into_iter().flat_map(|(member, value)| figure_lines(&format!("{name}, {member}"), value));
    let own = (!values.is_empty()).then(|| format!("{name}: {}", values.join(", ")));
    own.into_iter().chain(within).collect()
}

/// The findings of the rules that do not hold.
pub(crate) fn broken(rules: impl IntoIterator<Item = (bool, String)>) -> Vec<String> {
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, finding)| finding).collect()
}

/// Builds the binary that a proof runs, so that what is measured is the tree as it is; unless `JETON_BIN` names another.
fn build() -> Result<()> {
    if std::env::var_os("JETON_BIN").is_some() {
        return Ok(());
    }
    let mut build = cargo(&["build", "--quiet", "--workspace", "--bins"]);
    if PROFILE == "release" {
        build.arg("--release");
    }
    tools::run(build)
}

/// Builds everything with optimizations, and runs this command again with that build.
///
/// # Errors
/// It does not compile, or fails.
pub(crate) fn run_optimized() -> Result<()> {
    print_line("      building with optimizations, which takes some minutes the first time");
    tools::run(cargo(&["build", "--release", "--quiet", "--workspace", "--bins"]))?;
    let program = std::env::current_exe().context("finding the path of this program")?;
    let target = program.parent().and_then(Path::parent).context("a program is in its profile's folder")?;
    let mut command = tools::command(target.join("release").join("xtask"), &[]);
    command.args(std::env::args_os().skip(1));
    tools::run(command)
}

/// Ends a server (`SIGTERM`); returns what it wrote.
///
/// # Errors
/// It does not end in time, or not with 0.
pub(crate) async fn end(server: &mut ServerProcess) -> Result<String> {
    server.terminate()?;
    let status = server.wait(TIMEOUT).await?;
    let output = server.output()?;
    ensure!(status.success(), "the server ended with {status} after SIGTERM\n{output}");
    Ok(output)
}

fn write(name: &str, figures: &impl Serialize) -> Result<()> {
    let folder: PathBuf = project_root().join("target").join("proofs");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let measurement = Measurement {
        proof: name,
        at: SystemClock.now(),
        commit: commit(project_root()),
        profile: PROFILE,
        cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        figures,
    };
    let path = folder.join(format!("{}.json", name.replace(", ", "-").replace(' ', "-")));
    fs::write(&path, serde_json::to_string_pretty(&measurement)?)
        .with_context(|| format!("writing {}", path.display()))
}

/// What the work tree at `folder` is.
fn commit(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let place = ["-C", folder.to_str()?, "--no-optional-locks"];
        tools::answer("git", &[&place[..], arguments].concat())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=normal"])?;
    Some(if changes.is_empty() { commit } else { commit + "+dirty" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_printed_by_their_names() {
        let figures = json!({"seed": 1, "first": null, "seconds": 1.0, "calls": {"good": 2, "errors": {}, "seen": ["x"]}});
        assert_eq!(figure_lines("p", &figures), ["p: seconds 1.00, seed 1", "p, calls: good 2, seen 1"]);
    }

    #[test]
    fn a_work_tree_with_changes_is_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let tracked = folder.path().join("tracked");
        let git = |arguments: &[&str]| {
            let who =
                ["-C", folder.path().to_str().unwrap(), "-c", "user.name=a", "-c", "user.email=a@b.example"];
            let done = tools::answer("git", &[&who[..], arguments].concat());
            assert!(done.is_some(), "git {arguments:?}");
        };
        git(&["init"]);
        assert_eq!(commit(folder.path()), None);
        fs::write(&tracked, "1").unwrap();
        git(&["add", "tracked"]);
        git(&["-c", "commit.gpgsign=false", "commit", "-m", "one"]);
        let clean = commit(folder.path()).unwrap();
        assert!(clean.len() >= 4 && clean.chars().all(|digit| digit.is_ascii_hexdigit()), "{clean}");

        fs::write(&tracked, "2").unwrap();
        assert_eq!(commit(folder.path()), Some(format!("{clean}+dirty")));
        fs::write(&tracked, "1").unwrap();
        assert_eq!(commit(folder.path()), Some(clean.clone()));
        fs::write(folder.path().join("untracked"), "").unwrap();
        assert_eq!(commit(folder.path()), Some(format!("{clean}+dirty")));
    }
}
