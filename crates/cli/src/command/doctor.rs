//! `jeton doctor`: looks at everything that an installation needs, changes nothing, and says what to do.
//!
//! * What is said, and how? [`report`].
//! * Folders, files and their modes: [`files`]. Database, key, hold and spill slots: [`store`], [`postgres`]. Disk
//!   and clock: [`machine`].
//! * Grants that are over or will be: [`grants`]. Hosts that cannot be reached: [`hosts`].

mod files;
mod grants;
mod hosts;
mod machine;
mod postgres;
mod report;
mod store;

use crate::app::HostEnv;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::{LoadedSettings, Settings};
use report::Report;

/// Check the installation and say what to do
///
/// Nothing is changed and nothing is spent. The hosts of token endpoints are connected to, up to their TLS handshake; no
/// request is sent.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Do not connect to the hosts of token endpoints
    #[arg(long)]
    offline: bool,
}

impl DoctorArgs {
    pub(crate) async fn run(self, loaded: LoadedSettings, output: Output) -> Result<(), CommandError> {
        let mut report = Report::default();
        for warning in &loaded.warnings {
            report.warning("settings", warning);
        }
        match &loaded.settings {
            Ok(settings) => self.check(settings, &mut report).await,
            Err(faults) => {
                for fault in faults {
                    report.fault("settings", fault.to_string());
                }
                report.warning("settings", "nothing else can be looked at before they are right");
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
        let found = store::check(settings, &host, report).await;
        store::spill_slots(&settings.data_dir, report);
        machine::clock(now, &found.connections, report);
        grants::check(settings, &found.connections, now, report);
        if !self.offline {
            hosts::check(settings, &found, report).await;
        }
    }
}

fn definitions(settings: &Settings, report: &mut Report) {
    match settings.definitions.len() {
        0 => report.warning(
            "settings",
            "no connection is defined; `jeton init --provider PROVIDER --name NAME` adds one",
        ),
        1 => report.ok("settings", "1 connection is defined"),
        count => report.ok("settings", format!("{count} connections are defined")),
    }
    for (name, definition) in &settings.definitions {
        if let Some(emulator) = definition.emulator() {
            let text = format!(
                "`{name}` is kept at an emulated provider, and its tokens are good for nothing else; take \
                 `emulated_at = \"{emulator}\"` out of its settings when it is meant in earnest"
            );
            report.warning("settings", text);
        }
    }
}
