//! Folders and programs of the project.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// The folder of the workspace.
pub fn project_root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This crate lies two folders below the root.
    here.ancestors().nth(2).unwrap_or(here)
}

/// The target folder that the running executable was built into, or the usual one.
pub(crate) fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => project_root().join(directory),
        None => project_root().join("target"),
    }
}

/// Where a rig's packages are installed and where it runs.
pub fn rig_directory(name: &str) -> PathBuf {
    target_directory().join("rigs").join(name)
}

/// The Python that runs callers in that language: one of its own, with the package that they use.
pub fn python() -> PathBuf {
    target_directory().join("python").join("bin").join("python3")
}

/// Copies a rig's program beside its packages, where Node.js looks for them. Several tests may do so at once: each file is
/// replaced in one step.
pub(crate) fn install_program(rig: &str, files: &[&str]) -> Result<()> {
    let directory = rig_directory(rig);
    for name in files {
        let source = fs::read(project_root().join("rigs").join(rig).join(name))
            .context("reading the rig's program")?;
        let target = directory.join(name);
        if fs::read(&target).is_ok_and(|present| present == source) {
            continue;
        }
        let file = NamedTempFile::new_in(&directory).context("writing the rig's program")?;
        fs::write(file.path(), source)?;
        file.persist(&target).context("installing the rig's program")?;
    }
    Ok(())
}

/// The program of nginx, also where it is in no search path of users who are not root.
///
/// # Errors
/// It is not installed; the error says how to install it.
pub fn nginx_program() -> Result<PathBuf> {
    find_program(&["nginx"], &["/usr/sbin", "/usr/local/sbin"])
        .context("nginx is not installed: `cargo xtask test --only tools` installs it")
}

/// The program of Chromium.
///
/// # Errors
/// It is not installed; the error says how to install it.
pub fn chromium() -> Result<PathBuf> {
    find_program(&["chromium", "chromium-browser"], &[]).context(
        "Chromium is not installed: on Debian `apt-get install chromium`; `cargo xtask test` does so by itself",
    )
}

/// The program of PgBouncer, where it is installed.
pub fn pgbouncer_program() -> Option<PathBuf> {
    // Debian installs it there, which is in no search path of users who are not root.
    find_program(&["pgbouncer"], &["/usr/sbin"])
}

/// The first of these programs in `PATH` or in one of these folders.
fn find_program(names: &[&str], folders: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(folders.iter().map(PathBuf::from));
    folders
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|program| program.is_file())
}

/// The `jeton` binary: the one that `JETON_BIN` names, or the one of the same profile as the running test.
///
/// # Errors
/// It has not been built; `cargo xtask test` builds it.
pub fn jeton_binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("JETON_BIN") {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("JETON_BIN names {}, which is not a file", named.display());
        }
        return Ok(named);
    }
    let running = std::env::current_exe().context("locating this test")?;
    let name = format!("jeton{EXE_SUFFIX}");
    let beside = running.ancestors().skip(1).map(|folder| folder.join(&name)).find(|path| path.is_file());
    beside.with_context(|| {
        format!(
            "`{name}` was not found beside {}: run `cargo build --bin jeton`, or set JETON_BIN",
            running.display()
        )
    })
}
