//! What the project does to itself: `cargo xtask test`, `check-arch`, `rig`, and the proofs: `keep-alive`, `stampede`, `soak`,
//! `rotation`, `vend`, `gateway`, `crowd`, `databases`, `conformance`.

mod arch;
mod conformance;
mod crowd;
mod databases;
mod gateway;
mod keep_alive;
mod load;
mod proof;
mod report;
mod rig;
mod rotation;
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
    /// Counts the lines of Rust by crate
    Lines,
    /// Kills, pauses and restarts real processes while a strict provider rotates their tokens, then judges every loss
    Soak(soak::Options),
    /// Rotates a one-time refresh token of a server that others wrote, while many clients use the access token
    KeepAlive(keep_alive::Options),
    /// Lets many tasks in several processes ask for an expired token at once: it is spent once
    Stampede(stampede::Options),
    /// Rotates a service token again and again while its service calls: no call is refused
    Rotation(rotation::Options),
    /// Measures what it costs to be given a token from memory
    Vend(vend::Options),
    /// Lets tokens die early under many callers of the gateway, sends large bodies through it, and measures what a call costs
    Gateway(gateway::Options),
    /// Starts a server with very many connections: how soon it is ready, and what it weighs
    Crowd(crowd::Options),
    /// Measures how soon a test has a database of its own
    Databases(databases::Options),
    /// Holds every answer of a server to its document
    Conformance(conformance::Options),
    /// Installs the packages of the OAuth server that others wrote, which tests start
    Rig,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(options) => test_run::run(&options),
        Task::CheckArch => arch::run(jeton_testkit::project_root()),
        Task::Lines => arch::lines(jeton_testkit::project_root()),
        Task::Soak(options) => soak::run(&options),
        Task::KeepAlive(options) => keep_alive::run(&options),
        Task::Stampede(options) => stampede::run(&options),
        Task::Rotation(options) => rotation::run(&options),
        Task::Vend(options) => vend::run(&options),
        Task::Gateway(options) => gateway::run(&options),
        Task::Crowd(options) => crowd::run(&options),
        Task::Databases(options) => databases::run(&options),
        Task::Conformance(options) => conformance::run(&options),
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
