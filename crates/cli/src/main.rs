//! The binary `jeton`: reads arguments, environment and settings once, and runs one command with them.
//!
//! * Which command? [`arguments`], and the file of its name below [`command`].
//! * Which setting? [`settings`].
//! * What works together, and how? [`app`].

mod actor;
mod app;
mod arguments;
mod command;
mod command_error;
mod env_vars;
mod error_code;
mod output;
mod reference;
mod settings;
mod stop_signals;
mod telemetry;
mod time_format;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};
use command_error::CommandError;
use env_vars::EnvVars;
use error_code::ErrorCode;
use output::Output;
use settings::SettingSources;

fn main() -> ExitCode {
    let Arguments { global, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let output = Output { json: global.json };
    let mut flags: Vec<_> = global.set.into_iter().map(|(name, text)| ("--set", name, text)).collect();
    flags.extend(command.settings());
    let sources = SettingSources { config: global.config, flags, environment: EnvVars::of_process() };
    match run(command, &sources, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, output),
    }
}

/// Answers arguments that are none: help and version are what was asked for, anything else is wrong use.
fn refuse(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let sentence = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        return fail(&CommandError::usage(sentence), Output { json: true });
    }
    let printed = error.print().is_ok();
    if printed && !error.use_stderr() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(command_error::Exit::Usage as u8)
    }
}

fn run(command: Command, sources: &SettingSources, output: Output) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        CommandError::new(ErrorCode::SystemRefused, format!("no thread can be started: {error}"))
    })?;
    let ended = runtime.block_on(command::run(command, sources, output));
    // What had to be waited for was drained; a name that is still being looked up keeps nobody here.
    runtime.shutdown_background();
    match ended {
        // Whoever read our output has what it wanted: `jeton status | head -1`.
        Err(failure) if failure.is_broken_pipe() => Ok(()),
        ended => ended,
    }
}

fn fail(failure: &CommandError, output: Output) -> ExitCode {
    // When standard error is gone too, the exit code is all that is left to say.
    let _ = say(failure, output);
    ExitCode::from(failure.exit() as u8)
}

fn say(failure: &CommandError, output: Output) -> io::Result<()> {
    let mut err = io::stderr().lock();
    match (failure.is_said(), output.json) {
        (true, _) => Ok(()),
        (false, false) => write!(err, "{failure}"),
        (false, true) => {
            let text = serde_json::to_string_pretty(failure.problem()).map_err(io::Error::from)?;
            writeln!(err, "{text}")
        }
    }
}
