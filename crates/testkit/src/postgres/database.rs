//! A fresh database for each test, copied from a template.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use super::PgCluster;
use super::server::{SUPERUSER, Server};
use super::sql::{self, Session, apart};

static MADE: AtomicU32 = AtomicU32::new(0);

/// A database of one test. It is dropped with the value, whoever is still connected.
#[derive(Debug)]
pub struct PgDatabase {
    name: String,
    url: String,
    tcp_url: String,
    administration: String,
    server: Server,
}

impl PgDatabase {
    pub(super) fn create(server: &Server, template: &str) -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let administration = server.socket_url(SUPERUSER, "postgres");
        let create = format!("CREATE DATABASE {name} OWNER {} TEMPLATE {template}", PgCluster::USER);
        apart(async || {
            let session = Session::open(&administration).await?;
            let chooses =
                session.run("SELECT WHERE current_setting('server_version_num')::int >= 150000").await?;
            // Copying files, the only way before version 15, is quicker than logging their content where nothing waits
            // for a disk.
            let strategy = if chooses.is_empty() { "" } else { " STRATEGY FILE_COPY" };
            session.run(&format!("{create}{strategy}")).await.map(drop)
        })?;
        Ok(Self {
            url: server.socket_url(PgCluster::USER, &name),
            server: server.clone(),
            tcp_url: format!(
                "postgres://{}:{}@127.0.0.1:{}/{name}",
                PgCluster::USER,
                PgCluster::PASSWORD,
                server.port
            ),
            administration,
            name,
        })
    }

    /// Another one that holds the same, as a backup would. Whoever is connected is thrown out for that.
    ///
    /// # Errors
    /// The cluster cannot be reached.
    pub fn copy(&self) -> Result<Self> {
        let (name, administration) = (&self.name, &self.administration);
        let allow = |allowed: bool| format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        sql::run(administration, &allow(false))?;
        let leftover =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        sql::run(administration, &leftover)?;
        let copied = Self::create(&self.server, name);
        sql::run(administration, &allow(true))?;
        copied
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL over the socket, for the ordinary role that owns it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its URL over TCP, with the password.
    pub fn tcp_url(&self) -> &str {
        &self.tcp_url
    }

    /// Runs statements as the superuser; answers the rows of the last that has any, as text.
    ///
    /// # Errors
    /// A statement fails, or the cluster cannot be reached.
    pub fn query(&self, statements: &str) -> Result<Vec<Vec<Option<String>>>> {
        sql::run(&self.server.socket_url(SUPERUSER, &self.name), statements)
    }
}

impl Drop for PgDatabase {
    fn drop(&mut self) {
        // Where the cluster is gone, the database is too.
        let _dropped =
            sql::run(&self.administration, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// The name of the template that `prepare` makes for this build of `program`; it is made by whoever asks first.
pub(super) fn template<F>(
    server: &Server,
    program: &Path,
    prepare: impl FnOnce(String) -> F + Send,
) -> Result<String>
where
    F: Future<Output = Result<()>>,
{
    let built = fs::metadata(program).and_then(|file| file.modified());
    let built =
        built.with_context(|| format!("looking at {}", program.display()))?.duration_since(UNIX_EPOCH)?;
    let number = digest(&format!("{} {}", program.display(), built.as_nanos()));
    let (name, draft) = (format!("template_{number:08x}"), format!("draft_{number:08x}"));
    let url = server.socket_url(PgCluster::USER, &draft);
    let administration = server.socket_url(SUPERUSER, "postgres");
    let made = name.clone();
    apart(async move || {
        let session = Session::open(&administration).await?;
        let there = format!("SELECT FROM pg_database WHERE datname = '{name}'");
        if !session.run(&there).await?.is_empty() {
            return Ok(());
        }
        // Given back when the session ends, however it ends.
        session.run(&format!("SELECT pg_advisory_lock({number})")).await?;
        if !session.run(&there).await?.is_empty() {
            return Ok(());
        }
        session.run(&format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await?;
        let owner = PgCluster::USER;
        session.run(&format!("CREATE DATABASE {draft} OWNER {owner} TEMPLATE template0")).await?;
        prepare(url).await.context("preparing the template of test databases")?;
        // Nobody connects to it from here on: a database that somebody uses cannot be copied.
        session.run(&format!("ALTER DATABASE {draft} ALLOW_CONNECTIONS false")).await?;
        let leftover =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{draft}'");
        session.run(&leftover).await?;
        session.run(&format!("ALTER DATABASE {draft} RENAME TO {name}")).await.map(drop)
    })?;
    Ok(made)
}

/// A number for a text (FNV-1a), the same in every process.
pub(super) fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
