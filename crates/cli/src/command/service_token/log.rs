//! `jeton service-token log`.

use jeton_core::access::ServiceName;
use jeton_core::audit::{AuditFilter, AuditRow, Deed};
use jeton_core::time::Timestamp;
use jeton_issuer::Access;
use serde_json::Value;

use crate::failure::Failure;
use crate::moment::to_the_second;
use crate::output::{Output, Table};

/// Show who made, rotated and revoked service tokens, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// Only of this service
    name: Option<ServiceName>,
    /// How many rows at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
}

impl Log {
    pub(super) async fn run(self, access: &Access, output: Output) -> Result<(), Failure> {
        let subject = self.name.map(|name| name.to_string());
        let rows = access.audit(AuditFilter { before: None, subject }, usize::from(self.lines)).await?;
        let head = ["AT", "WHO", "WHAT", "SERVICE", "TOKEN", "DETAILS"];
        let mut table = Table::new(head, "nothing is on record");
        for row in &rows {
            table.row([
                to_the_second(row.at),
                row.actor.to_string(),
                row.deed.as_str().to_owned(),
                row.subject.clone(),
                said(&row.details["token"]),
                told_of(row),
            ]);
        }
        Ok(output.rows(&table, &rows)?)
    }
}

/// What a row says besides its columns, for people.
fn told_of(row: &AuditRow) -> String {
    let until = |name: &str| {
        let end: Option<Timestamp> = serde_json::from_value(row.details[name].clone()).ok();
        end.map_or("for good".to_owned(), |end| format!("until {}", to_the_second(end)))
    };
    match row.deed {
        Deed::TokenCreated => {
            let scopes = said(&row.details["scopes"]);
            let scopes = if scopes.is_empty() { "nothing" } else { &scopes };
            format!("grants {scopes}, {}", until("expires_at"))
        }
        Deed::TokenRotated => {
            let replaced = said(&row.details["replaces"]);
            format!("in place of {replaced}, which counts {}", until("replaced_counts_until"))
        }
        Deed::TokenRevoked => String::new(),
    }
}

/// A text, or some of them.
fn said(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(said).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}
