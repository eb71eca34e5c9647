//! The command line: what can be asked for. What each command does stands in the file of its name below `command/`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::command;

/// Keeps every token of a company alive.
#[derive(Debug, Parser)]
#[command(
    name = "jeton",
    version,
    about = "Keeps every token of a company alive",
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong use."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalFlags,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct GlobalFlags {
    /// The settings file [default: jeton.toml in the working directory, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Answer in JSON; errors are problem documents (RFC 9457) on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Set a setting for this run, such as keeper.lease=60s; may be given several times
    #[arg(long, global = true, value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write SETTING=VALUE, such as keeper.lease=60s")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(command::init::InitArgs),
    Demo(command::demo::DemoArgs),
    Serve(command::serve::ServeArgs),
    Connect(command::connect::ConnectArgs),
    Disconnect(command::disconnect::DisconnectArgs),
    Pause(command::pause::PauseArgs),
    Resume(command::resume::ResumeArgs),
    Token(command::token::TokenArgs),
    Refresh(command::refresh::RefreshArgs),
    Status(command::status::StatusArgs),
    Logs(command::logs::LogsArgs),
    Audit(command::audit::AuditArgs),
    #[command(subcommand)]
    ServiceToken(command::service_token::ServiceTokenCommand),
    #[command(subcommand)]
    Provider(command::provider::ProviderCommand),
    #[command(subcommand)]
    Config(command::config::ConfigCommand),
    Migrate(command::migrate::MigrateArgs),
    Adopt(command::adopt::AdoptArgs),
    Doctor(command::doctor::DoctorArgs),
    #[command(subcommand, hide = true)]
    Docs(command::docs::DocsCommand),
}

impl Command {
    /// Flags of the command that are settings: the flag, the setting, its text.
    pub(crate) fn settings(&self) -> Option<(&'static str, String, String)> {
        match self {
            Self::Serve(serve) => serve.setting(),
            _ => None,
        }
    }

    /// Whether the settings of the log are meant for this command.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Self::Serve(_))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
