//! The command line, and which file of `command/` runs each command.

pub(crate) mod adopt;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod demo;
pub(crate) mod docs;
pub(crate) mod doctor;
mod import;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod operate;
pub(crate) mod provider;
pub(crate) mod refresh;
pub(crate) mod serve;
pub(crate) mod service_token;
pub(crate) mod status;
pub(crate) mod token;
mod token_form;

use std::path::PathBuf;
use std::thread;

use clap::{CommandFactory as _, Parser, Subcommand};
use jeton_core::keep::ports::OperatorCommand;

use crate::command_error::{CommandError, UNCONFIGURED};
use crate::core_dump;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::{self, LoadedSettings, SettingSources, Settings};
use crate::telemetry::{self, Level};

/// Keeps the OAuth tokens of your programs alive
#[derive(Debug, Parser)]
#[command(
    name = "jeton",
    version,
    about,
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
    /// The settings file [default: that of `JETON_CONFIG`, else jeton.toml in the working directory, else /etc/jeton/jeton.toml]
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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Connect(connect::ConnectArgs),
    /// Delete the tokens of a connection, and have its provider revoke the grant if it can; definition and log stay
    Disconnect(operate::OperateArgs),
    /// Stop refreshing a connection until it is resumed; its current token is still served
    Pause(operate::OperateArgs),
    /// Refresh a paused connection again
    Resume(operate::OperateArgs),
    Token(token::TokenArgs),
    Refresh(refresh::RefreshArgs),
    Status(status::StatusArgs),
    Logs(logs::LogsArgs),
    Audit(audit::AuditArgs),
    #[command(subcommand)]
    ServiceToken(service_token::ServiceTokenCommand),
    #[command(subcommand)]
    Provider(provider::ProviderCommand),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Migrate(migrate::MigrateArgs),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Adopt(adopt::AdoptArgs),
    Doctor(doctor::DoctorArgs),
    #[command(subcommand, hide = true)]
    Docs(docs::DocsCommand),
}

impl Command {
    /// The flag of this command that is a setting: the flag, the setting, its text.
    pub(crate) fn setting_flag(&self) -> Option<(&'static str, String, String)> {
        match self {
            Self::Serve(serve) => serve.setting_flag(),
            _ => None,
        }
    }

    /// Whether this command works without client secrets, because it sends nothing to a provider: where a service manager
    /// gives them to the server, the shell of an operator has none.
    pub(crate) fn asks_no_provider(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::Logs(_)
            | Self::Audit(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::ServiceToken(_)
            | Self::Migrate(_)
            | Self::Backup(_)
            | Self::Restore(_)
            | Self::Adopt(_) => true,
            Self::Init(_)
            | Self::Demo(_)
            | Self::Serve(_)
            | Self::Connect(_)
            | Self::Disconnect(_)
            | Self::Token(_)
            | Self::Refresh(_)
            | Self::Provider(_)
            | Self::Config(_)
            | Self::Doctor(_)
            | Self::Docs(_) => false,
        }
    }

    pub(crate) async fn run(self, sources: &SettingSources, output: Output) -> Result<(), CommandError> {
        let is_server = matches!(self, Self::Serve(_));
        let may_create = match &self {
            Self::Serve(_) | Self::Migrate(_) => true,
            Self::ServiceToken(command) => !command.needs_installation(),
            _ => false,
        };
        let load = || settings::load(sources);
        let ready = || start_logging(load(), is_server, may_create);
        match self {
            Self::Docs(docs) => docs.run(Arguments::command()),
            Self::Config(config) => config.run(&load(), &sources.environment, output),
            Self::Provider(provider) => provider.run(&load(), output).await,
            Self::Init(init) => init.run(sources, output).await,
            Self::Doctor(doctor) => doctor.run(sources, output).await,
            Self::Demo(demo) => demo.run(sources, output).await,
            Self::Serve(serve) => serve.run(ready()?, output).await,
            Self::Connect(connect) => connect.run(ready()?, &sources.environment, output).await,
            Self::Disconnect(args) => args.run(OperatorCommand::Disconnect, ready()?, output).await,
            Self::Pause(args) => args.run(OperatorCommand::Pause, ready()?, output).await,
            Self::Resume(args) => args.run(OperatorCommand::Resume, ready()?, output).await,
            Self::Token(token) => token.run(ready()?, output).await,
            Self::Refresh(refresh) => refresh.run(ready()?, output).await,
            Self::Status(status) => status.run(ready()?, output).await,
            Self::Logs(logs) => logs.run(ready()?, output).await,
            Self::Audit(audit) => audit.run(&ready()?, output).await,
            Self::Migrate(migrate) => migrate.run(&ready()?, output).await,
            Self::Backup(backup) => backup.run(&ready()?, output).await,
            Self::Restore(restore) => restore.run(&ready()?, output).await,
            Self::ServiceToken(token) => token.run(&ready()?, output).await,
            Self::Adopt(adopt) => adopt.run(&ready()?, output).await,
        }
    }
}

/// The settings, if they are right. Log lines are written from here on. Unless the command `may_create` an installation,
/// there must be one, or settings for one.
fn start_logging(
    loaded: LoadedSettings,
    is_server: bool,
    may_create: bool,
) -> Result<Settings, CommandError> {
    if !may_create && loaded.is_unconfigured() {
        return Err(CommandError::new(ErrorCode::InstallationUnusable, UNCONFIGURED));
    }
    let LoadedSettings { settings, values, warnings, .. } = loaded;
    // Freeing very many values takes a moment, and nothing waits for it.
    thread::spawn(move || drop(values));
    let settings = settings?;
    if settings.allow_core_dumps {
        core_dump::allow().map_err(|error| {
            CommandError::new(ErrorCode::SystemRefused, format!("core files cannot be allowed: {error}"))
        })?;
    }
    let level = if is_server || settings.level_is_explicit { &settings.level } else { &Level::OFF };
    telemetry::begin(level, settings.access_log, settings.format).map_err(|error| {
        CommandError::new(ErrorCode::SystemRefused, format!("log lines cannot be written: {error}"))
    })?;
    if is_server {
        for warning in warnings {
            tracing::warn!("{warning}");
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
