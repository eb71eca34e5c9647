//! `jeton refresh`.

use futures_util::{StreamExt as _, stream};
use jeton_core::keep::connection::Condition;
use jeton_core::suggest;
use jeton_core::time::Timestamp;
use jeton_keeper::{RefreshMode, Refreshed, Status, TokenError, Vault};
use jeton_server::{token_message, token_problem};
use serde_json::{Value, json};

use super::status::all_statuses;
use crate::actor;
use crate::app::{OpenMode, with_app};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::{Output, Table};
use crate::settings::Settings;
use crate::time_format::relative;

/// How many connections refresh at once; the keeper limits each provider besides.
const CONCURRENCY: usize = 16;

/// Refresh the connections that are due, or others
///
/// The command works beside a running server or without one: the two never spend one token twice. Without --sync it prints
/// a line after each refresh and succeeds even if one failed, because the server tries again. With --sync it prints one
/// table at the end, and fails if a refresh failed.
#[derive(Debug, clap::Args)]
pub(crate) struct RefreshArgs {
    /// Only connections of this provider
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// Only this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// Refresh also connections that are not due
    #[arg(long)]
    force: bool,
    /// Wait for all, print a table of results, and fail if one failed
    #[arg(long)]
    sync: bool,
}

/// How the refresh of one connection ended.
enum RefreshResult {
    Refreshed {
        generation: u64,
        expires_at: Option<Timestamp>,
    },
    NotDue {
        expires_at: Option<Timestamp>,
    },
    /// It has nothing to refresh, and the command did not name it.
    Skipped(TokenError),
    Failed(TokenError),
}

impl RefreshArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        with_app(settings, OpenMode::Existing, async |app| {
            let names = self.names(&app.vault).await?;
            let mode = if self.force { RefreshMode::ForcedByPerson } else { RefreshMode::IfDue };
            let by = actor::current();
            let one = async |name: String| {
                let result = self.classify(app.vault.refresh(&name, mode, &by).await);
                (name, result)
            };
            let mut results = stream::iter(names).map(one).buffer_unordered(CONCURRENCY);
            let mut ended = Vec::new();
            while let Some((name, result)) = results.next().await {
                if !self.sync && !output.json {
                    Output::print_line(&format!("{name}: {}", result.text(app.vault.now())))?;
                }
                ended.push((name, result));
            }
            ended.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.print_results(&ended, app.vault.now(), output)
        })
        .await
    }

    /// The names of the connections to refresh.
    async fn names(&self, vault: &Vault) -> Result<Vec<String>, CommandError> {
        if let Some(name) = &self.connection {
            let state = vault.status(name).await?;
            if let Some(provider) =
                self.provider.as_ref().filter(|provider| *provider != state.provider.as_str())
            {
                let text = format!("`{name}` is a connection of `{}`, not of `{provider}`", state.provider);
                return Err(CommandError::usage(text));
            }
            return Ok(vec![name.clone()]);
        }
        let states = all_statuses(vault).await?;
        // Resending a token that may have been spent is a decision for one connection by name, never for all.
        let may_refresh = |state: &&Status| !(self.force && state.condition == Condition::Interrupted);
        let defined = states.iter().filter(|state| !state.orphaned).filter(may_refresh);
        let Some(provider) = &self.provider else {
            return Ok(defined.map(|state| state.name.to_string()).collect());
        };
        let names: Vec<_> = defined
            .clone()
            .filter(|state| state.provider.as_str() == provider)
            .map(|state| state.name.to_string())
            .collect();
        if names.is_empty() {
            let mut used: Vec<&str> = defined.map(|state| state.provider.as_str()).collect();
            used.sort_unstable();
            used.dedup();
            let text =
                format!("no connection has the provider `{provider}`; {}", suggest::hint(provider, used));
            return Err(CommandError::new(ErrorCode::UnknownConnection, text));
        }
        Ok(names)
    }

    fn classify(&self, answer: Result<Refreshed, TokenError>) -> RefreshResult {
        match answer {
            Ok(Refreshed::Done { generation, expires_at, .. }) => {
                RefreshResult::Refreshed { generation: generation.0, expires_at }
            }
            Ok(Refreshed::NotDue { expires_at }) => RefreshResult::NotDue { expires_at },
            Err(error @ (TokenError::NotConnected { .. } | TokenError::Paused { .. }))
                if self.connection.is_none() =>
            {
                RefreshResult::Skipped(error)
            }
            Err(error) => RefreshResult::Failed(error),
        }
    }

    fn print_results(
        &self,
        ended: &[(String, RefreshResult)],
        now: Timestamp,
        output: Output,
    ) -> Result<(), CommandError> {
        if output.json {
            let results: Vec<Value> = ended.iter().map(|(name, result)| result.to_json(name)).collect();
            Output::print_json(&results)?;
        } else if self.sync || ended.is_empty() {
            let mut table = Table::new(["CONNECTION", "RESULT"], "no connection is defined");
            for (name, result) in ended {
                table.row([name.clone(), result.text(now)]);
            }
            output.print_table(&table, &())?;
        }
        let failed = ended.iter().any(|(_, result)| matches!(result, RefreshResult::Failed(_)));
        if failed && self.sync { Err(CommandError::reported(ErrorCode::RefreshFailed)) } else { Ok(()) }
    }
}

impl RefreshResult {
    fn text(&self, now: Timestamp) -> String {
        let expiry = |expires_at: Option<Timestamp>| match expires_at {
            Some(_) => format!("expires {}", relative(expires_at, now)),
            None => "its expiry is not known".to_owned(),
        };
        match self {
            Self::Refreshed { generation, expires_at } => {
                format!("refreshed, generation {generation}, {}", expiry(*expires_at))
            }
            Self::NotDue { expires_at } => format!("not due, {}", expiry(*expires_at)),
            Self::Skipped(error) => format!("skipped: {}", token_message(error)),
            Self::Failed(error) => format!("failed: {}", token_message(error)),
        }
    }

    fn to_json(&self, name: &str) -> Value {
        match self {
            Self::Refreshed { generation, expires_at } => {
                json!({ "connection": name, "status": "done", "generation": generation, "expires_at": expires_at })
            }
            Self::NotDue { expires_at } => {
                json!({ "connection": name, "status": "not_due", "expires_at": expires_at })
            }
            Self::Skipped(error) => {
                json!({ "connection": name, "status": "skipped", "problem": token_problem(error) })
            }
            Self::Failed(error) => {
                json!({ "connection": name, "status": "failed", "problem": token_problem(error) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_skips_what_is_not_connected_and_a_name_does_not() {
        let error = || TokenError::NotConnected { name: "acme".parse().unwrap() };
        let mut refresh = RefreshArgs { provider: None, connection: None, force: false, sync: true };
        assert!(matches!(refresh.classify(Err(error())), RefreshResult::Skipped(_)));
        refresh.connection = Some("acme".to_owned());
        assert!(matches!(refresh.classify(Err(error())), RefreshResult::Failed(_)));
    }
}
