//! Programs that the test run needs besides Rust: found, or installed where that can be done without asking.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::report;

const NEXTEST: &str = "0.9.143";

/// A command in the project's folder.
pub(crate) fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(jeton_testkit::project_root());
    command
}

/// Cargo, the same one that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command(program, arguments)
}

/// Runs a command to its end, its output going where ours goes.
///
/// # Errors
/// It cannot be started, or its exit code is not zero.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let said = said(&command);
    let status = command.status().with_context(|| format!("starting `{said}`"))?;
    ensure!(status.success(), "`{said}` failed ({status})");
    Ok(())
}

/// The command as one would type it.
fn said(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// What a program says, trimmed, when it can be run and ends well.
pub(crate) fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = command(program, arguments).stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

fn answers(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Node.js and npm, which run the OAuth server that others wrote.
///
/// # Errors
/// They are missing and cannot be installed here.
pub(crate) fn node() -> Result<()> {
    let present = || ["node", "npm"].iter().all(|program| answers(command(program, &["--version"])));
    if present() {
        return Ok(());
    }
    let debian = Path::new("/etc/debian_version").exists() && answers(command("apt-get", &["--version"]));
    if !(debian && rustix::process::geteuid().is_root()) {
        bail!(
            "Node.js with npm is missing: install it (on Debian `apt-get install nodejs npm`), then run this again"
        );
    }
    report::line("      Node.js is missing: installing the packages nodejs and npm");
    let mut update = command("apt-get", &["update", "-q"]);
    update.env("DEBIAN_FRONTEND", "noninteractive");
    run(update)?;
    let mut install =
        command("apt-get", &["install", "-y", "-q", "--no-install-recommends", "nodejs", "npm"]);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    run(install)?;
    ensure!(present(), "nodejs and npm were installed, but `node --version` or `npm --version` still fails");
    Ok(())
}

/// The test runner.
///
/// # Errors
/// It is missing and cannot be built.
pub(crate) fn nextest() -> Result<()> {
    if answers(cargo(&["nextest", "--version"])) {
        return Ok(());
    }
    report::line("      cargo-nextest is missing: building it, which takes some minutes");
    run(cargo(&["install", "cargo-nextest", "--locked", "--version", NEXTEST]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_named_as_one_would_type_it() {
        let error = run(cargo(&["no-such-command", "--at-all"])).unwrap_err().to_string();
        assert!(error.starts_with("`cargo no-such-command --at-all` failed"), "{error}");
        let error = run(command("no-such-program", &[])).unwrap_err().to_string();
        assert_eq!(error, "starting `no-such-program`");
    }
}
