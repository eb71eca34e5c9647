//! What all proofs have in common: the binary they run, how they end, and where their figures are kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_testkit::project_root;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::report;
use crate::tools::{self, cargo};

/// The profile that this program, and so the binary it runs, was built with.
pub(crate) const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// Figures, and what they were measured on.
#[derive(Serialize)]
struct Kept<'a, F> {
    proof: &'a str,
    at: Timestamp,
    /// Followed by `+dirty` where the work tree is not that commit; absent outside a checkout.
    commit: Option<String>,
    profile: &'static str,
    cores: usize,
    figures: &'a F,
}

/// Builds the binary that a proof runs, so that what is measured is the tree as it is; unless `JETON_BIN` names another.
///
/// # Errors
/// It does not compile.
pub(crate) fn build() -> Result<()> {
    if std::env::var_os("JETON_BIN").is_some() {
        return Ok(());
    }
    let mut build = cargo(&["build", "--quiet", "--workspace", "--bins"]);
    if PROFILE == "release" {
        build.arg("--release");
    }
    tools::run(build)
}

/// Where a proof runs.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

/// Says the figures, writes them as JSON below the target folder, and fails when anything was found.
///
/// # Errors
/// Something was found, or the file cannot be written.
pub(crate) fn end(
    name: &str,
    lines: &[String],
    figures: &impl Serialize,
    findings: &[String],
    seed: u64,
) -> Result<()> {
    for line in lines {
        report::line(&format!("      {name}: {line}"));
    }
    for finding in findings {
        report::line(&format!("      {name}: FOUND {finding}"));
    }
    keep(name, figures)?;
    match findings.len() {
        0 => Ok(()),
        count => bail!("{name}: found {count} things that must not be (seed {seed})"),
    }
}

fn keep(name: &str, figures: &impl Serialize) -> Result<()> {
    let folder: PathBuf = project_root().join("target").join("proofs");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let kept = Kept {
        proof: name,
        at: SystemClock.now(),
        commit: commit(project_root()),
        profile: PROFILE,
        cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        figures,
    };
    let path = folder.join(format!("{}.json", name.replace(", ", "-").replace(' ', "-")));
    fs::write(&path, serde_json::to_string_pretty(&kept)?)
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
    use super::*;

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
