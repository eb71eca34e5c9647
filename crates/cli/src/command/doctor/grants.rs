//! Grants that have ended, will end, or that nothing refreshes.

use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::{Condition, Connection};
use jeton_core::keep::due::RECOVERY_REFUSED;
use jeton_core::keep::provider::{Definition, OnDead, OnUnknown, Step};
use jeton_core::keep::unavailable::UnavailableEndpoint;
use jeton_core::time::Timestamp;
use jeton_server::provider_says;

use super::report::{Report, Severity};
use super::store::StoreFindings;
use crate::settings::Settings;
use crate::time_format::relative;

/// How long before its end a refresh token is reported.
const NOTICE: Duration = Duration::from_hours(7 * 24);

/// How overdue a refresh may be before nothing seems to refresh at all.
const OVERDUE: Duration = Duration::from_mins(5);

/// After failures for that long the provider's words may mean that the grant is over.
const LONG_FAILURE: Duration = Duration::from_hours(1);

/// What a grant depends on besides its row.
#[derive(Clone, Copy)]
struct Circumstances {
    now: Timestamp,
    /// A `jeton serve` runs on the store.
    is_served: bool,
    /// Its token endpoint does not answer.
    is_unavailable: bool,
}

pub(super) fn check(
    settings: &Settings,
    found: &StoreFindings,
    outages: &[UnavailableEndpoint],
    now: Timestamp,
    report: &mut Report,
) {
    let rows = &found.connections;
    let is_served = !found.nodes.is_empty();
    let (mut healthy, mut waiting) = (0, 0);
    for row in rows {
        let definition = settings.definitions.get(&row.name);
        let is_unavailable =
            definition.is_some_and(|definition| outages.iter().any(|outage| outage.serves(definition)));
        match check_grant(row, definition, Circumstances { now, is_served, is_unavailable }) {
            Some((verdict, text)) => report.add(format!("grant {}", row.name), verdict, text),
            None if is_unavailable => waiting += 1,
            None => healthy += 1,
        }
    }
    let missing = |(name, _): &(&ConnectionName, _)| rows.iter().all(|row| row.name != **name);
    for (name, definition) in settings.definitions.iter().filter(missing) {
        if definition.starts_itself() {
            report.ok(format!("grant {name}"), "it needs none; `jeton serve` gets its first token by itself");
        } else {
            report
                .warning(format!("grant {name}"), format!("it has no grant yet; run `jeton connect {name}`"));
        }
    }
    if waiting > 0 {
        let text = format!(
            "{waiting} of {} wait for a token endpoint that does not answer, and need nothing else",
            rows.len()
        );
        report.ok("grants", text);
    }
    if healthy > 0 {
        report.ok("grants", format!("{healthy} of {} are alive and stay so", rows.len()));
    }
}

/// What is wrong with a grant, and what to do; none where it stays alive by itself.
fn check_grant(
    row: &Connection,
    definition: Option<&Definition>,
    circumstances: Circumstances,
) -> Option<(Severity, String)> {
    let Circumstances { now, is_unavailable, .. } = circumstances;
    let name = &row.name;
    let Some(definition) = definition else {
        let text = format!(
            "its definition was removed, so nothing refreshes it; write [connections.{name}] again, or run `jeton disconnect \
             {name}`"
        );
        return Some((Severity::Warning, text));
    };
    let provider = definition.provider().name();
    if row.provider != *provider {
        let text = format!(
            "it was connected at `{}`, and the settings say `{provider}`; correct the settings, or run `jeton connect {name}`",
            row.provider
        );
        return Some((Severity::Fault, text));
    }
    let code = row.state_code.as_deref().unwrap_or("no reason is recorded");
    let said = row.provider_message.as_deref().map(|words| format!("; {}", provider_says(words)));
    let said = said.unwrap_or_default();
    match row.condition(now) {
        Condition::Pending if definition.starts_itself() && !row.is_given_up() => None,
        Condition::Pending => {
            Some((Severity::Warning, format!("it has no grant; run `jeton connect {name}`")))
        }
        Condition::Dead => {
            Some((Severity::Fault, format!("its grant has ended ({code}){said}; run `jeton connect {name}`")))
        }
        Condition::Suspended => {
            let text = format!(
                "the provider has suspended the account ({code}){said}; settle it there, then run `jeton refresh --connection {name}`"
            );
            Some((Severity::Fault, text))
        }
        Condition::Interrupted | Condition::Failing
            if row.refused().is_some() || is_recovery_refused(row) =>
        {
            let code = row.refused().or(row.last_error.as_deref()).unwrap_or("unknown");
            let next = next_try(row, "sends it once more", circumstances);
            let text = format!(
                "the provider refused its refresh token once ({code}); {next}, and a second refusal ends the grant"
            );
            Some((Severity::Warning, text))
        }
        Condition::Interrupted if is_unavailable && definition.policy().on_unknown != OnUnknown::Ask => None,
        Condition::Interrupted => {
            Some((Severity::Warning, interrupted_message(row, definition, &said, circumstances)))
        }
        Condition::Paused => Some((
            Severity::Warning,
            format!("it is paused, so nothing refreshes it; run `jeton resume {name}`"),
        )),
        Condition::Failing if is_unavailable => None,
        Condition::Failing => Some((Severity::Warning, failing_message(row, &said, circumstances))),
        Condition::Live | Condition::Stale | Condition::Refreshing => {
            check_expiry(row, definition, circumstances).or_else(|| check_scopes(row, definition))
        }
    }
}

