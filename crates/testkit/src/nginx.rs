//! Where nginx is, and how it ends.

use std::env;
use std::path::PathBuf;
use std::process::Child;

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

/// Ends an nginx with its workers: it is asked, for a killed one would leave them behind.
pub fn end_nginx(child: &mut Child) {
    let process = rustix::process::Pid::from_child(child);
    if rustix::process::kill_process(process, rustix::process::Signal::TERM).is_ok() {
        // Reaped, so that its port is free. There is nobody to tell of an error.
        let _status = child.wait();
    }
}
