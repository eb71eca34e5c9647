//! Opens the store, the installation and the vault, and connects them: the only place that knows which store it is.

use std::path::Path;
use std::sync::Arc;

use jeton_core::entropy::{Entropy, SystemEntropy};
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::StoreError;
use jeton_core::time::{Clock, SystemClock};
use jeton_issuer::{Access, Environment, SYNC_PERIOD};
use jeton_keeper::{Host, Installation, InstallationError, JoinMode, Ports, RememberedStore, Vault};
use jeton_store::{PostgresOptions, PostgresStore, ServerStore, SqliteOptions, SqliteStore};

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::settings::{Settings, StoreSettings};
use crate::signals::{Signals, stopped_by};

/// The clock and the random numbers of the operating system.
#[derive(Clone)]
pub(crate) struct HostEnv {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl HostEnv {
    pub(crate) fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }
}

/// What a command may create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// Nothing: there must be an installation.
    Existing,
    /// An installation, where there was none.
    Create,
    /// A new installation in the place of one whose store is gone; it joins a data directory to a store that is there.
    Adopt,
}

/// What commands on connections work with.
pub(crate) struct App {
    pub(crate) store: Arc<dyn ServerStore>,
    pub(crate) vault: Vault,
    pub(crate) host: HostEnv,
    /// Where the tokens are stored, without a password.
    pub(crate) storage: String,
    /// The connection that takes the place of the one of an amoCRM gateway.
    pub(crate) old_gateway: Option<ConnectionName>,
    /// Whether a client secret could not be read.
    pub(crate) lacks_secrets: bool,
}

impl App {
    /// Opens everything. Spends no token.
    pub(crate) async fn open(
        settings: Settings,
        host: HostEnv,
        mode: OpenMode,
    ) -> Result<Self, CommandError> {
        let (store, installation) = open_installation(&settings, &host, mode).await?;
        let ports = Ports {
            connections: store.clone(),
            feed: store.clone(),
            log: store.clone(),
            consents: store.clone(),
        };
        let (clock, entropy) = (Arc::clone(&host.clock), Arc::clone(&host.entropy));
        let (storage, old_gateway) = (settings.store.redacted(), settings.old_gateway);
        let lacks_secrets = settings.lacks_secrets;
        let vault =
            Vault::open(ports, installation, settings.definitions, settings.keeper, clock, entropy).await?;
        Ok(Self { store, vault, host, storage, old_gateway, lacks_secrets })
    }
}

/// Opens an [`App`], runs `act` with it, and lets refreshes under way finish, also after a signal. A second signal ends the
/// wait; what was sent is in the refresh log.
pub(crate) async fn with_app(
    settings: Settings,
    mode: OpenMode,
    act: impl AsyncFnOnce(&App) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut signals = Signals::to_stop()?;
    let app = App::open(settings, HostEnv::system(), mode).await?;
    let result = tokio::select! {
        result = act(&app) => result,
        signal = signals.next() => Err(stopped_by(signal)),
    };
    tokio::select! {
        () = app.vault.drain() => result,
        signal = signals.next_impatient() => result.and(Err(stopped_by(signal))),
    }
}

/// Opens the store and checks that data directory and key belong to it. Spends no token.
pub(crate) async fn open_installation(
    settings: &Settings,
    host: &HostEnv,
    mode: OpenMode,
) -> Result<(Arc<dyn ServerStore>, Installation), CommandError> {
    let data_dir = &settings.data_dir;
    if mode == OpenMode::Create {
        create_private_dir(data_dir, "data_dir", "JETON__DATA_DIR")?;
    }
    reject_network_dir(data_dir)?;
    let store = open_store(settings, host, mode).await?;
    if mode != OpenMode::Create
        && Installation::remembered(data_dir)?.is_none()
        && store.identity().await?.is_none()
    {
        let nothing = if mode == OpenMode::Adopt { ": there is nothing to adopt" } else { "" };
        let database = settings.store.redacted();
        return Err(no_installation(&format!(
            "the database {database} is new and belongs to nobody{nothing}"
        )));
    }
    match mode {
        OpenMode::Existing if !data_dir.exists() => {
            return Err(no_installation(&format!(
                "the data directory {} does not exist",
                data_dir.display()
            )));
        }
        OpenMode::Adopt => create_private_dir(data_dir, "data_dir", "JETON__DATA_DIR")?,
        OpenMode::Existing | OpenMode::Create => {}
    }
    if matches!(settings.store, StoreSettings::Postgres(_)) {
        Installation::join(&*store, data_dir, JoinMode::IfNew, &*host.entropy).await?;
    }
    let open = || Installation::open(&*store, data_dir, &settings.key, &*host.clock, &*host.entropy);
    let mut installation = match open().await {
        Err(InstallationError::StoreLost { .. }) if mode == OpenMode::Adopt => {
            Installation::forget(data_dir)?;
            open().await?
        }
        opened => opened?,
    };
    installation.check_host(&host_of(settings))?;
    installation.look_again(&*store).await?;
    Ok((store, installation))
}

