//! What the project does to itself: `cargo xtask test`, `check-arch`, `soak`, `rig`.

mod arch;
mod report;
mod rig;
mod soak;
mod test_run;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What the project does to itself")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The whole test run: finds or installs what it needs, then runs every check; stops at the first that fails
    Test(test_run::Options),
    /// Holds the tree to the arrows of ARCHITECTURE.md, the sizes and the names
    CheckArch,
    /// Kills, pauses and restarts real processes while a strict provider rotates their tokens, then judges every loss
    Soak(soak::Options),
    /// Installs the packages of the OAuth server that others wrote, which tests start
    Rig,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(options) => test_run::run(&options),
        Task::CheckArch => arch::run(jeton_testkit::project_root()),
        Task::Soak(options) => soak::run(&options),
        Task::Rig => rig::install(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