/// What follows an attempt of unknown outcome; `said` is what the provider said of it.
fn interrupted_message(
    row: &Connection,
    definition: &Definition,
    said: &str,
    circumstances: Circumstances,
) -> String {
    let name = &row.name;
    let attempt = row.open_attempt.map(|attempt| attempt.to_string()).unwrap_or_default();
    let next = match definition.policy().on_unknown {
        OnUnknown::Ask => {
            format!("its policy asks a person: `jeton refresh --connection {name} --force` sends it again")
        }
        OnUnknown::Acquire => next_try(row, "acquires a new token set", circumstances),
        OnUnknown::Resend => {
            let next = next_try(row, "sends it again", circumstances);
            format!("{next}, and goes on until the outcome is known")
        }
    };
    let refused = if row.last_error.as_deref() == Some(RECOVERY_REFUSED) {
        format!(", which the provider refused when it was sent again{said}")
    } else {
        String::new()
    };
    format!("attempt {attempt} may have spent its refresh token{refused}; {next}")
}

/// What to do about a connection whose last refreshes have failed; `said` is what the provider said of it.
fn failing_message(row: &Connection, said: &str, circumstances: Circumstances) -> String {
    let name = &row.name;
    let code = row.last_error.as_deref().unwrap_or("unknown");
    let lasts = row.failing_since.map(|since| circumstances.now.since(since));
    let since =
        row.failing_since.map(|since| format!(" since {}", since.to_the_second())).unwrap_or_default();
    // What nobody answered, or answered without a reason, says nothing of the grant.
    let over = if said.is_empty() || lasts.is_none_or(|lasts| lasts < LONG_FAILURE) {
        String::new()
    } else {
        format!(", and run `jeton connect {name}` if it says that the grant is over")
    };
    let next = next_try(row, "tries again", circumstances);
    format!("its refreshes have failed{since} ({code}){said}; {next}; see `jeton logs --failed`{over}")
}

/// Who goes on with a connection, and when.
fn next_try(row: &Connection, what: &str, circumstances: Circumstances) -> String {
    if !circumstances.is_served {
        return format!("`jeton serve` {what}, and none runs: start it");
    }
    let at = row.due_at.map(|at| format!(" at {}", at.to_the_second())).unwrap_or_default();
    let at = if circumstances.is_unavailable { " once its token endpoint answers".to_owned() } else { at };
    format!("`jeton serve` {what}{at}")
}

/// Whether the provider refused the send of a refresh token that may have been spent before, and is asked once more.
fn is_recovery_refused(row: &Connection) -> bool {
    row.open_attempt.is_some() && row.due_at.is_some() && row.last_error.as_deref() == Some(RECOVERY_REFUSED)
}

/// Whether the provider granted all that the definition asks for.
fn check_scopes(row: &Connection, definition: &Definition) -> Option<(Severity, String)> {
    let missing = definition.missing_scopes(row.tokens.as_ref()?.scope.as_deref()?);
    (!missing.is_empty()).then(|| {
        let text = format!(
            "the provider granted fewer scopes than its settings ask for, without {}; allow them at the provider and run `jeton \
             connect {}`, or ask for fewer",
            missing.join(" "),
            row.name
        );
        (Severity::Warning, text)
    })
}

/// Whether its tokens expire before a refresh renews them.
fn check_expiry(
    row: &Connection,
    definition: &Definition,
    Circumstances { now, is_unavailable, .. }: Circumstances,
) -> Option<(Severity, String)> {
    let name = &row.name;
    let acquires = definition.has(Step::Acquire) && definition.policy().on_dead == OnDead::Acquire;
    let tokens = row.tokens.as_ref()?;
    if tokens.refresh.is_none() && !acquires {
        let when = relative(tokens.access_expires_at, now);
        let text = format!(
            "it has no refresh token, and its access token expires {when}; run `jeton connect {name}`"
        );
        return Some((Severity::Warning, text));
    }
    if let Some(end) = tokens.refresh_expires_at.filter(|_| !acquires) {
        let when = relative(Some(end), now);
        if end <= now {
            let text = format!("its refresh token has expired ({when}); run `jeton connect {name}`");
            return Some((Severity::Fault, text));
        }
        let renews = definition.spends(Step::Refresh) || definition.policy().refresh_idle_ttl.is_some();
        let renewed = renews && row.due_at.is_some_and(|due| due < end);
        if !renewed && end <= now + NOTICE {
            let text = format!(
                "its refresh token expires {when}, and no refresh renews it; run `jeton connect {name}`"
            );
            return Some((Severity::Warning, text));
        }
    }
    let waits = row.live_lease(now).is_some() || is_unavailable;
    let late = row.due_at.filter(|due| *due + OVERDUE < now && !waits)?;
    let text = format!(
        "it was due {}, and nothing has refreshed it; start `jeton serve`",
        relative(Some(late), now)
    );
    Some((Severity::Warning, text))
}
