//! `jeton disconnect`.

use jeton_core::keep::ports::OperatorCommand;

use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::Settings;

/// Give a grant up: its tokens are wiped, its definition and its log stay
#[derive(Debug, clap::Args)]
pub(crate) struct DisconnectArgs {
    /// The connection
    name: String,
}

impl DisconnectArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        let said = (
            "disconnected",
            "its tokens are wiped here; where the provider can revoke a grant, do so there too",
        );
        super::administer(settings, output, self.name, OperatorCommand::Disconnect, said).await
    }
}
