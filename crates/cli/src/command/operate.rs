//! `jeton pause`, `jeton resume` and `jeton disconnect`.

use jeton_core::keep::ports::OperatorCommand;
use serde_json::json;

use crate::actor;
use crate::app::{OpenMode, with_app};
use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub(crate) struct OperateArgs {
    /// The connection
    name: String,
}

impl OperateArgs {
    pub(crate) async fn run(
        self,
        command: OperatorCommand,
        settings: Settings,
        output: Output,
    ) -> Result<(), CommandError> {
        let (result, effect) = match command {
            OperatorCommand::Pause => ("paused", "nothing refreshes it until `jeton resume`"),
            OperatorCommand::Resume => ("resumed", "it is refreshed when it is due"),
            OperatorCommand::Disconnect => (
                "disconnected",
                "its tokens are deleted here; revoke the grant at the provider too, where that is possible",
            ),
        };
        with_app(settings, OpenMode::Existing, async |app| {
            app.vault.administer(&self.name, command, &actor::current()).await?;
            let text = format!("`{}` is {result}: {effect}", self.name);
            Ok(output.print(&text, &json!({ "connection": self.name, "result": result }))?)
        })
        .await
    }
}
