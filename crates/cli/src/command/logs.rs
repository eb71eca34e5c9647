//! `jeton logs`.

use jeton_core::audit::Actor;
use jeton_core::id::ConnectionName;
use jeton_core::keep::attempt::Attempt;
use jeton_core::keep::ports::AttemptFilter;
use jeton_server::provider_says;

use crate::app::{OpenMode, with_app};
use crate::command_error::CommandError;
use crate::output::{Output, Table};
use crate::settings::Settings;

/// Show the refresh log, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// How many rows at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
    /// Only what failed or was interrupted
    #[arg(long)]
    failed: bool,
    /// Only of this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<ConnectionName>,
}

impl LogsArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        let filter = AttemptFilter {
            connection: self.connection,
            failed_only: self.failed,
            ..AttemptFilter::default()
        };
        with_app(settings, OpenMode::Existing, async |app| {
            let attempts = app.vault.attempts(&filter, usize::from(self.lines)).await?;
            let mut table = Table::new(
                ["STARTED", "CONNECTION", "TRIGGER", "ASKED BY", "ACT", "STATUS", "GENERATION", "MESSAGE"],
                "the refresh log is empty",
            );
            for attempt in &attempts {
                table.row(row(attempt));
            }
            Ok(output.print_table(&table, &attempts)?)
        })
        .await
    }
}

fn row(attempt: &Attempt) -> [String; 8] {
    let generation = match attempt.new_generation {
        Some(new) => format!("{} -> {}", attempt.generation.0, new.0),
        None => attempt.generation.0.to_string(),
    };
    let parts = [
        attempt.code.clone(),
        attempt.http_status.map(|status| format!("HTTP {status}")),
        attempt.message.clone(),
        attempt.provider_message.as_deref().map(provider_says),
    ];
    [
        attempt.started_at.to_the_second().to_string(),
        attempt.connection.to_string(),
        attempt.trigger.as_str().to_owned(),
        attempt.asked_by.as_ref().map_or("-".to_owned(), Actor::to_string),
        attempt.act.as_str().to_owned(),
        attempt.status.as_str().to_owned(),
        generation,
        parts.into_iter().flatten().collect::<Vec<_>>().join(", "),
    ]
}
