//! This node of an installation.

use std::path::PathBuf;
use std::sync::Arc;

use jeton_core::entropy::{Entropy, unit_fraction};
use jeton_core::id::NodeId;
use jeton_core::keep::ports::NodeHost;
use jeton_core::seal::Sealer;

use crate::settings::Settings;
use crate::store_time::StoreTime;

/// This node: who it is, where its files are, what it seals with, what time it is, and the limits that it goes by.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) data_dir: PathBuf,
    /// Where it runs.
    pub(crate) host: NodeHost,
    pub(crate) sealer: Sealer,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<StoreTime>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Node {
    /// Between 0 and 1: spreads what would be due at once.
    pub(crate) fn jitter(&self) -> f64 {
        unit_fraction(&*self.entropy)
    }
}
