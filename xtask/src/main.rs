//! What the project does to itself: `cargo xtask test`, `check-arch`, `rig`, and the proofs: `keep-alive`, `stampede`, `soak`,
//! `vend`.

mod arch;
mod keep_alive;
mod load;
mod proof;
mod report;
mod rig;
mod soak;
mod stampede;
mod test_run;
mod tools;
mod vend;

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
    /// Rotates a one-time refresh token of a server that others wrote, while many clients use the access token
    KeepAlive(keep_alive::Options),
    /// Lets many tasks in several processes ask for an expired token at once: it is spent once
    Stampede(stampede::Options),
    /// Measures what it costs to be given a token from memory
    Vend(vend::Options),
    /// Installs the packages of the OAuth server that others wrote, which tests start
    Rig,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(options) => test_run::run(&options),
        Task::CheckArch => arch::run(jeton_testkit::project_root()),
        Task::Soak(options) => soak::run(&options),
        Task::KeepAlive(options) => keep_alive::run(&options),
        Task::Stampede(options) => stampede::run(&options),
        Task::Vend(options) => vend::run(&options),
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
