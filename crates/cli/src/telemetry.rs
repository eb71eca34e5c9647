//! Log lines: how much, in which form, and never what libraries of others would say of requests and replies.

mod access_log;
mod repeats;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::str::FromStr;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

pub(crate) use access_log::AccessLog;
use access_log::AccessLogFilter;
use jeton_core::suggest;
use repeats::Repeats;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Where all of our own targets begin.
const OURS: &str = "jeton";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How much is logged: a level, and levels of single parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    all: LevelFilter,
    parts: Vec<(String, LevelFilter)>,
}

impl Level {
    /// No log lines.
    pub(crate) const OFF: Self = Self { all: LevelFilter::OFF, parts: Vec::new() };

    fn targets(&self) -> Targets {
        // Whatever part repeats its warnings, their count is logged.
        Targets::new()
            .with_default(self.all)
            .with_targets(self.parts.iter().cloned())
            .with_target(repeats::TARGET, LevelFilter::WARN)
    }
}

impl Default for Level {
    fn default() -> Self {
        Self { all: LevelFilter::INFO, parts: Vec::new() }
    }
}

impl FromStr for Level {
    type Err = String;

    /// Reads `info`, or `info,jeton_keeper=debug`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut level = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.split_once('=') {
                None => level.all = read_level(item)?,
                Some((part, name)) => level.parts.push((part.trim().to_owned(), read_level(name.trim())?)),
            }
        }
        Ok(level)
    }
}

fn read_level(name: &str) -> Result<LevelFilter, String> {
    let known = LEVELS.iter().find(|level| level.eq_ignore_ascii_case(name));
    known.and_then(|level| level.parse().ok()).ok_or_else(|| {
        let name: String = name.chars().take(40).collect();
        format!("`{name}` is not a level; {}", suggest::hint(&name, LEVELS))
    })
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => {
                let other: String = other.chars().take(40).collect();
                Err(format!("`{other}` is not a format; {}", suggest::hint(&other, ["text", "json"])))
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// How often repetitions are counted.
const REPORT_PERIOD: Duration = Duration::from_mins(1);

/// The repetitions of this process.
static REPEATS: OnceLock<Repeats> = OnceLock::new();

/// Logs what was repeated and not counted yet: at the end of the process.
pub(crate) fn flush() {
    if let Some(repeats) = REPEATS.get() {
        repeats.report();
    }
}

/// Writes log lines to standard error from now on. Warnings and errors that repeat themselves are counted once a minute.
///
/// Libraries of others are held at `info` whatever is asked for: below it some of them print headers and URLs, which
/// may hold secrets, and no filter of ours could tell.
///
/// # Errors
/// This process logs already.
pub(crate) fn begin(level: &Level, access: AccessLog, format: Format) -> Result<(), TryInitError> {
    let cap = Targets::new().with_default(LevelFilter::INFO).with_target(OURS, LevelFilter::TRACE);
    // A line that cannot be written is lost: to report that on standard error, which is where the line could not go, would
    // panic in the task that logs.
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let repeats = REPEATS.get_or_init(Repeats::default);
    let access = AccessLogFilter::new(access);
    let registry = tracing_subscriber::registry().with(cap).with(level.targets());
    let registry = registry.with(access).with(repeats.clone());
    match format {
        Format::Text => registry.with(lines.with_ansi(io::stderr().is_terminal())).try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }?;
    // A thread of its own: the runtime may be what is in trouble.
    thread::spawn(move || {
        loop {
            thread::sleep(REPORT_PERIOD);
            repeats.report();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_may_differ_for_single_parts() {
        let level: Level = "warn, jeton_keeper=TRACE".parse().unwrap();
        assert_eq!(level.all, LevelFilter::WARN);
        assert_eq!(level.parts, [("jeton_keeper".to_owned(), LevelFilter::TRACE)]);
    }

    #[test]
    fn a_misspelt_level_is_refused_and_not_taken_for_the_name_of_a_part() {
        assert_eq!("inof".parse::<Level>().unwrap_err(), "`inof` is not a level; did you mean `info`?");
        assert_eq!(
            "info,jeton=deubg".parse::<Level>().unwrap_err(),
            "`deubg` is not a level; did you mean `debug`?"
        );
        assert_eq!("jsno".parse::<Format>().unwrap_err(), "`jsno` is not a format; did you mean `json`?");
    }
}
