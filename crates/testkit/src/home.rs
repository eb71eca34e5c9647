//! A place for one jeton: its data directory and its settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tempfile::TempDir;
use toml::{Table, Value};

use crate::command::Command;
use crate::place::jeton_binary;
use crate::postgres::{PgCluster, PgDatabase, test_store_is_postgres};

/// One `[connections.NAME]` of a settings file.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Connection {
    /// The provider's name.
    pub provider: String,
    /// The emulated provider that it is kept at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulated_at: Option<String>,
    /// What the provider's variables are.
    pub vars: BTreeMap<String, String>,
    /// Id and secret at the provider, and how they are sent.
    pub client: BTreeMap<String, String>,
    /// What is different from the provider's own policy, such as `unknown_hold`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub policy: BTreeMap<String, String>,
}

impl Connection {
    /// A connection of the provider `oauth2` to a token endpoint and a resource, with a client that proves itself by basic.
    pub fn oauth2(token_url: &str, api_base: &str, client_id: &str, client_secret: &str) -> Self {
        let text = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        Self {
            provider: "oauth2".to_owned(),
            emulated_at: None,
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

/// A temporary home: everything that a jeton writes lies below it, or in a database of PostgreSQL, and is removed with the
/// value.
///
/// Several processes may live in one home at a time; each takes its own port.
#[derive(Debug)]
pub struct TempHome {
    directory: TempDir,
    /// Settings outside `connections`.
    general: Table,
    connections: BTreeMap<String, Connection>,
    /// The store, where it is not a file of this home.
    postgres: Option<Arc<PgDatabase>>,
}

impl TempHome {
    /// What `API_KEY` is for every process of a home.
    pub const API_KEY: &'static str = "testkit-api-key-7c1f0a5e9d3b4826";

    /// An empty home with a settings file that names no connection. Its store is the one that this test run is about.
    ///
    /// # Errors
    /// It cannot be written, or there is no PostgreSQL where one is needed.
    pub fn new() -> Result<Self> {
        if test_store_is_postgres() { Self::on_postgres() } else { Self::with_store(None) }
    }

    /// A home whose store is PostgreSQL in any case.
    ///
    /// # Errors
    /// It cannot be written, or there is no PostgreSQL.
    pub fn on_postgres() -> Result<Self> {
        let binary = jeton_binary()?;
        let program = binary.clone();
        let migrate = |url: String| async move { migrate(&program, &url) };
        let database = PgCluster::shared()?.database(&binary, migrate)?;
        Self::on_database(database)
    }

    /// A home whose store is this database.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn on_database(database: PgDatabase) -> Result<Self> {
        Self::with_store(Some(Arc::new(database)))
    }

    /// The home of one more node on the store of this one, which is PostgreSQL: with a data directory of its own, the same
    /// key and the same connections.
    ///
    /// # Errors
    /// It cannot be written, or this home's store is a file.
    pub fn another_node(&self) -> Result<Self> {
        ensure!(self.postgres.is_some(), "nodes share a store of PostgreSQL, and this one is a file");
        let mut home = Self::with_store(self.postgres.clone())?;
        let key = self.data_dir().join("key").display().to_string();
        let (data_dir, url) = (home.general["data_dir"].clone(), home.general["store"].clone());
        home.general.clone_from(&self.general);
        home.general.extend([("data_dir".to_owned(), data_dir), ("store".to_owned(), url)]);
        home.general.insert("key_file".to_owned(), key.into());
        home.connections.clone_from(&self.connections);
        home.write()?;
        Ok(home)
    }

    fn with_store(postgres: Option<Arc<PgDatabase>>) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("jeton-home-").tempdir().context("making a temporary home")?;
        let mut home = Self { directory, general: Table::new(), connections: BTreeMap::new(), postgres };
        let data_dir = home.data_dir();
        home.general.insert("data_dir".to_owned(), data_dir.display().to_string().into());
        let url = match &home.postgres {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite:{}", home.database().display()),
        };
        home.put("store", "url", url);
        home.put("log", "level", "debug");
        fs::create_dir(home.outputs()).context("making the folder of outputs")?;
        home.write()?;
        Ok(home)
    }

    /// The home itself: settings, data, and what the processes wrote to their outputs.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory. jeton makes it.
    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Its database of PostgreSQL, if it has one.
    pub fn postgres(&self) -> Option<&PgDatabase> {
        self.postgres.as_deref()
    }

    /// The file that the database is, where it is one.
    pub fn database(&self) -> PathBuf {
        self.data_dir().join("jeton.sqlite")
    }

    /// The settings file.
    pub fn settings(&self) -> PathBuf {
        self.path().join("jeton.toml")
    }

    /// Where outputs of processes are kept.
    pub(crate) fn outputs(&self) -> PathBuf {
        self.path().join("outputs")
    }

    /// Sets `[section] name = value`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&mut self, section: &str, name: &str, value: impl Into<Value>) -> Result<()> {
        self.put(section, name, value);
        self.write()
    }

    /// Takes `[section] name` out of the settings file.
    ///
    /// # Errors
    /// The file cannot be written.
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

    /// Names a connection in the settings file, in place of one with the same name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn connect(&mut self, name: &str, connection: Connection) -> Result<()> {
        self.connections.insert(name.to_owned(), connection);
        self.write()
    }

    /// Takes a connection out of the settings file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.connections.remove(name);
        self.write()
    }

    /// Puts this text in place of the settings file, for tests of bad input.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_settings(&self, text: &str) -> Result<()> {
        fs::write(self.settings(), text).context("writing the settings file")
    }

    /// A run of the binary in this home.
    ///
    /// # Errors
    /// The binary has not been built.
    pub fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<Command> {
        Command::new(self, arguments)
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
    fn the_settings_file_says_what_was_connected() {
        let mut home = TempHome::new().unwrap();
        let connection =
            Connection::oauth2("http://127.0.0.1:1/token", "http://127.0.0.1:1/api", "id", "s\"x");
        home.connect("acme", connection.with_policy("unknown_hold", "1s")).unwrap();
        home.set("keeper", "lease", "3s").unwrap();
        let read: Table = fs::read_to_string(home.settings()).unwrap().parse().unwrap();
        assert_eq!(read["connections"]["acme"]["client"]["secret"].as_str(), Some("s\"x"));
        assert_eq!(read["connections"]["acme"]["policy"]["unknown_hold"].as_str(), Some("1s"));
        assert_eq!(read["keeper"]["lease"].as_str(), Some("3s"));
        assert_eq!(read["data_dir"].as_str(), home.data_dir().to_str());
        home.remove("acme").unwrap();
        assert!(!fs::read_to_string(home.settings()).unwrap().contains("acme"));
    }
}
