//! A temporary installation: a settings file, a data directory and a store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tempfile::TempDir;
use toml::{Table, Value};

use crate::paths::jeton_binary;
use crate::postgres::{PgCluster, PgDatabase, test_store_is_postgres};
use crate::process::{self, JetonCommand};

/// One `[connections.NAME]` of a settings file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConnectionSettings {
    /// The provider's name.
    pub provider: String,
    /// The base URL of an emulated provider, in place of the provider's own hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulated_at: Option<String>,
    /// A file with the first tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<String>,
    /// The provider's variables.
    pub vars: BTreeMap<String, String>,
    /// Id and secret at the provider, and how they are sent.
    pub client: BTreeMap<String, String>,
    /// Settings that replace those of the provider's policy, such as `unknown_hold`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policy: BTreeMap<String, String>,
}

impl ConnectionSettings {
    /// A connection of the provider `oauth2` to a token endpoint and a resource, with a client that
    /// authenticates by HTTP Basic.
    pub fn oauth2(token_url: &str, api_base: &str, client_id: &str, client_secret: &str) -> Self {
        let text = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Self {
            provider: "oauth2".to_owned(),
            emulated_at: None,
            import: None,
            vars: text(&[("token_url", token_url), ("api_base", api_base)]),
            client: text(&[("id", client_id), ("secret", client_secret)]),
            policy: BTreeMap::new(),
        }
    }

