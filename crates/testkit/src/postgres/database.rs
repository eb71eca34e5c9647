//! A fresh database for each test, copied from a template.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use super::server::{PgServer, ROLE, SUPERUSER};
use super::sql::{self, Session, block_on_thread};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A database of one test. It is dropped with the value, also while sessions are open.
#[derive(Debug)]
pub struct PgDatabase {
    name: String,
    url: String,
    tcp_url: String,
    administration: String,
    server: PgServer,
}

impl PgDatabase {
    pub(super) fn create(server: &PgServer, template: &str) -> Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let administration = server.socket_url(SUPERUSER, "postgres");
        let create = format!("CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template}");
        block_on_thread(async || {
            let session = Session::open(&administration).await?;
            let has_strategies =
                session.run("SELECT WHERE current_setting('server_version_num')::int >= 150000").await?;
            // Without fsync, copying files is faster than logging their content; before version 15 it is the only way.
            let strategy = if has_strategies.is_empty() { "" } else { " STRATEGY FILE_COPY" };
            session.run(&format!("{create}{strategy}")).await.map(drop)
        })?;
        Ok(Self {
            url: server.socket_url(ROLE, &name),
            server: server.clone(),
            tcp_url: server.tcp_url(&name),
            administration,
            name,
        })
    }

    /// A copy with the same content, like a restored backup. It ends all sessions of the original.
    pub fn copy(&self) -> Result<Self> {
        let (name, administration) = (&self.name, &self.administration);
        let allow = |allowed: bool| format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}");
        sql::run(administration, &allow(false))?;
        let sessions =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        sql::run(administration, &sessions)?;
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
    pub fn query(&self, statements: &str) -> Result<Vec<Vec<Option<String>>>> {
        sql::run(&self.server.socket_url(SUPERUSER, &self.name), statements)
    }
}

impl Drop for PgDatabase {
    fn drop(&mut self) {
        // Where the cluster is gone, the database is gone too.
        let _ =
            sql::run(&self.administration, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// The name of the template that `prepare` makes for this build of `program`; the first caller makes it.
pub(super) fn template<F>(
    server: &PgServer,
    program: &Path,
    prepare: impl FnOnce(String) -> F + Send,
) -> Result<String>
where
    F: Future<Output = Result<()>>,
{
    let built = fs::metadata(program).and_then(|file| file.modified());
    let built = built
        .with_context(|| format!("reading the age of {}", program.display()))?
        .duration_since(UNIX_EPOCH)?;
    let number = digest(&format!("{} {}", program.display(), built.as_nanos()));
    let (name, draft) = (format!("template_{number:08x}"), format!("draft_{number:08x}"));
    let url = server.socket_url(ROLE, &draft);
    let administration = server.socket_url(SUPERUSER, "postgres");
    let made = name.clone();
    block_on_thread(async move || {
        let session = Session::open(&administration).await?;
        let there = format!("SELECT FROM pg_database WHERE datname = '{name}'");
        if !session.run(&there).await?.is_empty() {
            return Ok(());
        }
        // Released when the session ends.
        session.run(&format!("SELECT pg_advisory_lock({number})")).await?;
        if !session.run(&there).await?.is_empty() {
            return Ok(());
        }
        session.run(&format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await?;
        session.run(&format!("CREATE DATABASE {draft} OWNER {ROLE} TEMPLATE template0")).await?;
        prepare(url).await.context("preparing the template of test databases")?;
        // A database with open sessions cannot be copied.
        session.run(&format!("ALTER DATABASE {draft} ALLOW_CONNECTIONS false")).await?;
        let sessions =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{draft}'");
        session.run(&sessions).await?;
        session.run(&format!("ALTER DATABASE {draft} RENAME TO {name}")).await.map(drop)
    })?;
    Ok(made)
}

/// A number for a text (FNV-1a), the same in every process.
pub(super) fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
