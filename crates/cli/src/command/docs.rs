//! `jeton docs`: the reference pages that are made from the program itself.

use clap::Subcommand;

use crate::failure::Failure;
use crate::output::Output;
use crate::reference;

/// Print a reference page
#[derive(Debug, Subcommand)]
pub(crate) enum Docs {
    /// docs/reference/settings.md
    Settings,
    /// docs/reference/command-line.md
    CommandLine,
    /// docs/reference/providers.md
    Providers,
    /// docs/reference/openapi.json
    Openapi,
}

impl Docs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let page = match self {
            Self::Settings => reference::settings::page(),
            Self::CommandLine => reference::command_line::page(),
            Self::Providers => reference::providers::page(),
            Self::Openapi => jeton_server::openapi().to_owned(),
        };
        Ok(Output::text(&page)?)
    }
}
