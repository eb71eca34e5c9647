//! `jeton docs`: reference pages from what the program itself reads. `cargo run -- docs settings >
//! docs/reference/settings.md` writes one.

mod command_line;
mod providers;
mod settings;

use clap::Subcommand;

use crate::command_error::CommandError;
use crate::output::Output;

/// Print a reference page
#[derive(Debug, Subcommand)]
pub(crate) enum DocsCommand {
    /// docs/reference/settings.md
    Settings,
    /// docs/reference/command-line.md
    CommandLine,
    /// docs/reference/providers.md
    Providers,
    /// docs/reference/openapi.json
    Openapi,
}

impl DocsCommand {
    /// Prints the page; `command_line` is the one of the program.
    pub(crate) fn run(self, command_line: clap::Command) -> Result<(), CommandError> {
        let page = match self {
            Self::Settings => settings::page(),
            Self::CommandLine => command_line::page(command_line),
            Self::Providers => providers::page(),
            Self::Openapi => jeton_server::openapi().to_owned(),
        };
        Ok(Output::print_text(&page)?)
    }
}
