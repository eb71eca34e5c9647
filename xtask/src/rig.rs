//! What others wrote and tests drive: an OAuth server, and what moves a browser. Their packages are installed once into
//! the target folder.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use jeton_testkit::{project_root, rig_directory};

use crate::tools::{self, print_line};

const RIGS: [&str; 2] = ["oidc-provider", "browser"];
const FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// Installs the packages of every rig, unless just these versions are there.
pub(crate) fn install() -> Result<()> {
    tools::node()?;
    RIGS.into_iter().try_for_each(install_one)
}

fn install_one(name: &str) -> Result<()> {
    let (source, place) = (project_root().join("rigs").join(name), rig_directory(name));
    fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
    if is_installed(&source, &place)? {
        return Ok(());
    }
    for file in FILES {
        fs::copy(source.join(file), place.join(file))
            .with_context(|| format!("copying {file} of rigs/{name}"))?;
    }
    print_line(&format!("      installing the packages of rigs/{name}"));
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]).current_dir(&place);
    tools::run(npm)?;
    // Written last: an interrupted install leaves no mark and is done anew.
    fs::copy(source.join("package-lock.json"), mark(&place)).context("marking the packages as installed")?;
    Ok(())
}

fn mark(place: &Path) -> std::path::PathBuf {
    place.join("node_modules").join(".installed-lock.json")
}

fn is_installed(source: &Path, place: &Path) -> Result<bool> {
    let wanted = fs::read(source.join("package-lock.json")).context("reading the rig's package-lock.json")?;
    Ok(fs::read(mark(place)).is_ok_and(|installed| installed == wanted))
}
