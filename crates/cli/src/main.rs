//! The binary `jeton`: reads arguments, environment and settings once, and runs one command with them.
//!
//! * Which command? [`command`], and the file of its name below.
//! * Which setting? [`settings`].
//! * How are store, keeper and server put together? [`app`], [`command::serve`].

mod actor;
mod app;
mod command;
mod command_error;
mod core_dump;
mod descriptors;
mod env_file;
mod env_vars;
mod error_code;
mod http;
mod output;
mod printable;
mod settings;
mod signals;
mod telemetry;
mod time_format;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use command::{Arguments, Command};
use command_error::CommandError;
use env_vars::{CONFIG_VARIABLE, ENV_FILE, EnvVars};
use error_code::ErrorCode;
use output::Output;
use printable::is_printable;
use settings::SettingSources;

fn main() -> ExitCode {
    // Before the first secret is read.
    if let Err(error) = core_dump::forbid() {
        // Without standard error nobody can be told.
        let _ =
            output::print_note(&format!("warning: core files of this process cannot be forbidden: {error}"));
    }
    let Arguments { global, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return reject(&error),
    };
    let output = Output { json: global.json };
    let mut flags: Vec<_> = global.set.into_iter().map(|(name, text)| ("--set", name, text)).collect();
    flags.extend(command.setting_flag());
    let environment = EnvVars::of_process(ENV_FILE.as_ref());
    let sources = SettingSources {
        config: global.config.or_else(|| environment.path(CONFIG_VARIABLE)),
        without_secrets: command.asks_no_provider(),
        flags,
        environment,
    };
    match run(command, &sources, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, output),
    }
}

/// Answers arguments that name no command: help and version are printed, anything else is wrong use.
fn reject(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let sentence = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        return fail(&CommandError::usage(sentence), Output { json: true });
    }
    let typed = std::env::args_os().skip(1);
    let is_clean = typed.into_iter().all(|argument| argument.to_str().is_some_and(is_printable));
    let printed = if is_clean {
        error.print().is_ok()
    } else {
        // It repeats what was typed.
        output::print_note(error.render().to_string().trim_end()).is_ok()
    };
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
    let ended = runtime.block_on(async {
        signals::survive_others()?;
        command.run(sources, output).await
    });
    // The command has drained its refreshes. A DNS lookup that still runs is not waited for.
    runtime.shutdown_background();
    telemetry::flush();
    match ended {
        // The reader has what it wanted: `jeton status | head -1`.
        Err(failure) if failure.is_broken_pipe() => Ok(()),
        ended => ended,
    }
}

fn fail(failure: &CommandError, output: Output) -> ExitCode {
    // Without standard error, the exit code is all that can be reported.
    let _ = print_error(failure, output);
    ExitCode::from(failure.exit() as u8)
}

fn print_error(failure: &CommandError, output: Output) -> io::Result<()> {
    let mut err = io::stderr().lock();
    match (failure.is_reported(), output.json) {
        (true, _) => Ok(()),
        (false, false) => write!(err, "{failure}"),
        (false, true) => {
            let text = serde_json::to_string_pretty(failure.problem()).map_err(io::Error::from)?;
            writeln!(err, "{text}")
        }
    }
}
