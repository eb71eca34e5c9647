//! One server process and its folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::programs::{User, postgres_programs};
use super::sql;
use crate::port::FreePort;

/// The role that owns the databases of tests: an ordinary one, as an operator would create it.
pub(super) const ROLE: &str = "jeton";

/// Its password, which only connections over TCP are asked for.
pub(super) const PASSWORD: &str = "jeton-test-password-4d1f";

/// The role that `initdb` creates.
pub(super) const SUPERUSER: &str = "postgres";

/// What every cluster is set to, unless its test says otherwise: quick, enough, and of no use after a power cut.
const DEFAULTS: [(&str, &str); 11] = [
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "400"),
    ("shared_buffers", "64MB"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("autovacuum", "off"),
    ("checkpoint_timeout", "1h"),
    ("max_wal_size", "2GB"),
    ("log_min_messages", "warning"),
    ("password_encryption", "scram-sha-256"),
    // Within its folder, so that a server that is killed leaves nothing elsewhere.
    ("dynamic_shared_memory_type", "mmap"),
];

#[derive(Clone, Debug)]
pub(super) struct PgServer {
    pub(super) folder: PathBuf,
    pub(super) port: u16,
    programs: PathBuf,
    user: User,
    /// What its processes have in their environment besides.
    environment: Vec<(&'static str, String)>,
}

impl PgServer {
    /// A server that is yet to be created, in an existing folder and at a free port.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        // From its start on, the server itself occupies the port.
        let port = FreePort::find()?.number();
        let server = Self::at(folder, port)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        server.user.own(folder)?;
        Ok(server)
    }

    /// The server of this folder and port.
    pub(super) fn at(folder: &Path, port: u16) -> Result<Self> {
        let programs = postgres_programs().context(
            "PostgreSQL is not installed: `cargo xtask test --only tools` installs it on Debian; elsewhere install its \
             server, and put the folder of `initdb` in the search path",
        )?;
        let socket = folder.join(".s.PGSQL.65535");
        ensure!(
            socket.as_os_str().len() <= 107,
            "{} is too long a path for a socket: set TMPDIR to a shorter one",
            socket.display()
        );
        let (folder, user) = (folder.to_owned(), User::ordinary()?);
        Ok(Self { folder, port, programs, user, environment: Vec::new() })
    }

