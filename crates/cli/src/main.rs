//! The binary `jeton`: reads arguments, environment and settings once, and runs one command with them.
//!
//! * Which command? [`arguments`], and the file of its name below [`command`].
//! * Which setting? [`settings`].
//! * What works together, and how? [`compose`].

mod arguments;
mod code;
mod command;
mod compose;
mod environment;
mod failure;
mod moment;
mod output;
mod reference;
mod settings;
mod signals;
mod telemetry;
mod who;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};
use code::Code;
use environment::Environment;
use failure::Failure;
use output::Output;
use settings::Sources;

fn main() -> ExitCode {
    let Arguments { everywhere, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let output = Output { json: everywhere.json };
    let mut flags: Vec<_> = everywhere.set.into_iter().map(|(name, text)| ("--set", name, text)).collect();
    flags.extend(command.settings());
    let sources = Sources { config: everywhere.config, flags, environment: Environment::of_process() };
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
        return fail(&Failure::wrong_use(sentence), Output { json: true });
    }
    let printed = error.print().is_ok();
    if printed && !error.use_stderr() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(failure::Exit::WrongUse as u8)
    }
}

fn run(command: Command, sources: &Sources, output: Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::SystemRefused, format!("no thread can be started: {error}")))?;
    let ended = runtime.block_on(command::run(command, sources, output));
    // What had to be waited for was drained; a name that is still being looked up keeps nobody here.
    runtime.shutdown_background();
    match ended {
        // Whoever read our output has what it wanted: `jeton status | head -1`.
        Err(failure) if failure.is_broken_pipe() => Ok(()),
        ended => ended,
    }
}

fn fail(failure: &Failure, output: Output) -> ExitCode {
    // When standard error is gone too, the exit code is all that is left to say.
    let _ = say(failure, output);
    ExitCode::from(failure.exit() as u8)
}

fn say(failure: &Failure, output: Output) -> io::Result<()> {
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
