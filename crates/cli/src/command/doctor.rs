//! `jeton doctor`: checks everything that an installation needs, changes nothing, and says what to do.
//!
//! * Findings: [`report`]. Folders, files and their modes: [`files`]. Database, key, hold and spill slots: [`store`]. Disk and
//!   clock: [`machine`]. Grants: [`grants`]. What tells copies: [`clones`]. Hosts of token endpoints: [`hosts`], and
//!   those that do not answer: [`outages`].

mod clones;
mod files;
mod grants;
mod hosts;
mod machine;
mod outages;
mod report;
mod store;

use crate::app::HostEnv;
use crate::command_error::{CommandError, UNCONFIGURED};
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::{self, SettingSources, Settings};
use report::Report;

/// Check the installation and say what to do
///
/// It changes nothing and spends no token. It connects to the hosts of token endpoints, up to the TLS handshake, and sends
/// no request but for the public metadata of an issuer.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Do not connect to the hosts of token endpoints, nor to issuers
    #[arg(long)]
    offline: bool,
    /// Show what the installation is known by, and which copies of it would be noticed
    #[arg(long)]
    clones: bool,
}

impl DoctorArgs {
    pub(crate) async fn run(self, sources: &SettingSources, output: Output) -> Result<(), CommandError> {
        let loaded = settings::load(sources);
        let mut report = Report::default();
        if loaded.settings.is_ok() && loaded.is_unconfigured() {
            report.fault("settings", UNCONFIGURED);
        }
        for warning in &loaded.warnings {
            report.warning("settings", warning);
        }
        match &loaded.settings {
            Ok(settings) => self.check(settings, &mut report).await,
            Err(faults) => {
                if let Ok(settings) = settings::load_without_secrets(sources).settings {
                    // All else is right, and the server may have them.
                    for fault in faults {
                        let text = format!("{fault}, where `jeton serve` starts; this shell lacks it");
                        report.warning("settings", text);
                    }
                    self.check(&settings, &mut report).await;
                } else {
                    for fault in faults {
                        report.fault("settings", fault.to_string());
                    }
                    report.warning("settings", "nothing else can be checked until they are right");
                }
            }
        }
        report.print(output)?;
        if report.has_faults() { Err(CommandError::reported(ErrorCode::FaultsFound)) } else { Ok(()) }
    }

    async fn check(self, settings: &Settings, report: &mut Report) {
        let host = HostEnv::system();
        let now = host.clock.now();
        definitions(settings, report);
        files::check(settings, report);
        machine::disk(&settings.data_dir, report);
        let findings = store::check(settings, &host, self.clones, report).await;
        store::spill_slots(&settings.data_dir, settings.keeper.spill_slots, report);
        machine::clock(now, &findings.connections, report);
        let outages = outages::check(settings, &findings, report);
        grants::check(settings, &findings, &outages, now, report);
        if !self.offline {
            hosts::check(settings, &findings, &host.clock, report).await;
        }
    }
}

fn definitions(settings: &Settings, report: &mut Report) {
    match settings.definitions.len() {
        0 => report.warning(
            "settings",
            "no connection is defined; add one with `jeton init --provider PROVIDER --name NAME`",
        ),
        1 => report.ok("settings", "1 connection is defined"),
        count => report.ok("settings", format!("{count} connections are defined")),
    }
    for (name, definition) in &settings.definitions {
        if let Some(emulator) = definition.emulator() {
            let text = format!(
                "`{name}` uses an emulated provider, and its tokens are good for nothing else; remove `emulated_at = \
                 \"{emulator}\"` from its settings to use the real one"
            );
            report.warning("settings", text);
        }
    }
}
