//! `jeton pause`.

use jeton_core::keep::ports::OperatorCommand;

use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::Settings;

/// Spend nothing on a connection until it is resumed; a living token is still handed out
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// The connection
    name: String,
}

impl PauseArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        let said = ("paused", "nothing is spent until `jeton resume`");
        super::administer(settings, output, self.name, OperatorCommand::Pause, said).await
    }
}
