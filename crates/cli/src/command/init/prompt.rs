//! Asks a person at a terminal.

use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;

use jeton_core::keep::provider::{Definition, Provider};
use jeton_core::secret::Secret;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::task::spawn_blocking;

use super::answers::Answers;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::signals::Signals;

/// The terminal, and its mode at the start.
#[derive(Clone, Debug)]
pub(super) struct Terminal {
    found: Termios,
}

impl Terminal {
    pub(super) fn open() -> Result<Self, CommandError> {
        let found = termios::tcgetattr(io::stdin()).map_err(|error| terminal_error(&error.into()))?;
        Ok(Self { found })
    }

    /// Asks for one line; none where the input has ended. The answer to a `hidden` question is not shown.
    fn ask(&self, question: &str, hidden: bool) -> io::Result<Option<Secret>> {
        if hidden {
            // Before the question, so that an answer to it is never shown; and without discarding what was typed.
            let mut silent = self.found.clone();
            silent.local_modes.remove(LocalModes::ECHO);
            silent.local_modes.insert(LocalModes::ECHONL);
            termios::tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
        }
        // Standard error is not locked while waiting: a signal handler must be able to write to it.
        write!(io::stderr(), "{question}: ")?;
        io::stderr().flush()?;
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        if hidden {
            self.restore()?;
        }
        let line = Secret::from(line);
        let answer = line.reveal().trim();
        Ok((read? > 0).then(|| Secret::new(answer)))
    }

    fn restore(&self) -> io::Result<()> {
        Ok(termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.found)?)
    }
}

/// Asks for every answer that is missing or wrong.
pub(super) async fn ask_for_missing(
    terminal: Terminal,
    provider: Arc<Provider>,
    answers: Answers,
) -> Result<(Answers, Definition), CommandError> {
    let mut stop_signals = Signals::to_stop()?;
    let asking = terminal.clone();
    tokio::select! {
        answered = spawn_blocking(move || ask_all(&asking, &provider, answers)) => {
            answered.map_err(|error| terminal_error(&io::Error::other(error)))?
        }
        signal = stop_signals.next() => {
            // A question for a secret may be open: restore the echo.
            terminal.restore().map_err(|error| terminal_error(&error))?;
            Err(CommandError::new(ErrorCode::Stopped, format!("stopped by {signal}; nothing was written")))
        }
    }
}

fn ask_all(
    terminal: &Terminal,
    provider: &Arc<Provider>,
    mut answers: Answers,
) -> Result<(Answers, Definition), CommandError> {
    loop {
        let missing = match answers.define(provider) {
            Ok(definition) => return Ok((answers, definition)),
            Err(missing) => missing,
        };
        let field = missing.error.field.clone();
        let Some(question) = question(provider, &field) else { return Err(missing.into_error(provider)) };
        if missing.given {
            writeln!(io::stderr().lock(), "{}", missing.error.problem)?;
            answers.clear(&field);
        }
        let answer = terminal.ask(&question.text, question.hidden).map_err(|error| terminal_error(&error))?;
        match answer {
            Some(answer) => answers.set(&field, answer),
            None => return Err(CommandError::usage("the input has ended; nothing was written")),
        }
    }
}

struct Question {
    text: String,
    hidden: bool,
}

/// The question for a field; none for a field that no answer can set.
fn question(provider: &Provider, field: &str) -> Option<Question> {
    let shown = |text: String| Some(Question { text, hidden: false });
    match field {
        "client.id" => shown(format!("client id at {}", provider.title())),
        "client.secret" => Some(Question { text: "client secret (is not shown)".to_owned(), hidden: true }),
        "client.redirect_uri" => shown("redirect URI, exactly as it is registered there".to_owned()),
        field => {
            let var = provider.vars().find(|var| Some(var.name()) == field.strip_prefix("vars."))?;
            let about = var.about().map(|about| format!(" ({about})")).unwrap_or_default();
            let values = var.one_of().map(|values| format!(" [{}]", values.join(", "))).unwrap_or_default();
            let hidden = if var.is_secret() { " (is not shown)" } else { "" };
            let text = format!("{}{about}{values}{hidden}", var.name());
            Some(Question { text, hidden: var.is_secret() })
        }
    }
}

fn terminal_error(error: &io::Error) -> CommandError {
    CommandError::new(
        ErrorCode::SystemRefused,
        format!("the terminal cannot be used: {error}; give the answers by flags, see `jeton init --help`"),
    )
}
