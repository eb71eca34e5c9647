//! `jeton pause`, `jeton resume` and `jeton disconnect`.

use jeton_core::keep::ports::OperatorCommand;
use jeton_keeper::Revocation;
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
        with_app(settings, OpenMode::Existing, async |app| {
            let by = actor::current();
            if command == OperatorCommand::Disconnect {
                let revocation = app.vault.disconnect(&self.name, &by).await?;
                return print_disconnected(&self.name, &revocation, output);
            }
            app.vault.administer(&self.name, command, &by).await?;
            let (result, effect) = match command {
                OperatorCommand::Pause => ("paused", "nothing refreshes it until `jeton resume`"),
                _ => ("resumed", "it is refreshed when it is due"),
            };
            let text = format!("`{}` is {result}: {effect}", self.name);
            Ok(output.print(&text, &json!({ "connection": self.name, "result": result }))?)
        })
        .await
    }
}

fn print_disconnected(name: &str, revocation: &Revocation, output: Output) -> Result<(), CommandError> {
    let (effect, revoked) = match revocation {
        Revocation::Revoked => ("its provider has revoked the grant".to_owned(), true),
        Revocation::NotAsked => {
            ("revoke the grant at the provider too, where that is possible".to_owned(), false)
        }
        Revocation::Failed { message } => {
            (format!("its provider did not revoke the grant ({message}); revoke it there"), false)
        }
    };
    let text = format!("`{name}` is disconnected: its tokens are deleted here; {effect}");
    let value = json!({ "connection": name, "result": "disconnected", "revoked": revoked });
    Ok(output.print(&text, &value)?)
}
