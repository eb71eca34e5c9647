//! `jeton resume`.

use jeton_core::keep::ports::Administer;

use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Settings;

/// Go on with a paused connection
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The connection
    name: String,
}

impl Resume {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), Failure> {
        let said = ("resumed", "it is refreshed when it is due");
        super::administer(settings, output, self.name, Administer::Resume, said).await
    }
}
