//! `jeton resume`.

use jeton_core::keep::ports::OperatorCommand;

use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::Settings;

/// Go on with a paused connection
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// The connection
    name: String,
}

impl ResumeArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        let said = ("resumed", "it is refreshed when it is due");
        super::administer(settings, output, self.name, OperatorCommand::Resume, said).await
    }
}