/// What tells this machine from others.
pub(crate) fn host_of(settings: &Settings) -> Host {
    let host = Host::system(settings.mark_dir.clone());
    if settings.bound_to_machine { host } else { Host { machine: None, ..host } }
}

/// Opens the store and migrates its schema. Where the data directory belongs to a store that is not there, only
/// [`OpenMode::Adopt`] creates another.
pub(crate) async fn open_store(
    settings: &Settings,
    host: &HostEnv,
    mode: OpenMode,
) -> Result<Arc<dyn ServerStore>, CommandError> {
    let remembered = Installation::remembered(&settings.data_dir)?;
    let create = match mode {
        OpenMode::Existing => false,
        OpenMode::Create => remembered.is_none(),
        OpenMode::Adopt => remembered.is_some(),
    };
    let opened: Result<Arc<dyn ServerStore>, StoreError> = match &settings.store {
        StoreSettings::Sqlite(database) => {
            if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty() && create)
            {
                create_private_dir(folder, "store.url", "JETON__STORE__URL")?;
            }
            let options = SqliteOptions { create, ..SqliteOptions::new(Arc::clone(&host.clock)) };
            SqliteStore::open(database, options).map(|store| Arc::new(store) as _)
        }
        StoreSettings::Postgres(options) => {
            let options = PostgresOptions { create, ..(**options).clone() };
            PostgresStore::open(options).await.map(|store| Arc::new(store) as _)
        }
    };
    opened.map_err(|error| store_error(error, settings, remembered))
}

/// What it means that a store does not open, by what the data directory remembers of it.
pub(crate) fn store_error(
    error: StoreError,
    settings: &Settings,
    remembered: Option<RememberedStore>,
) -> CommandError {
    match (error, remembered) {
        (StoreError::Missing(why), Some(remembered)) => {
            InstallationError::StoreLost { why, data_dir: settings.data_dir.clone(), remembered }.into()
        }
        (StoreError::Missing(why), None) => no_installation(&why),
        (error, _) => error.into(),
    }
}

/// The error of a command that needs an installation.
fn no_installation(why: &str) -> CommandError {
    let text = format!(
        "there is no installation yet: {why}; `jeton connect NAME` or `jeton serve` creates it, or correct `data_dir` and \
         `store.url`"
    );
    CommandError::new(ErrorCode::InstallationUnusable, text)
}

/// Reads the service tokens, which expire by `clock`, that of the store. [`sync_service_tokens`] follows their changes.
pub(crate) async fn open_access(
    store: &Arc<dyn ServerStore>,
    environment: Environment,
    limits: jeton_issuer::Settings,
    clock: Arc<dyn Clock>,
    host: &HostEnv,
) -> Result<Access, CommandError> {
    let entropy = Arc::clone(&host.entropy);
    Ok(Access::open(store.clone(), environment, limits, clock, entropy).await?)
}

/// Follows the changes of service tokens, as a background task of the vault.
pub(crate) fn sync_service_tokens(vault: &Vault, access: &Access) {
    let access = access.clone();
    vault.run_periodically("sync_service_tokens", SYNC_PERIOD, move || {
        let access = access.clone();
        async move { access.sync().await.map_err(|error| error.to_string()) }
    });
}

/// Rejects a data directory on a network file system: its locks are unreliable, and two machines would share a spill slot.
fn reject_network_dir(data_dir: &Path) -> Result<(), CommandError> {
    // `Installation::open` reports a folder that cannot be read.
    let Ok(Some(network)) = jeton_store::network_file_system(data_dir) else { return Ok(()) };
    let text = format!(
        "the data directory {} is on a network file system ({network}), whose locks are unreliable; give `data_dir` (or \
         JETON__DATA_DIR) a path on a local disk",
        data_dir.display()
    );
    Err(CommandError::new(ErrorCode::InstallationUnusable, text))
}

/// Creates a folder that only its owner can open, unless it exists.
fn create_private_dir(folder: &Path, setting: &str, variable: &str) -> Result<(), CommandError> {
    jeton_keeper::create_private_dir(folder).map_err(|error| {
        let text = format!(
            "the folder {} cannot be created: {error}; give `{setting}` (or {variable}) a path that jeton may write to",
            folder.display()
        );
        CommandError::new(ErrorCode::InstallationUnusable, text)
    })
}
