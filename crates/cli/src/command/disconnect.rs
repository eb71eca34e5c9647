//! `jeton disconnect`.

use jeton_core::keep::ports::Administer;

use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Settings;

/// Give a grant up: its tokens are wiped, its definition and its log stay
#[derive(Debug, clap::Args)]
pub(crate) struct Disconnect {
    /// The connection
    name: String,
}

impl Disconnect {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), Failure> {
        let said = (
            "disconnected",
            "its tokens are wiped here; where the provider can revoke a grant, do so there too",
        );
        super::administer(settings, output, self.name, Administer::Disconnect, said).await
    }
}
