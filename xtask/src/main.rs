//! `cargo xtask`: the test run, the check of the tree, and the proofs under load.

mod arch;
mod callers;
mod clocks;
mod concurrent_refresh;
mod conformance;
mod gateway;
mod isolation;
mod keep_alive;
mod latency;
mod load;
mod many_connections;
mod oidc_run;
mod outage;
mod proof;
mod refresh_log;
mod rig;
mod rotation;
mod server_memory;
mod setup;
mod soak;
mod test_run;
mod token_reply;
mod token_speed;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tests the project, checks its tree, and measures it")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Finds or installs what the tests need, then runs every check; stops at the first that fails
    Test(test_run::Options),
    /// Checks dependencies, circles of files, sizes, names, words and commit subjects
    CheckArch,
    /// Counts the lines of Rust by crate
    Lines,
    /// Kills, pauses and restarts real processes while a strict provider rotates their tokens, then explains every loss
    Soak(soak::Options),
    /// Rotates a refresh token of a server that others wrote, while many callers use the access token
    KeepAlive(keep_alive::Options),
    /// Takes providers down in every way for seconds, minutes and half an hour: nobody is called, and all grants live on
    Outage(outage::Options),
    /// Keeps one connection alive beside hundreds whose provider takes requests and never answers
    Isolation(isolation::Options),
    /// Sets the clocks of real processes and of their database by hours and days: no token is given past its life
    Clocks(clocks::Options),
    /// Asks for an expired token with many tasks in several processes at once: it is spent once
    ConcurrentRefresh(concurrent_refresh::Options),
    /// Rotates a service token again and again while its service calls: no call is refused
    Rotation(rotation::Options),
    /// Measures the cost of a token from memory
    TokenSpeed(token_speed::Options),
    /// Ends tokens early under many callers of the gateway, sends large bodies through it, and measures its speed
    Gateway(gateway::Options),
    /// Starts a server with very many connections, and measures its start, its memory and its answers
    ManyConnections(many_connections::Options),
    /// Checks every answer of a server against its document
    Conformance(conformance::Options),
    /// Installs the packages of the OAuth server that tests start
    Rig,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(options) => test_run::run(&options),
        Task::CheckArch => arch::run(jeton_testkit::project_root()),
        Task::Lines => arch::lines(jeton_testkit::project_root()),
        Task::Soak(options) => soak::run(&options),
        Task::KeepAlive(options) => keep_alive::run(&options),
        Task::Outage(options) => outage::run(&options),
        Task::Isolation(options) => isolation::run(&options),
        Task::Clocks(options) => clocks::run(&options),
        Task::ConcurrentRefresh(options) => concurrent_refresh::run(&options),
        Task::Rotation(options) => rotation::run(&options),
        Task::TokenSpeed(options) => token_speed::run(&options),
        Task::Gateway(options) => gateway::run(&options),
        Task::ManyConnections(options) => many_connections::run(&options),
        Task::Conformance(options) => conformance::run(&options),
        Task::Rig => rig::install(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tools::print_line(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
