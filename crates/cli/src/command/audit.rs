//! `jeton audit`.

use jeton_core::audit::{AuditAction, AuditFilter, AuditRow};
use jeton_core::id::ServiceName;
use jeton_core::time::Timestamp;
use serde_json::Value;

use crate::app::{self, HostEnv, OpenMode};
use crate::command_error::CommandError;
use crate::output::{Output, Table};
use crate::settings::Settings;

/// Show who did what to connections and service tokens, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// Only of this connection, or of the tokens of this service
    name: Option<ServiceName>,
    /// How many rows at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
}

impl AuditArgs {
    pub(crate) async fn run(self, settings: &Settings, output: Output) -> Result<(), CommandError> {
        let (store, _) = app::open_installation(settings, &HostEnv::system(), OpenMode::Existing).await?;
        let filter = AuditFilter { before: None, subject: self.name.map(|name| name.to_string()) };
        let rows = store.list_audit_rows(filter, usize::from(self.lines)).await?;
        let mut table = Table::new(["AT", "WHO", "WHAT", "NAME", "DETAILS"], "the audit log is empty");
        for row in &rows {
            table.row([
                row.at.to_the_second().to_string(),
                row.actor.to_string(),
                row.action.as_str().to_owned(),
                row.subject.clone(),
                details(row),
            ]);
        }
        Ok(output.print_table(&table, &rows)?)
    }
}

/// The details of a row, for people.
fn details(row: &AuditRow) -> String {
    let detail = |name: &str| text_of(&row.details[name]);
    let until = |name: &str| {
        let end: Option<Timestamp> = serde_json::from_value(row.details[name].clone()).ok();
        end.map_or("forever".to_owned(), |end| format!("until {}", end.to_the_second()))
    };
    match row.action {
        AuditAction::TokenCreated => {
            let scopes = detail("scopes");
            let scopes = if scopes.is_empty() { "nothing" } else { &scopes };
            format!("token {} grants {scopes}, {}", detail("token"), until("expires_at"))
        }
        AuditAction::TokenRotated => format!(
            "token {} in place of {}, which is valid {}",
            detail("token"),
            detail("replaces"),
            until("replaced_counts_until")
        ),
        AuditAction::TokenRevoked => format!("token {}", detail("token")),
        AuditAction::Invited => format!("the link of consent {}", detail("consent")),
        AuditAction::Connected => {
            let kind =
                if row.details["replaced"] == true { "a grant in place of another" } else { "a grant" };
            format!("{kind}, generation {}", detail("generation"))
        }
        AuditAction::Paused | AuditAction::Resumed | AuditAction::Disconnected => String::new(),
    }
}

/// The text of a text, a number, or a list of them.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}
