//! The one place where store, installation and keeper are put together.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use jeton_core::entropy::{Entropy, SystemEntropy};
use jeton_core::time::{Clock, SystemClock};
use jeton_issuer::{Access, Environment};
use jeton_keeper::{Installation, Joining, Ports, Vault};
use jeton_store::{PostgresStore, ServerStore, SqliteOptions, SqliteStore};

use crate::code::Code;
use crate::failure::Failure;
use crate::settings::{Settings, StoreSettings};

/// Time and randomness of this machine.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Machine {
    /// The one that this runs on.
    pub(crate) fn this() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }
}

/// An installation that can be worked with.
pub(crate) struct House {
    pub(crate) store: Arc<dyn ServerStore>,
    pub(crate) vault: Vault,
    pub(crate) machine: Machine,
    /// Where the tokens are stored, for people.
    pub(crate) storage: String,
}

/// Opens the store and checks that data directory and key belong to it. Nothing is spent.
pub(crate) async fn installation(
    settings: &Settings,
    machine: &Machine,
) -> Result<(Arc<dyn ServerStore>, Installation), Failure> {
    make_private(&settings.data_dir, "data_dir", "JETON__DATA_DIR")?;
    refuse_network(&settings.data_dir)?;
    let store = store(settings, machine).await?;
    if matches!(settings.store, StoreSettings::Postgres(_)) {
        Installation::join(&*store, &settings.data_dir, Joining::IfNew, &*machine.entropy).await?;
    }
    let installation =
        Installation::open(&*store, &settings.data_dir, &settings.key, &*machine.clock, &*machine.entropy)
            .await?;
    Ok((store, installation))
}

/// Opens the store and brings its schema up to date.
pub(crate) async fn store(settings: &Settings, machine: &Machine) -> Result<Arc<dyn ServerStore>, Failure> {
    match &settings.store {
        StoreSettings::Sqlite(database) => {
            if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                make_private(folder, "store.url", "JETON__STORE__URL")?;
            }
            Ok(Arc::new(SqliteStore::open(database, SqliteOptions::new(Arc::clone(&machine.clock)))?))
        }
        StoreSettings::Postgres(settings) => Ok(Arc::new(PostgresStore::open(settings.options()).await?)),
    }
}

/// Opens everything that commands on connections need.
pub(crate) async fn house(settings: Settings, machine: Machine) -> Result<House, Failure> {
    let (store, installation) = installation(&settings, &machine).await?;
    let ports = Ports {
        connections: store.clone(),
        feed: store.clone(),
        log: store.clone(),
        consents: store.clone(),
    };
    let (clock, entropy) = (Arc::clone(&machine.clock), Arc::clone(&machine.entropy));
    let storage = settings.store.shown();
    let vault =
        Vault::open(ports, installation, settings.definitions, settings.keeper, clock, entropy).await?;
    Ok(House { store, vault, machine, storage })
}

/// Reads who may come in. Nothing is followed yet.
pub(crate) async fn access(
    store: &Arc<dyn ServerStore>,
    environment: Environment,
    limits: jeton_issuer::Settings,
    machine: &Machine,
) -> Result<Access, Failure> {
    let (clock, entropy) = (Arc::clone(&machine.clock), Arc::clone(&machine.entropy));
    Ok(Access::open(store.clone(), environment, limits, clock, entropy).await?)
}

/// Refuses a data directory on a network file system: its locks cannot be trusted, and two machines would use one
/// spill slot.
fn refuse_network(data_dir: &Path) -> Result<(), Failure> {
    // A folder that cannot even be looked at is refused by the installation, with its cure.
    let Ok(Some(network)) = jeton_store::network_file_system(data_dir) else { return Ok(()) };
    let text = format!(
        "the data directory {} is on a network file system ({network}), whose locks cannot be trusted; give `data_dir` \
         (or JETON__DATA_DIR) a path on a local disk",
        data_dir.display()
    );
    Err(Failure::new(Code::InstallationUnusable, text))
}

/// Makes a folder for its owner only, unless it is there.
fn make_private(folder: &Path, setting: &str, variable: &str) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        let text = format!(
            "the folder {} cannot be made ({error}); give `{setting}` (or {variable}) a path that jeton may write to",
            folder.display()
        );
        Failure::new(Code::InstallationUnusable, text)
    })
}
