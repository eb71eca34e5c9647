//! Grants that are over, will be, or that nothing keeps alive.

use std::time::Duration;

use jeton_core::keep::connection::{Condition, Connection};
use jeton_core::keep::provider::{Definition, OnDead, OnUnknown, Step};
use jeton_core::time::Timestamp;

use super::report::{Report, Severity};
use crate::settings::Settings;
use crate::time_format::relative;

/// How early a person is told that a refresh token will die.
const AHEAD: Duration = Duration::from_hours(7 * 24);

/// How late a refresh may be before somebody should ask whether anything refreshes at all.
const LATE: Duration = Duration::from_mins(5);

pub(super) fn check(settings: &Settings, rows: &[Connection], now: Timestamp, report: &mut Report) {
    let mut well = 0;
    for row in rows {
        let definition = settings.definitions.get(&row.name);
        match judge(row, definition, now) {
            Some((verdict, text)) => report.add(format!("grant {}", row.name), verdict, text),
            None => well += 1,
        }
    }
    for name in settings.definitions.keys().filter(|name| rows.iter().all(|row| row.name != **name)) {
        report.warning(format!("grant {name}"), format!("nothing is connected yet; `jeton connect {name}`"));
    }
    if well > 0 {
        report.ok("grants", format!("{well} of {} are alive and stay so", rows.len()));
    }
}

/// What is wrong with a grant, and what to do; nothing where it stays alive by itself.
fn judge(row: &Connection, definition: Option<&Definition>, now: Timestamp) -> Option<(Severity, String)> {
    let name = &row.name;
    let Some(definition) = definition else {
        let text = format!(
            "its definition is gone, so that nothing refreshes it; write [connections.{name}] again, or `jeton disconnect \
             {name}`"
        );
        return Some((Severity::Warning, text));
    };
    let provider = definition.provider().name();
    if row.provider != *provider {
        let text = format!(
            "it was connected at `{}`, and the settings say `{provider}`; put the settings right, or `jeton connect {name}`",
            row.provider
        );
        return Some((Severity::Fault, text));
    }
    let code = row.state_code.as_deref().unwrap_or("no reason is recorded");
    match row.condition(now) {
        Condition::Pending => Some((Severity::Warning, format!("it has no grant; `jeton connect {name}`"))),
        Condition::Dead => {
            Some((Severity::Fault, format!("its grant is over ({code}); `jeton connect {name}`")))
        }
        Condition::Suspended => {
            let text = format!(
                "the provider has suspended the account ({code}); settle it there, then `jeton refresh --connection {name}`"
            );
            Some((Severity::Fault, text))
        }
        Condition::Interrupted => {
            let attempt = row.open_attempt.map(|attempt| attempt.to_string()).unwrap_or_default();
            let next = match definition.policy().on_unknown {
                OnUnknown::Ask => format!(
                    "its policy asks a person: `jeton refresh --connection {name} --force` sends it again"
                ),
                OnUnknown::Acquire => "`jeton serve` acquires a new token set".to_owned(),
                OnUnknown::Resend => {
                    let at = row.due_at.map(|at| format!(" at {at}")).unwrap_or_default();
                    format!("`jeton serve` sends it again{at}, and goes on until the outcome is known")
                }
            };
            let text = format!("attempt {attempt} may have spent its refresh token; {next}");
            Some((Severity::Warning, text))
        }
        Condition::Paused => Some((
            Severity::Warning,
            format!("it is paused, so that nothing refreshes it; `jeton resume {name}`"),
        )),
        Condition::Failing => {
            let (count, code) = (row.failures, row.last_error.as_deref().unwrap_or("unknown"));
            let text = format!("{count} refreshes in a row have failed ({code}); `jeton logs --failed`");
            Some((Severity::Warning, text))
        }
        Condition::Live | Condition::Stale | Condition::Refreshing => dying(row, definition, now),
    }
}

/// Whether its tokens run out before anything renews them.
fn dying(row: &Connection, definition: &Definition, now: Timestamp) -> Option<(Severity, String)> {
    let name = &row.name;
    let acquires = definition.has(Step::Acquire) && definition.policy().on_dead == OnDead::Acquire;
    let tokens = row.tokens.as_ref()?;
    if tokens.refresh.is_none() && !acquires {
        let when = relative(tokens.access_expires_at, now);
        let text =
            format!("it has no refresh token, and its access token ends {when}; `jeton connect {name}`");
        return Some((Severity::Warning, text));
    }
    if let Some(end) = tokens.refresh_expires_at.filter(|_| !acquires) {
        let when = relative(Some(end), now);
        if end <= now {
            let text = format!("its refresh token has run out ({when}); `jeton connect {name}`");
            return Some((Severity::Fault, text));
        }
        let renews = definition.spends(Step::Refresh) || definition.policy().refresh_idle_ttl.is_some();
        let renewed = renews && row.due_at.is_some_and(|due| due < end);
        if !renewed && end <= now + AHEAD {
            let text = format!(
                "its refresh token runs out {when}, and no refresh renews it; `jeton connect {name}`"
            );
            return Some((Severity::Warning, text));
        }
    }
    let late = row.due_at.filter(|due| *due + LATE < now && row.live_lease(now).is_none())?;
    let text = format!(
        "it was due {}, and nothing has refreshed it; start `jeton serve`",
        relative(Some(late), now)
    );
    Some((Severity::Warning, text))
}
