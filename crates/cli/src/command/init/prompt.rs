//! Asks a person at a terminal.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;

use jeton_core::keep::provider::{Definition, MetadataMember, PUBLIC_CLIENT, Provider, ServerMetadata, Var};
use jeton_core::secret::Secret;
use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::task::spawn_blocking;
use url::Url;

use super::answers::{Answers, MissingAnswer};
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

/// Reads the metadata of an issuer that was named.
pub(super) type ReadMetadata = Box<dyn Fn(&Definition) -> Result<ServerMetadata, String> + Send>;

/// Asks for every answer that is missing or wrong, and for those that most connections need.
pub(super) async fn ask_for_missing(
    terminal: Terminal,
    provider: Arc<Provider>,
    answers: Answers,
    read_metadata: ReadMetadata,
) -> Result<(Answers, Definition), CommandError> {
    let mut stop_signals = Signals::to_stop()?;
    let dialogue =
        Dialogue { terminal: terminal.clone(), provider, answers, asked: BTreeSet::new(), read_metadata };
    tokio::select! {
        answered = spawn_blocking(move || dialogue.run()) => {
            answered.map_err(|error| terminal_error(&io::Error::other(error)))?
        }
        signal = stop_signals.next() => {
            // A question for a secret may be open: restore the echo.
            terminal.restore().map_err(|error| terminal_error(&error))?;
            Err(CommandError::new(ErrorCode::Stopped, format!("stopped by {signal}; nothing was written")))
        }
    }
}

/// The questions to one person.
struct Dialogue {
    terminal: Terminal,
    provider: Arc<Provider>,
    answers: Answers,
    /// What may be left out is asked for once.
    asked: BTreeSet<String>,
    read_metadata: ReadMetadata,
}

impl Dialogue {
    fn run(mut self) -> Result<(Answers, Definition), CommandError> {
        let provider = Arc::clone(&self.provider);
        // With it, most other questions need not be asked.
        if let Some(issuer) =
            provider.issuer_variable().filter(|var| var.is_asked() && self.needs_issuer(var))
        {
            self.ask_issuer(issuer)?;
        }
        loop {
            let definition = match self.answers.define(&provider) {
                Ok(definition) => definition,
                Err(missing) => {
                    self.ask_for(missing)?;
                    continue;
                }
            };
            let open = |var: &&Var| {
                let field = field_of(var);
                // The metadata has it.
                let is_discovered = definition.discovers().is_some() && var.discover().is_some();
                var.is_asked() && !is_discovered && !self.answers.has(&field) && !self.asked.contains(&field)
            };
            if let Some(var) = provider.vars().find(open) {
                self.ask_optional(var)?;
            } else if definition.asks_for_consent() && definition.client().redirect_uri.is_none() {
                if !self.ask_public_url()? {
                    return Ok((self.answers, definition));
                }
            } else {
                return Ok((self.answers, definition));
            }
        }
    }

    /// Whether neither the issuer nor what its metadata must give was answered by a flag.
    fn needs_issuer(&self, issuer: &Var) -> bool {
        let given = |var: &Var| self.answers.has(&field_of(var));
        let mut must = self.provider.vars().filter(|var| var.discover().is_some() && var.is_mandatory());
        !given(issuer) && !must.any(given)
    }

    /// Asks for an answer that is missing or wrong.
    fn ask_for(&mut self, missing: MissingAnswer) -> Result<(), CommandError> {
        let field = missing.error.field.clone();
        let Some(question) = question(&self.provider, &field) else {
            return Err(missing.into_error(&self.provider));
        };
        if missing.given {
            print_note(&missing.error.problem)?;
            self.answers.clear(&field);
        }
        let answer = self.ask(&question.text, question.hidden)?;
        let optional =
            self.provider.vars().find(|var| field_of(var) == field).is_some_and(|var| !var.is_mandatory());
        if answer.is_empty() && optional {
            self.asked.insert(field);
            return Ok(());
        }
        if let Some(auth) =
            self.provider.public_client_variable().filter(|_| answer.is_empty() && field == "client.secret")
        {
            print_note(&format!(
                "no secret: it is a public client (`{} = \"{PUBLIC_CLIENT}\"`)",
                auth.name()
            ))?;
            self.answers.set(&field_of(auth), PUBLIC_CLIENT.into());
            return Ok(());
        }
        self.answers.set(&field, answer);
        Ok(())
    }

    /// Asks for the issuer, and reads its metadata. Where there is none, the URLs are asked for instead.
    fn ask_issuer(&mut self, var: &Var) -> Result<(), CommandError> {
        let field = field_of(var);
        while !self.asked.contains(&field) {
            self.ask_optional(var)?;
            if !self.answers.has(&field) {
                return Ok(());
            }
            let definition = match self.answers.trial(&self.provider) {
                Ok(definition) => definition,
                Err(error) => {
                    print_note(&error.problem)?;
                    self.answers.clear(&field);
                    self.asked.remove(&field);
                    continue;
                }
            };
            match (self.read_metadata)(&definition) {
                Ok(metadata) => {
                    let token = metadata.endpoint(MetadataMember::TokenEndpoint).unwrap_or_default();
                    print_note(&format!("its metadata names the endpoints; tokens come from {token}"))?;
                }
                Err(why) => {
                    print_note(&format!("{why}; you are asked for the URLs instead"))?;
                    self.answers.clear(&field);
                }
            }
        }
        Ok(())
    }

    /// Asks for a variable that may be left out.
    fn ask_optional(&mut self, var: &Var) -> Result<(), CommandError> {
        let field = field_of(var);
        let Some(question) = question(&self.provider, &field) else { return Ok(()) };
        let answer = self.ask(&format!("{} [Enter leaves it out]", question.text), question.hidden)?;
        self.asked.insert(field.clone());
        if !answer.is_empty() {
            self.answers.set(&field, answer);
        }
        Ok(())
    }

    /// Asks where browsers reach this server, without which no person can consent by a link. Answers whether it was given.
    fn ask_public_url(&mut self) -> Result<bool, CommandError> {
        let question = "the URL at which browsers reach this server, such as http://127.0.0.1:9095; providers send them back to \
                        URL/oauth/callback [Enter leaves it out]";
        loop {
            let answer = self.ask(question, false)?;
            if answer.is_empty() {
                return Ok(false);
            }
            match answer.reveal().parse::<Url>() {
                Ok(url)
                    if matches!(url.scheme(), "http" | "https")
                        && url.query().is_none()
                        && url.fragment().is_none() =>
                {
                    let base = answer.reveal().trim_end_matches('/').to_owned();
                    self.answers.set_redirect(format!("{base}/oauth/callback"));
                    return Ok(true);
                }
                _ => print_note("not a URL that begins with http:// or https:// and ends with its path")?,
            }
        }
    }

    fn ask(&self, question: &str, hidden: bool) -> Result<Secret, CommandError> {
        let answer = self.terminal.ask(question, hidden).map_err(|error| terminal_error(&error))?;
        answer.ok_or_else(|| CommandError::usage("the input has ended; nothing was written"))
    }
}

fn field_of(var: &Var) -> String {
    format!("vars.{}", var.name())
}

fn print_note(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(io::stderr().lock(), "{text}")?)
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
        "client.secret" => {
            let public =
                provider.public_client_variable().map(|_| "; Enter for a public client, which has none");
            let text = format!("client secret (is not shown{})", public.unwrap_or_default());
            Some(Question { text, hidden: true })
        }
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
