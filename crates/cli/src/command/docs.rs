//! `jeton docs`: the reference pages that are made from the program itself.

use clap::Subcommand;

use crate::command_error::CommandError;
use crate::output::Output;
use crate::reference;

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
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let page = match self {
            Self::Settings => reference::settings::page(),
            Self::CommandLine => reference::command_line::page(),
            Self::Providers => reference::providers::page(),
            Self::Openapi => jeton_server::openapi().to_owned(),
        };
        Ok(Output::print_text(&page)?)
    }
}