    /// The same connection, with one setting of its policy.
    #[must_use]
    pub fn with_policy(mut self, name: &str, value: &str) -> Self {
        self.policy.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// A temporary installation: everything that jeton writes lies in its folder, or in a database of PostgreSQL. All of it is
/// removed when the value is dropped.
///
/// Several processes may run on one installation at a time; each takes its own port.
#[derive(Debug)]
pub struct TestInstallation {
    directory: TempDir,
    /// Settings outside `connections`.
    general: Table,
    connections: BTreeMap<String, ConnectionSettings>,
    /// The store, where it is not a file of this folder.
    postgres: Option<Arc<PgDatabase>>,
}

impl TestInstallation {
    /// The `API_KEY` of every process of an installation.
    pub const API_KEY: &'static str = process::API_KEY;

    /// An installation whose settings file names no connection. `JETON_TEST_STORE` decides on its store.
    ///
    /// # Errors
    /// It cannot be written, or there is no PostgreSQL where one is needed.
    pub fn new() -> Result<Self> {
        if test_store_is_postgres() { Self::on_postgres() } else { Self::with_store(None) }
    }

    /// An installation on PostgreSQL, whatever `JETON_TEST_STORE` says.
    pub fn on_postgres() -> Result<Self> {
        Self::on_cluster(PgCluster::shared()?)
    }

    /// An installation on a cluster of the test's own.
    pub fn on_cluster(cluster: &PgCluster) -> Result<Self> {
        let binary = jeton_binary()?;
        let program = binary.clone();
        let migrate = |url: String| async move { migrate(&program, &url) };
        Self::on_database(cluster.database(&binary, migrate)?)
    }

    /// An installation on this database.
    pub fn on_database(database: PgDatabase) -> Result<Self> {
        Self::with_store(Some(Arc::new(database)))
    }

    /// One more node on the PostgreSQL store of this one: with the same key and connections, and its own data directory.
    pub fn another_node(&self) -> Result<Self> {
        ensure!(self.postgres.is_some(), "nodes share a store of PostgreSQL, and this one is a file");
        let mut node = Self::with_store(self.postgres.clone())?;
        let key = self.data_dir().join("key").display().to_string();
        let (data_dir, url) = (node.general["data_dir"].clone(), node.general["store"].clone());
        node.general.clone_from(&self.general);
        node.general.extend([("data_dir".to_owned(), data_dir), ("store".to_owned(), url)]);
        node.general.insert("key_file".to_owned(), key.into());
        node.connections.clone_from(&self.connections);
        node.write()?;
        Ok(node)
    }

    fn with_store(postgres: Option<Arc<PgDatabase>>) -> Result<Self> {
        let directory = TempDir::with_prefix("jeton-test-").context("making a temporary folder")?;
        let mut installation =
            Self { directory, general: Table::new(), connections: BTreeMap::new(), postgres };
        let data_dir = installation.data_dir();
        installation.general.insert("data_dir".to_owned(), data_dir.display().to_string().into());
        let url = match &installation.postgres {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite:{}", installation.database().display()),
        };
        installation.put("store", "url", url);
        installation.put("log", "level", "debug");
        fs::create_dir(installation.outputs()).context("making the folder of outputs")?;
        installation.write()?;
        Ok(installation)
    }

    /// Its folder: the settings file, the data directory and the outputs of its processes.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory, which jeton makes.
    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Its database, where its store is PostgreSQL.
    pub fn postgres(&self) -> Option<&PgDatabase> {
        self.postgres.as_deref()
    }

    /// Its database file, where its store is SQLite.
    pub fn database(&self) -> PathBuf {
        self.data_dir().join("jeton.sqlite")
    }

    /// The settings file.
    pub fn settings(&self) -> PathBuf {
        self.path().join("jeton.toml")
    }

    fn outputs(&self) -> PathBuf {
        self.path().join("outputs")
    }

    /// Sets `[section] name = value`.
    pub fn set(&mut self, section: &str, name: &str, value: impl Into<Value>) -> Result<()> {
        self.put(section, name, value);
        self.write()
    }

    /// Removes `[section] name` from the settings file.
    pub fn unset(&mut self, section: &str, name: &str) -> Result<()> {
        if let Some(Value::Table(section)) = self.general.get_mut(section) {
            section.remove(name);
        }
        self.write()
    }

    fn put(&mut self, section: &str, name: &str, value: impl Into<Value>) {
        let section = self.general.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(section) = section {
            section.insert(name.to_owned(), value.into());
        }
    }

    /// Writes a connection to the settings file, in place of one with the same name.
    pub fn add_connection(&mut self, name: &str, connection: ConnectionSettings) -> Result<()> {
        self.connections.insert(name.to_owned(), connection);
        self.write()
    }

    /// Removes a connection from the settings file.
    pub fn remove_connection(&mut self, name: &str) -> Result<()> {
        self.connections.remove(name);
        self.write()
    }

    /// Replaces the settings file by this text, for tests of bad input.
    pub fn write_settings(&self, text: &str) -> Result<()> {
        fs::write(self.settings(), text).context("writing the settings file")
    }

    /// A command of the binary, with these settings.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<JetonCommand> {
        JetonCommand::new(self.path(), &self.settings(), &self.outputs(), arguments)
    }

    /// Creates a service token with these scopes by the command line, and returns its text.
    pub async fn service_token(&self, name: &str, scopes: &[&str]) -> Result<String> {
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let words = ["service-token", "create", name, "--json"].into_iter().chain(scopes);
        let created = self.command(words)?.run(Duration::from_secs(30)).await?.json()?;
        Ok(created["token"].as_str().context("the answer has no `token`")?.to_owned())
    }

    fn write(&self) -> Result<()> {
        let mut file = self.general.clone();
        file.insert(
            "connections".to_owned(),
            Value::try_from(&self.connections).context("writing connections as TOML")?,
        );
        self.write_settings(&toml::to_string(&file).context("writing settings as TOML")?)
    }
}

/// Brings an empty database to the schema of a build.
fn migrate(binary: &Path, url: &str) -> Result<()> {
    let mut process = Process::new(binary);
    process.current_dir(std::env::temp_dir()).env_clear();
    let output = process.args(["--set", &format!("store.url={url}"), "migrate"]).output()?;
    ensure!(output.status.success(), "`jeton migrate` failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_file_holds_what_was_set() {
        let mut installation = TestInstallation::new().unwrap();
        let connection =
            ConnectionSettings::oauth2("http://127.0.0.1:1/token", "http://127.0.0.1:1/api", "id", "s\"x");
        installation.add_connection("acme", connection.with_policy("unknown_hold", "1s")).unwrap();
        installation.set("keeper", "lease", "3s").unwrap();
        let read: Table = fs::read_to_string(installation.settings()).unwrap().parse().unwrap();
        assert_eq!(read["connections"]["acme"]["client"]["secret"].as_str(), Some("s\"x"));
        assert_eq!(read["connections"]["acme"]["policy"]["unknown_hold"].as_str(), Some("1s"));
        assert_eq!(read["keeper"]["lease"].as_str(), Some("3s"));
        assert_eq!(read["data_dir"].as_str(), installation.data_dir().to_str());
        installation.remove_connection("acme").unwrap();
        assert!(!fs::read_to_string(installation.settings()).unwrap().contains("acme"));
    }
}
