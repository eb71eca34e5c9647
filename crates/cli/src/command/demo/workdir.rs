//! The temporary folder of the demo, with settings that other commands can use, and its port.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jeton_core::secret::Secret;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::scenarios::{CLIENT_ID, DemoConnection};
use crate::command_error::CommandError;
use crate::env_vars::EnvVars;
use crate::error_code::ErrorCode;
use crate::settings::{self, SettingSources, Settings};

/// The default port of `jeton serve`, which the demo takes too where it is free.
const DEFAULT_PORT: u16 = 9095;

/// The folder. It is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct Workdir {
    folder: TempDir,
}

impl Workdir {
    /// Creates the folder, for its owner only.
    pub(super) fn create() -> Result<Self, CommandError> {
        let folder = tempfile::Builder::new().prefix("jeton-demo-").tempdir().map_err(|error| {
            let place = std::env::temp_dir();
            let text = format!(
                "no folder can be created in {}: {error}; name another in the environment as TMPDIR",
                place.display()
            );
            CommandError::new(ErrorCode::SystemRefused, text)
        })?;
        Ok(Self { folder })
    }

    /// The settings file.
    pub(super) fn settings_file(&self) -> PathBuf {
        self.folder.path().join("jeton.toml")
    }

    /// Writes the settings file, and reads it as other commands will.
    pub(super) fn write_settings(
        &self,
        connections: &[DemoConnection],
        address: SocketAddr,
        store: Option<&Secret>,
        flags: &[(&'static str, String, String)],
    ) -> Result<Settings, CommandError> {
        let file = self.settings_file();
        write_private(&file, &settings_text(connections, address, store)).map_err(|error| {
            CommandError::new(
                ErrorCode::SystemRefused,
                format!("{} cannot be written: {error}", file.display()),
            )
        })?;
        // The environment belongs to another installation.
        let sources =
            SettingSources { config: Some(file), flags: flags.to_vec(), environment: EnvVars::default() };
        Ok(settings::load(&sources).settings?)
    }

    /// Removes the folder.
    pub(super) fn remove(self) -> Result<(), CommandError> {
        let path = self.folder.path().to_owned();
        self.folder.close().map_err(|error| {
            let text = format!("{} cannot be removed: {error}; delete it by hand", path.display());
            CommandError::new(ErrorCode::SystemRefused, text)
        })
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn settings_text(connections: &[DemoConnection], address: SocketAddr, store: Option<&Secret>) -> String {
    let mut text = format!(
        "# The installation of `jeton demo`. It is removed when the demo ends.\n\
         data_dir = \"data\"\n\n\
         [server]\nlisten = \"{address}\"\n\n\
         [keeper]\ncooldown = \"1s\"\nspill_slots = 8\n"
    );
    if let Some(url) = store {
        text.extend(["\n[store]\nurl = ", &toml::Value::from(url.reveal()).to_string(), "\n"]);
    }
    for connection in connections {
        text.push_str(&connection_text(connection));
    }
    text
}

fn connection_text(connection: &DemoConnection) -> String {
    let (scenario, secret) = (connection.scenario, connection.client_secret());
    let (token_url, api_base) = (connection.emulator.token_url(), connection.emulator.api_base());
    format!(
        "\n# An emulated provider: {}.\n\
         [connections.{}]\n\
         provider = \"oauth2\"\n\
         vars = {{ token_url = \"{token_url}\", api_base = \"{api_base}\" }}\n\
         client = {{ id = \"{CLIENT_ID}\", secret = \"{secret}\" }}\n\
         policy = {}\n",
        scenario.about, scenario.name, scenario.policy
    )
}

#[derive(Debug)]
pub(super) struct ListenPort {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    /// Why it is not the default port.
    pub(super) note: Option<String>,
}

impl ListenPort {
    /// Listens at `asked`; else at the default port, or at a free one where that is taken.
    pub(super) async fn open(asked: Option<SocketAddr>) -> Result<Self, CommandError> {
        let wanted = asked.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)));
        match TcpListener::bind(wanted).await {
            Ok(listener) => Self::of(listener, None),
            Err(error) if asked.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
                let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
                let note = format!("port {DEFAULT_PORT} is taken, so this is a free one");
                Self::of(free.map_err(|error| refused(wanted, &error))?, Some(note))
            }
            Err(error) => Err(refused(wanted, &error)),
        }
    }

    fn of(listener: TcpListener, note: Option<String>) -> Result<Self, CommandError> {
        let address = listener.local_addr().map_err(|error| {
            CommandError::new(
                ErrorCode::ListeningFailed,
                format!("the number of the port is unknown: {error}"),
            )
        })?;
        Ok(Self { listener, address, note })
    }
}

fn refused(wanted: SocketAddr, error: &io::Error) -> CommandError {
    let cure = "give `--listen` another, such as 127.0.0.1:0 for any free port";
    CommandError::new(ErrorCode::ListeningFailed, format!("nothing can listen at {wanted}: {error}; {cure}"))
}

/// The command that runs this program from the same folder.
pub(super) fn program() -> String {
    let Ok(own) = std::env::current_exe() else { return "jeton".to_owned() };
    let own = fs::canonicalize(&own).unwrap_or(own);
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("jeton")).find(|program| program.is_file())
    });
    if found.and_then(|found| fs::canonicalize(found).ok()).is_some_and(|found| found == own) {
        return "jeton".to_owned();
    }
    let here = std::env::current_dir().and_then(fs::canonicalize).ok();
    let below = here.as_deref().and_then(|here| own.strip_prefix(here).ok());
    let shown = match below {
        // The shell would look for a bare name in PATH.
        Some(below) if below.components().count() == 1 => Path::new(".").join(below),
        Some(below) => below.to_owned(),
        None => own,
    };
    quoted(&shown.to_string_lossy())
}

/// Quotes a word for a shell, where it needs that.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenarios;
    use super::*;

    #[tokio::test]
    async fn the_settings_file_defines_every_connection() {
        let connections = scenarios::start_all(1).await.unwrap();
        let workdir = Workdir::create().unwrap();
        let address: SocketAddr = "127.0.0.1:4711".parse().unwrap();
        let settings = workdir.write_settings(&connections, address, None, &[]).unwrap();
        assert_eq!(settings.listen, address);
        assert!(settings.data_dir.starts_with(workdir.folder.path()));
        assert_eq!(settings.definitions.len(), scenarios::SCENARIOS.len());
        let folder = workdir.folder.path().to_owned();
        workdir.remove().unwrap();
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_port_that_is_asked_for_must_be_free() {
        let taken = ListenPort::open(Some("127.0.0.1:0".parse().unwrap())).await.unwrap();
        assert_eq!(taken.note, None);
        let failure = ListenPort::open(Some(taken.address)).await.unwrap_err();
        assert!(failure.to_string().contains("give `--listen` another"), "{failure}");
    }

    #[test]
    fn a_word_is_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("/tmp/jeton-demo-x1/jeton.toml"), "/tmp/jeton-demo-x1/jeton.toml");
        assert_eq!(quoted("/tmp/my files"), "'/tmp/my files'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
