//! `jeton init`: writes a settings file, or adds a connection to one.
//!
//! * What does a connection need, and who is asked for it? [`answers`], [`prompt`].
//! * What is written? [`block`]. How are files written? [`files`].

mod answers;
mod block;
mod files;
mod prompt;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Definition, Provider, Step};
use jeton_keeper::read_server_metadata;
use serde_json::json;
use tokio::runtime::Handle;

use crate::app::HostEnv;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::{self, Output};
use crate::settings::{self, LoadedSettings, SettingFault, SettingSources};
use answers::{Answers, SecretSource};
use files::PendingFile;
use prompt::{ReadMetadata, Terminal};

/// A new settings file.
const TEMPLATE: &str = include_str!("init/jeton.toml");

/// Write a settings file, or add a connection to one
///
/// On a terminal it asks for what no flag gives. An existing file keeps every line.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Add a connection to this provider; `jeton provider list` names them
    #[arg(long, requires = "name")]
    provider: Option<String>,
    /// The name of the connection
    #[arg(long, requires = "provider")]
    name: Option<String>,
    /// A variable of the provider; may be given several times
    #[arg(long, value_name = "VARIABLE=VALUE", value_parser = pair, requires = "provider")]
    var: Vec<(String, String)>,
    /// A variable of the provider whose value is the text of a file, for secrets; may be given several times
    #[arg(long, value_name = "VARIABLE=FILE", value_parser = pair, requires = "provider")]
    var_file: Vec<(String, String)>,
    /// The client id at the provider
    #[arg(long, value_name = "ID", requires = "provider")]
    client_id: Option<String>,
    /// A file that holds the client secret
    #[arg(long, value_name = "FILE", requires = "provider", conflicts_with = "client_secret_env")]
    client_secret_file: Option<PathBuf>,
    /// The environment variable that will hold the client secret
    #[arg(long, value_name = "VARIABLE", requires = "provider")]
    client_secret_env: Option<String>,
    /// Where the provider sends browsers back to [default: made from `server.public_url`]
    #[arg(long, value_name = "URL", requires = "provider")]
    redirect_uri: Option<String>,
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write the name, `=` and the value")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl InitArgs {
    pub(crate) async fn run(self, sources: &SettingSources, output: Output) -> Result<(), CommandError> {
        let path = settings::settings_file(sources);
        let before = files::read(&path)?;
        match (self.provider.clone(), self.name.clone()) {
            (Some(provider), Some(name)) => self.add(&path, before, &provider, &name, sources, output).await,
            _ => new_file(&path, before.is_some(), output),
        }
    }

    async fn add(
        self,
        path: &Path,
        before: Option<String>,
        provider: &str,
        name: &str,
        sources: &SettingSources,
        output: Output,
    ) -> Result<(), CommandError> {
        let created = before.is_none();
        let text = before.unwrap_or_else(|| TEMPLATE.to_owned());
        let loaded = settings::load_text(sources, path, &text);
        let provider = loaded
            .catalogue
            .get(provider)
            .map_err(|error| CommandError::new(ErrorCode::UnknownProvider, error.to_string()))?;
        let name = free_name(name, &loaded)?;
        let (answers, definition) = self.answers(provider, path, sources, &loaded, output).await?;
        let secret = match &answers.secret_source {
            Some(SecretSource::Typed) => Some(files::secret_file(path, name.as_str(), &answers)?),
            _ => None,
        };
        let block = block::connection(&name, provider, &answers, secret.as_deref());
        let written = write(path, &text, &block, created, sources, &loaded);
        if let (Err(_), Some(secret)) = (&written, &secret) {
            files::remove_secret_file(path, secret);
        }
        written?.iter().try_for_each(|warning| output::print_note(&format!("warning: {warning}")))?;
        let next = next(&definition, &name);
        let shown = path.display();
        let done = if created { "was created, with" } else { "now has" };
        let text = format!("{shown} {done} the connection `{name}`; next: {next}");
        let result = if created { "made" } else { "added" };
        Ok(output.print(
            &text,
            &json!({ "file": shown.to_string(), "result": result, "connection": name, "next": next }),
        )?)
    }

    /// The answers of the flags and, on a terminal, of a person.
    async fn answers(
        self,
        provider: &Arc<Provider>,
        path: &Path,
        sources: &SettingSources,
        loaded: &LoadedSettings,
        output: Output,
    ) -> Result<(Answers, Definition), CommandError> {
        let mut answers = Answers::new(settings::public_callback(&loaded.values));
        for (name, value) in self.var {
            answers.set_var(name, value.into())?;
        }
        for (name, file) in self.var_file {
            let value = files::read_value(Path::new(&file))?;
            answers.set_var(name, value)?;
        }
        answers.client.id = self.client_id;
        if let Some(uri) = self.redirect_uri {
            answers.set_redirect(uri);
        }
        if let Some(file) = self.client_secret_file {
            let secret = settings::secret_from_file(&file).map_err(CommandError::usage)?;
            answers.set_secret(secret, SecretSource::File(files::as_written(path, &file)?));
        }
        if let Some(variable) = self.client_secret_env {
            let known = sources.environment.get(&variable).ok().flatten();
            // It need not be set in this shell.
            answers.set_secret(known.unwrap_or_else(|| "unknown".into()), SecretSource::Env(variable));
        }
        let interactive = !output.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if interactive {
            let read = read_metadata(loaded);
            prompt::ask_for_missing(Terminal::open()?, Arc::clone(provider), answers, read).await
        } else {
            let definition = answers.define(provider).map_err(|missing| missing.into_error(provider))?;
            Ok((answers, definition))
        }
    }
}

