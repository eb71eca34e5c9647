//! Where things lie in the project.

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

/// Puts a rig's program beside its packages, where Node.js looks for them. Several tests may do so at once: each file is
/// replaced in one step.
pub(crate) fn place_program(rig: &str, files: &[&str]) -> Result<()> {
    let directory = rig_directory(rig);
    for name in files {
        let source = fs::read(project_root().join("rigs").join(rig).join(name))
            .context("reading the rig's program")?;
        let place = directory.join(name);
        if fs::read(&place).is_ok_and(|present| present == source) {
            continue;
        }
        let file = NamedTempFile::new_in(&directory).context("writing the rig's program")?;
        fs::write(file.path(), source)?;
        file.persist(&place).context("placing the rig's program")?;
    }
    Ok(())
}

/// The `jeton` binary: what `JETON_BIN` names, or the one that lies beside the running test in its profile's folder.
///
/// # Errors
/// There is none: it has to be built first, which `cargo xtask test` does.
pub fn jeton_binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("JETON_BIN") {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!("JETON_BIN names {}, which is no file", named.display());
        }
        return Ok(named);
    }
    let running = std::env::current_exe().context("asking where this test lies")?;
    let name = format!("jeton{EXE_SUFFIX}");
    let beside = running.ancestors().skip(1).map(|folder| folder.join(&name)).find(|path| path.is_file());
    beside.with_context(|| {
        format!(
            "there is no `{name}` beside {}: run `cargo build --bin jeton`, or set JETON_BIN",
            running.display()
        )
    })
}