    /// The same server, whose processes have these variables.
    pub(super) fn with_environment(self, environment: Vec<(&'static str, String)>) -> Self {
        Self { environment, ..self }
    }

    pub(super) fn user(&self) -> User {
        self.user
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The URL of a database over the socket.
    pub(super) fn socket_url(&self, user: &str, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://{user}@{folder}:{}/{database}", self.port)
    }

    /// The URL of a database over TCP, for the ordinary role with its password.
    pub(super) fn tcp_url(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates the cluster with its settings.
    pub(super) fn create(&self, settings: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<()> {
        let data = self.data();
        self.run(
            "initdb",
            &["--username", SUPERUSER, "--auth-local=trust", "--auth-host=scram-sha-256"],
            &["--no-sync", "--encoding=UTF8", "--locale=C", "--no-instructions"],
        )?;
        let mut conf = fs::read_to_string(data.join("postgresql.conf")).context("reading postgresql.conf")?;
        let own = [("port", self.port.to_string()), ("unix_socket_directories", path_text(&self.folder))];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in DEFAULTS.into_iter().chain(own).chain(settings.iter().copied()) {
            conf.extend(["\n", name, " = '", &value.replace('\'', "''"), "'"]);
        }
        conf.push('\n');
        let conf = ("postgresql.conf", conf.as_bytes());
        for (name, content) in std::iter::once(&conf).chain(files) {
            let path = data.join(name);
            fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            self.user.own(&path)?;
        }
        Ok(())
    }

    /// Copies another server while it runs, and makes this one its standby.
    pub(super) fn copy_from(&self, source: &Self) -> Result<()> {
        let (folder, port) = (path_text(&source.folder), source.port.to_string());
        let from = ["--host", &folder, "--port", &port, "--username", SUPERUSER];
        self.run("pg_basebackup", &from, &["--checkpoint=fast", "--no-sync", "--write-recovery-conf"])?;
        let path = self.data().join("postgresql.conf");
        let mut conf = fs::read_to_string(&path).context("reading postgresql.conf")?;
        // The last setting of a name is the one that counts.
        let own =
            format!("port = '{}'\nunix_socket_directories = '{}'\n", self.port, path_text(&self.folder));
        conf.push_str(&own);
        fs::write(&path, conf).with_context(|| format!("writing {}", path.display()))
    }

    pub(super) fn promote(&self) -> Result<()> {
        self.run("pg_ctl", &["-w", "-t", "60", "promote"], &[])
    }

    /// Starts it, and creates the ordinary role where there is none yet.
    pub(super) fn start(&self) -> Result<()> {
        let log = path_text(&self.log());
        self.run("pg_ctl", &["-w", "-t", "60", "-l", &log, "start"], &[]).with_context(|| {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            format!("PostgreSQL does not start; its log says:\n{log}")
        })?;
        let role = format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN CREATE ROLE {ROLE} LOGIN PASSWORD \
             '{PASSWORD}'; END IF; END $$"
        );
        sql::run(&self.socket_url(SUPERUSER, "postgres"), &role).map(drop)
    }

    /// Stops it in order: sessions are ended at once.
    pub(super) fn stop(&self) -> Result<()> {
        self.run("pg_ctl", &["-w", "-t", "60", "-m", "fast", "stop"], &[])
    }

    pub(super) fn kill(&self) -> Result<()> {
        let killed = self.signal(Signal::KILL)?;
        let gone = || killed.iter().all(|pid| rustix::process::test_kill_process(*pid).is_err());
        for _ in 0..500 {
            if gone() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        bail!("PostgreSQL is still there 5 s after it was killed")
    }

    /// Signals the server and all its children, and returns them.
    pub(super) fn signal(&self, signal: Signal) -> Result<Vec<Pid>> {
        let file = self.data().join("postmaster.pid");
        let text = fs::read_to_string(&file).context("PostgreSQL does not run")?;
        let server = text.lines().next().and_then(|line| Pid::from_raw(line.trim().parse().ok()?));
        let server = server.context("postmaster.pid holds no number")?;
        let mut all = vec![server];
        all.extend(children(server));
        for pid in &all {
            match kill_process(*pid, signal) {
                // A session that has just ended.
                Err(rustix::io::Errno::SRCH) if *pid != server => {}
                done => done.context("signalling PostgreSQL")?,
            }
        }
        Ok(all)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn run(&self, program: &str, first: &[&str], then: &[&str]) -> Result<()> {
        let mut command = self.user.command(&self.programs.join(program), &self.folder);
        command.envs(self.environment.iter().cloned());
        command.arg("-D").arg(self.data()).args(first).args(then);
        // A server inherits its output: the reader of a pipe would wait for the server's end.
        let file = self.folder.join(format!("{program}.out"));
        let output = fs::File::create(&file).with_context(|| format!("creating {}", file.display()))?;
        command.stdout(output.try_clone()?).stderr(Stdio::from(output));
        let status = command.status().with_context(|| format!("starting `{program}`"))?;
        ensure!(
            status.success(),
            "`{program}` failed ({status})\n{}",
            fs::read_to_string(&file).unwrap_or_default()
        );
        Ok(())
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// The processes whose parent this is.
fn children(parent: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_parent = |number: &i32| {
        // `NUMBER (NAME) STATE PARENT ..`, where the name may hold anything.
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        after.split_whitespace().nth(1) == Some(parent.as_raw_nonzero().get().to_string().as_str())
    };
    numbers.filter(of_parent).filter_map(Pid::from_raw).collect()
}
