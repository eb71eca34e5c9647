//! How a command fails: what it says, and its exit code.

use std::fmt::{self, Write as _};

use jeton_core::keep::ports::StoreError;
use jeton_core::problem::Problem;
use jeton_issuer::TokenCommandError;
use jeton_keeper::{ConsentError, InstallationError, TokenError, VaultError};
use jeton_server::{consent_message, token_problem};
use serde_json::Value;

use crate::error_code::ErrorCode;
use crate::printable::single_line;
use crate::settings::SettingFault;

/// The exit codes besides 0 for what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It could not be done.
    Failed = 1,
    /// It was not asked for in the right way.
    Usage = 2,
}

/// There is nothing to work with.
pub(crate) const UNCONFIGURED: &str = "no settings file was found, neither jeton.toml here nor /etc/jeton/jeton.toml, and no data \
    directory; run this in the folder of jeton.toml, name the file with --config or JETON_CONFIG, or create one with `jeton init`";

/// What to do about a store that is gone.
pub(crate) const STORE_LOST_CURE: &str = "mount its disk, correct `data_dir` or `store.url`, or restore a backup; `jeton adopt` \
    begins anew without it";

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    exit: Exit,
    problem: Box<Problem>,
    /// One sentence each; most failures have one.
    sentences: Vec<String>,
    broken_pipe: bool,
}

impl CommandError {
    /// It could not be done; `sentence` says why and what to do.
    pub(crate) fn new(code: ErrorCode, sentence: impl Into<String>) -> Self {
        Self::of(Problem::new(500, code.as_str(), code.title(), sentence))
    }

    /// It was not asked for in the right way.
    pub(crate) fn usage(sentence: impl Into<String>) -> Self {
        let code = ErrorCode::Usage;
        let problem = Problem::new(400, code.as_str(), code.title(), sentence);
        Self { exit: Exit::Usage, ..Self::of(problem) }
    }

    /// What a command found was wrong, and was said by its output already.
    pub(crate) fn reported(code: ErrorCode) -> Self {
        Self { sentences: Vec::new(), ..Self::new(code, code.title()) }
    }

    fn of(problem: Problem) -> Self {
        let sentences = vec![problem.detail.clone()];
        Self { exit: Exit::Failed, sentences, problem: Box::new(problem), broken_pipe: false }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether nothing is left to say.
    pub(crate) fn is_reported(&self) -> bool {
        self.sentences.is_empty()
    }

    /// Whether it failed because nobody reads its output any more.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }

    /// As a problem document (RFC 9457).
    pub(crate) fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for CommandError {
    /// One line for each sentence, `error: ` before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sentences.iter().try_for_each(|sentence| writeln!(f, "error: {}", single_line(sentence)))
    }
}

impl From<TokenError> for CommandError {
    fn from(error: TokenError) -> Self {
        Self::of(token_problem(&error))
    }
}

impl From<ConsentError> for CommandError {
    fn from(error: ConsentError) -> Self {
        match error {
            ConsentError::Keeper(error) => error.into(),
            error => Self::new(ErrorCode::ConsentFailed, consent_message(&error)),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let text = match error {
            StoreError::NotMigrated(text) => format!("{text} with `jeton migrate`"),
            error => error.to_string(),
        };
        Self::new(ErrorCode::StoreUnavailable, text)
    }
}

impl From<TokenCommandError> for CommandError {
    fn from(error: TokenCommandError) -> Self {
        Self::of(error.problem())
    }
}

impl From<InstallationError> for CommandError {
    fn from(error: InstallationError) -> Self {
        match error {
            InstallationError::Store(error) => error.into(),
            error @ InstallationError::StoreLost { .. } => {
                Self::new(ErrorCode::InstallationUnusable, format!("{error}; {STORE_LOST_CURE}"))
            }
            error => Self::new(ErrorCode::InstallationUnusable, error.to_string()),
        }
    }
}

impl From<VaultError> for CommandError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => error.into(),
            error @ VaultError::SpillSlots { .. } => {
                Self::new(ErrorCode::InstallationUnusable, error.to_string())
            }
        }
    }
}

impl From<Vec<SettingFault>> for CommandError {
    fn from(faults: Vec<SettingFault>) -> Self {
        let mut detail = String::new();
        for fault in &faults {
            let separator = if detail.is_empty() { "" } else { "; " };
            write!(detail, "{separator}{fault}").expect("a String takes everything");
        }
        let list: Vec<Value> = faults.iter().map(SettingFault::to_json).collect();
        let code = ErrorCode::SettingsInvalid;
        let problem = Problem::new(500, code.as_str(), code.title(), detail);
        let sentences = faults.iter().map(ToString::to_string).collect();
        Self { sentences, ..Self::of(problem.with("faults", list)) }
    }
}

impl From<std::io::Error> for CommandError {
    /// An error of writing an answer; all other errors of input and output are told in sentences of their own.
    fn from(error: std::io::Error) -> Self {
        let text = format!("the answer cannot be written: {error}");
        let broken_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { broken_pipe, ..Self::new(ErrorCode::SystemRefused, text) }
    }
}
