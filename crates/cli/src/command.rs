//! What each command does: one file a command.

pub(crate) mod adopt;
pub(crate) mod audit;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod demo;
pub(crate) mod disconnect;
pub(crate) mod docs;
pub(crate) mod doctor;
mod import;
pub(crate) mod init;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod pause;
pub(crate) mod provider;
pub(crate) mod refresh;
pub(crate) mod resume;
pub(crate) mod serve;
pub(crate) mod service_token;
pub(crate) mod status;
pub(crate) mod token;

use std::thread;

use jeton_core::keep::ports::OperatorCommand;
use serde_json::json;

use crate::actor;
use crate::app::{App, HostEnv};
use crate::arguments::Command;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::{self, LoadedSettings, SettingSources, Settings};
use crate::stop_signals::StopSignals;
use crate::telemetry::{self, Level};

/// Runs one command to its end.
pub(crate) async fn run(
    command: Command,
    sources: &SettingSources,
    output: Output,
) -> Result<(), CommandError> {
    let is_server = command.is_server();
    let load = || settings::load(sources);
    match command {
        Command::Docs(docs) => docs.run(),
        Command::Config(config) => config.run(&load(), &sources.environment, output),
        Command::Provider(provider) => provider.run(&load(), output).await,
        Command::Init(init) => init.run(sources, output).await,
        Command::Doctor(doctor) => doctor.run(load(), output).await,
        Command::Demo(demo) => demo.run(sources, output).await,
        Command::Serve(serve) => serve.run(ready(load(), is_server)?, output).await,
        Command::Connect(connect) => {
            connect.run(ready(load(), is_server)?, &sources.environment, output).await
        }
        Command::Disconnect(disconnect) => disconnect.run(ready(load(), is_server)?, output).await,
        Command::Pause(pause) => pause.run(ready(load(), is_server)?, output).await,
        Command::Resume(resume) => resume.run(ready(load(), is_server)?, output).await,
        Command::Token(token) => token.run(ready(load(), is_server)?, output).await,
        Command::Refresh(refresh) => refresh.run(ready(load(), is_server)?, output).await,
        Command::Status(status) => status.run(ready(load(), is_server)?, output).await,
        Command::Logs(logs) => logs.run(ready(load(), is_server)?, output).await,
        Command::Audit(audit) => audit.run(&ready(load(), is_server)?, output).await,
        Command::Migrate(migrate) => migrate.run(&ready(load(), is_server)?, output).await,
        Command::ServiceToken(token) => token.run(&ready(load(), is_server)?, output).await,
        Command::Adopt(adopt) => adopt.run(&ready(load(), is_server)?, output).await,
    }
}

/// The settings, once all of them are right; log lines are written from here on.
fn ready(loaded: LoadedSettings, is_server: bool) -> Result<Settings, CommandError> {
    let LoadedSettings { settings, values, warnings, .. } = loaded;
    // What was written is of no more use. With very many values that takes a moment, and nobody waits for it.
    thread::spawn(move || drop(values));
    let settings = settings?;
    let level = if is_server || settings.level_is_explicit { &settings.level } else { &Level::ERRORS };
    telemetry::begin(level, settings.format).map_err(|error| {
        CommandError::new(ErrorCode::SystemRefused, format!("log lines cannot be written: {error}"))
    })?;
    if is_server {
        for warning in warnings {
            tracing::warn!("{warning}");
        }
    }
    Ok(settings)
}

/// Opens the app, does `act` in it, and leaves in order: a refresh under way goes to its end, also when the person at
/// the terminal does not want to wait for it. A second signal ends the process at once; what it did is on record.
async fn with_app(
    settings: Settings,
    act: impl AsyncFnOnce(&App) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut stop_signals = listen()?;
    let app = App::open(settings, HostEnv::system()).await?;
    let ended = tokio::select! {
        ended = act(&app) => ended,
        signal = stop_signals.next() => Err(stopped(signal)),
    };
    tokio::select! {
        () = app.vault.drain() => ended,
        signal = stop_signals.next() => ended.and(Err(stopped(signal))),
    }
}

fn listen() -> Result<StopSignals, CommandError> {
    StopSignals::listen().map_err(|error| {
        CommandError::new(ErrorCode::SystemRefused, format!("signals cannot be heard: {error}"))
    })
}

fn stopped(signal: &str) -> CommandError {
    let text = format!("stopped by {signal}; `jeton logs` says what became of refreshes that were under way");
    CommandError::new(ErrorCode::Stopped, text)
}

/// Pauses, resumes or disconnects, and says so.
async fn administer(
    settings: Settings,
    output: Output,
    name: String,
    act: OperatorCommand,
    (result, said): (&str, &str),
) -> Result<(), CommandError> {
    with_app(settings, async |app| {
        app.vault.administer(&name, act, &actor::current()).await?;
        let text = format!("`{name}` is {result}: {said}");
        Ok(output.print(&text, &json!({ "connection": name, "result": result }))?)
    })
    .await
}
