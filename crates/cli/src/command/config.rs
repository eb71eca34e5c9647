//! `jeton config`.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::command_error::{CommandError, UNCONFIGURED};
use crate::env_vars::EnvVars;
use crate::error_code::ErrorCode;
use crate::output::{self, Output};
use crate::settings::{LoadedSettings, SettingFault, show};

/// Look at the settings
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check all settings, provider files and connections, and say what is wrong where
    Check,
    /// Print what is in force and where each value came from; secrets are hidden
    Show,
}

impl ConfigCommand {
    pub(crate) fn run(
        self,
        loaded: &LoadedSettings,
        environment: &EnvVars,
        output: Output,
    ) -> Result<(), CommandError> {
        match self {
            Self::Check => check(loaded, output),
            Self::Show => show(loaded, environment, output),
        }
    }
}

fn check(loaded: &LoadedSettings, output: Output) -> Result<(), CommandError> {
    let faults = loaded.faults();
    if faults.is_empty() && loaded.is_unconfigured() {
        return Err(CommandError::new(ErrorCode::InstallationUnusable, UNCONFIGURED));
    }
    if output.json {
        Output::print_json(&json!({
            "ok": faults.is_empty(),
            "faults": faults.iter().map(SettingFault::to_json).collect::<Vec<_>>(),
            "warnings": loaded.warnings,
        }))?;
    } else {
        loaded.warnings.iter().try_for_each(|warning| output::print_note(&format!("warning: {warning}")))?;
    }
    match &loaded.settings {
        Err(_) if output.json => Err(CommandError::reported(ErrorCode::SettingsInvalid)),
        Err(faults) => Err(faults.clone().into()),
        Ok(_) if output.json => Ok(()),
        Ok(settings) => {
            let from = match (&loaded.file, loaded.machine_file()) {
                (None, _) => "; no settings file".to_owned(),
                (_, Some(file)) => format!("; {}", file.display()),
                _ => String::new(),
            };
            Ok(Output::print_line(&format!("OK (connections: {}{from})", settings.definitions.len()))?)
        }
    }
}

/// Prints what was read, also where it is wrong: that is when a person wants to see it.
fn show(loaded: &LoadedSettings, environment: &EnvVars, output: Output) -> Result<(), CommandError> {
    let shown = show::shown(&loaded.values, &loaded.catalogue, environment);
    if output.json {
        Output::print_json(&shown.iter().map(show::ShownSetting::to_json).collect::<Vec<Value>>())?;
    } else {
        let lines: Vec<_> =
            shown.iter().map(|one| (format!("{} = {}", one.name, one.text()), &one.origin)).collect();
        let width =
            lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width < 72).max().unwrap_or(0);
        let text: Vec<_> =
            lines.iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect();
        Output::print_text(&text.concat())?;
    }
    match &loaded.settings {
        Ok(_) => Ok(()),
        Err(faults) => Err(faults.clone().into()),
    }
}