/// Reads the metadata of an issuer as a connection would.
fn read_metadata(loaded: &LoadedSettings) -> ReadMetadata {
    let settings = loaded.settings.as_ref().ok();
    let outbound = settings.map(|settings| settings.keeper.outbound.clone()).unwrap_or_default();
    let data_dir = settings.map(|settings| settings.data_dir.clone()).unwrap_or_default();
    let (clock, runtime) = (HostEnv::system().clock, Handle::current());
    Box::new(move |definition| {
        runtime.block_on(read_server_metadata(definition, &outbound, Arc::clone(&clock), &data_dir))
    })
}

fn new_file(path: &Path, exists: bool, output: Output) -> Result<(), CommandError> {
    let shown = path.display().to_string();
    if exists {
        return Err(CommandError::usage(format!(
            "{shown} exists already and was not changed; add a connection to it with `jeton init --provider PROVIDER \
             --name NAME`, or name another file with --config"
        )));
    }
    PendingFile::write(path, TEMPLATE, None)?.create()?;
    let next = "jeton init --provider PROVIDER --name NAME";
    let text = format!("{shown} was created; next: {next} (`jeton provider list` lists the providers)");
    Ok(output.print(&text, &json!({ "file": shown, "result": "made", "next": next }))?)
}

/// The name, if no connection has it.
fn free_name(name: &str, loaded: &LoadedSettings) -> Result<ConnectionName, CommandError> {
    let parsed: ConnectionName =
        name.parse().map_err(|error| CommandError::usage(format!("--name: {error}")))?;
    if !loaded.values.connections().any(|taken| taken == name) {
        return Ok(parsed);
    }
    let at = ["connections".to_owned(), name.to_owned()];
    let origin = loaded.values.origin(&at).map(|origin| format!(" ({origin})")).unwrap_or_default();
    Err(CommandError::usage(format!(
        "there is a connection `{name}` already{origin}, and it was not changed; give another --name, or edit it there"
    )))
}

/// Writes the text with the block below it, unless that adds a fault to the settings. Returns warnings.
fn write(
    path: &Path,
    text: &str,
    block: &str,
    created: bool,
    sources: &SettingSources,
    before: &LoadedSettings,
) -> Result<Vec<String>, CommandError> {
    let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let whole = format!("{text}{line_end}{block}");
    let after = settings::load_text(sources, path, &whole);
    let known = before.faults();
    let new: Vec<SettingFault> = after
        .faults()
        .iter()
        // The variable need not be set in this shell.
        .filter(|fault| !known.contains(fault) && !fault.setting.ends_with(".client.secret_env"))
        .cloned()
        .collect();
    if !new.is_empty() {
        return Err(new.into());
    }
    if created {
        PendingFile::write(path, &whole, None)?.create()?;
    } else {
        PendingFile::write(path, &whole, Some(path))?.replace(text)?;
    }
    Ok(settings::load_text(sources, path, &whole).warnings)
}

/// What to type next.
fn next(definition: &Definition, name: &ConnectionName) -> String {
    let is_reached = definition.client().redirect_uri.is_some();
    if definition.starts_itself() {
        "jeton serve".to_owned()
    } else if definition.asks_for_consent() && !is_reached {
        format!("set `server.public_url`, then `jeton connect {name}`")
    } else if definition.asks_for_consent() || definition.has(Step::Acquire) {
        format!("jeton connect {name}")
    } else {
        format!("jeton connect {name} --refresh-token-stdin < refresh-token.txt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let loaded = settings::load_text(&SettingSources::default(), Path::new("jeton.toml"), text);
        loaded.faults().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_written_block_defines_the_connection_for_every_provider() {
        let catalogue = jeton_core::keep::provider::Catalogue::builtin();
        for provider in catalogue.iter() {
            let setup = provider.example().unwrap();
            let mut answers =
                Answers { vars: setup.vars.clone(), client: setup.client.clone(), ..Answers::default() };
            answers.redirect_given = answers.client.redirect_uri.is_some();
            // The command writes it to a file or names a variable.
            let secret =
                answers.client.secret.take().map(|secret| format!("secret = {:?}\n", secret.reveal()));
            let name: ConnectionName = "a.b-c".parse().unwrap();
            let mut text = format!("{TEMPLATE}{}", block::connection(&name, provider, &answers, None));
            if let Some(secret) = secret {
                if answers.client.id.is_none() && !answers.redirect_given {
                    text.push_str("[connections.\"a.b-c\".client]\n");
                }
                text.push_str(&secret);
            }
            let loaded = settings::load_text(&SettingSources::default(), Path::new("jeton.toml"), &text);
            let settings = loaded.settings.unwrap_or_else(|faults| panic!("{}: {faults:?}", provider.name()));
            let expected = provider.define(setup).unwrap();
            let made = &settings.definitions[&name];
            assert_eq!(made.vars(), expected.vars(), "{}", provider.name());
            assert_eq!(made.client(), expected.client(), "{}", provider.name());
        }
    }

    #[test]
    fn the_template_is_valid_with_and_without_its_comment_signs() {
        assert_eq!(faults_of(TEMPLATE), [] as [&str; 0]);
        let line = |line: &str| {
            let setting = line.starts_with('#') && !line.starts_with("# ") && line != "#";
            if setting { line[1..].to_owned() } else { line.to_owned() }
        };
        let all = TEMPLATE.lines().map(line).collect::<Vec<_>>().join("\n");
        assert_ne!(all, TEMPLATE);
        assert_eq!(faults_of(&all), [] as [&str; 0]);
    }
}
