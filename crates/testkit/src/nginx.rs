//! Where nginx is.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// The program, also where it is not on the path of those who are not root.
///
/// # Errors
/// It is not installed.
pub fn nginx() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join("nginx")).find(|program| program.is_file());
    found.context("nginx is missing: `cargo xtask test --only tools` installs it")
}
