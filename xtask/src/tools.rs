//! Programs that the test run needs besides Rust: found, or installed where that can be done without asking.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

const NEXTEST: &str = "0.9.143";

/// Prints a line to standard output.
pub(crate) fn print_line(text: &str) {
    let mut out = io::stdout().lock();
    // Where the pipe is closed, the exit code still says how the task ended.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

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

/// Node.js and npm, which run the OAuth server that others wrote and drive the browser.
///
/// # Errors
/// They are missing and cannot be installed here.
pub(crate) fn node() -> Result<()> {
    let present = || ["node", "npm"].iter().all(|program| answers(command(program, &["--version"])));
    debian_packages("Node.js with npm", &["nodejs", "npm"], present)
}

/// Chromium, which the tests of the pages are driven in, and a font for it.
///
/// # Errors
/// It is missing and cannot be installed here.
pub(crate) fn chromium() -> Result<()> {
    let present = || jeton_testkit::chromium().is_ok_and(|program| answers(command(program, &["--version"])));
    debian_packages("Chromium", &["chromium", "fonts-dejavu-core"], present)
}

/// nginx, behind which the tests put a site that asks jeton whom to let in.
///
/// # Errors
/// It is missing and cannot be installed here.
pub(crate) fn nginx_program() -> Result<()> {
    let present = || jeton_testkit::nginx_program().is_ok_and(|program| answers(command(program, &["-v"])));
    debian_packages("nginx", &["nginx"], present)
}

/// curl and jq, which callers of old use.
///
/// # Errors
/// They are missing and cannot be installed here.
pub(crate) fn shell_tools() -> Result<()> {
    let present = || ["curl", "jq"].iter().all(|name| answers(command(name, &["--version"])));
    debian_packages("curl and jq", &["curl", "jq"], present)
}

/// PostgreSQL and PgBouncer, which tests start as clusters of their own: no server of the system is made or started.
///
/// # Errors
/// They are missing and cannot be installed here.
pub(crate) fn postgres() -> Result<()> {
    let present =
        || jeton_testkit::postgres_programs().is_some() && jeton_testkit::pgbouncer_program().is_some();
    if present() {
        return Ok(());
    }
    // A user who may not write there may not install either, and is told so below.
    let _no_cluster = Aside::put(
        "/etc/postgresql-common/createcluster.d/jeton.conf",
        "create_main_cluster = false\n",
        0o644,
    );
    let _no_service = Aside::put("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755);
    debian_packages("PostgreSQL with PgBouncer", &["postgresql", "pgbouncer"], present)
}

/// A file that says something to Debian's installer for as long as the value lives, unless there was one.
struct Aside(&'static Path);

impl Aside {
    fn put(path: &'static str, text: &str, mode: u32) -> Option<Self> {
        let path = Path::new(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).ok()?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).ok()?;
        let aside = Self(path);
        file.write_all(text.as_bytes()).ok()?;
        Some(aside)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(self.0) {
            print_line(&format!("      {} cannot be removed ({error}): remove it", self.0.display()));
        }
    }
}

/// A Python of the project's own in the target folder, with the packages of rigs/python.
///
/// # Errors
/// There is no Python to make it with, or the packages cannot be installed.
pub(crate) fn python() -> Result<()> {
    let python = jeton_testkit::python();
    let packages = jeton_testkit::project_root().join("rigs/python/requirements.txt");
    let folder = python.ancestors().nth(2).context("a program lies in the folder bin of its own")?;
    let (mark, wanted) = (folder.join("installed.txt"), fs::read(&packages).context("reading rigs/python")?);
    // A newer Python of the system leaves the packages of the older one behind.
    let usable = || answers(command(&python, &["-c", "import requests, schemathesis"]));
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) && usable() {
        return Ok(());
    }
    let able = || answers(command("python3", &["-c", "import ensurepip, venv"]));
    debian_packages("Python with venv", &["python3", "python3-venv"], able)?;
    print_line("      installing the packages of rigs/python into the target folder");
    let mut make = command("python3", &["-m", "venv", "--clear"]);
    make.arg(folder);
    run(make)?;
    let mut install =
        command(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    install.arg(&packages);
    run(install)?;
    // Written last: an interrupted install leaves no mark and is done anew.
    fs::write(&mark, wanted).context("marking the packages as installed")
}

/// Installs Debian's packages of a program that is not present.
///
/// # Errors
/// This is no Debian, we may not install, or it is missing even then.
fn debian_packages(what: &str, packages: &[&str], present: impl Fn() -> bool) -> Result<()> {
    if present() {
        return Ok(());
    }
    let names = packages.join(" ");
    let debian = Path::new("/etc/debian_version").exists() && answers(command("apt-get", &["--version"]));
    if !(debian && rustix::process::geteuid().is_root()) {
        bail!("{what} is missing: install it (on Debian `apt-get install {names}`), then run this again");
    }
    print_line(&format!("      {what} is missing: installing {names}"));
    apt_get(&["update", "-q"])?;
    apt_get(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat())?;
    ensure!(present(), "{names} were installed, but {what} still does not answer");
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut apt = command("apt-get", arguments);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    run(apt)
}

/// The test runner.
///
/// # Errors
/// It is missing and cannot be built.
pub(crate) fn nextest() -> Result<()> {
    if answers(cargo(&["nextest", "--version"])) {
        return Ok(());
    }
    print_line("      cargo-nextest is missing: building it, which takes some minutes");
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
