//! `jeton refresh`.

use futures_util::{StreamExt as _, stream};
use jeton_core::keep::attempt::Trigger;
use jeton_core::keep::connection::Condition;
use jeton_core::suggest;
use jeton_core::time::Timestamp;
use jeton_keeper::{Refreshed, Status, TokenError, Vault};
use jeton_server::{token_message, token_problem};
use serde_json::{Value, json};

use super::status::all;
use crate::app::with_app;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::{Output, Table};
use crate::settings::Settings;
use crate::time_format::relative;

/// How many are asked for at once; the keeper holds each provider to its own limit besides.
const AT_ONCE: usize = 16;

/// Refresh what is due now, or more
///
/// The command refreshes by itself, beside a running server or without one: the two never spend one token twice.
/// Without --sync it prints a line as each refresh ends, and a refresh that failed is no failure of the command, because
/// it is tried again by the server. With --sync it prints one table at the end, and fails if a refresh failed.
#[derive(Debug, clap::Args)]
pub(crate) struct RefreshArgs {
    /// Only connections of this provider
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<String>,
    /// Only this connection
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// Also what is not due
    #[arg(long)]
    force: bool,
    /// Wait for all, print a table of results, and fail if one failed
    #[arg(long)]
    sync: bool,
}

/// What became of one connection.
enum Ending {
    Refreshed {
        generation: u64,
        expires_at: Option<Timestamp>,
    },
    NotDue {
        expires_at: Option<Timestamp>,
    },
    /// Nothing can be refreshed, and nobody named this connection.
    Skipped(TokenError),
    Failed(TokenError),
}

impl RefreshArgs {
    pub(crate) async fn run(self, settings: Settings, output: Output) -> Result<(), CommandError> {
        with_app(settings, async |app| {
            let names = self.names(&app.vault).await?;
            let trigger = if self.force { Trigger::Forced } else { Trigger::Manual };
            let one = async |name: String| {
                let ending = self.ending(app.vault.refresh(&name, trigger).await);
                (name, ending)
            };
            let mut endings = stream::iter(names).map(one).buffer_unordered(AT_ONCE);
            let mut ended = Vec::new();
            while let Some((name, ending)) = endings.next().await {
                if !self.sync && !output.json {
                    Output::print_line(&format!("{name}: {}", ending.text(app.host.clock.now())))?;
                }
                ended.push((name, ending));
            }
            ended.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.conclude(&ended, app.host.clock.now(), output)
        })
        .await
    }

    /// The connections that are meant.
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
        let states = all(vault).await?;
        // Sending a token of unknown fate once more is decided for one connection, by its name, and never for all.
        let decided = |state: &&Status| !(self.force && state.condition == Condition::Interrupted);
        let defined = states.iter().filter(|state| !state.orphaned).filter(decided);
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

    fn ending(&self, answer: Result<Refreshed, TokenError>) -> Ending {
        match answer {
            Ok(Refreshed::Done { generation, expires_at, .. }) => {
                Ending::Refreshed { generation: generation.0, expires_at }
            }
            Ok(Refreshed::NotDue { expires_at }) => Ending::NotDue { expires_at },
            Err(error @ (TokenError::NotConnected { .. } | TokenError::Paused { .. }))
                if self.connection.is_none() =>
            {
                Ending::Skipped(error)
            }
            Err(error) => Ending::Failed(error),
        }
    }

    fn conclude(
        &self,
        ended: &[(String, Ending)],
        now: Timestamp,
        output: Output,
    ) -> Result<(), CommandError> {
        if output.json {
            let results: Vec<Value> = ended.iter().map(|(name, ending)| ending.to_json(name)).collect();
            Output::print_json(&results)?;
        } else if self.sync || ended.is_empty() {
            let mut table = Table::new(["CONNECTION", "RESULT"], "no connection is defined");
            for (name, ending) in ended {
                table.row([name.clone(), ending.text(now)]);
            }
            output.print_table(&table, &())?;
        }
        let failed = ended.iter().any(|(_, ending)| matches!(ending, Ending::Failed(_)));
        if failed && self.sync { Err(CommandError::reported(ErrorCode::RefreshFailed)) } else { Ok(()) }
    }
}

impl Ending {
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
        assert!(matches!(refresh.ending(Err(error())), Ending::Skipped(_)));
        refresh.connection = Some("acme".to_owned());
        assert!(matches!(refresh.ending(Err(error())), Ending::Failed(_)));
    }
}
