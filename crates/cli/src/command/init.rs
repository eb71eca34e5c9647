//! `jeton init`: writes a settings file, or adds a connection to one.
//!
//! * What does a connection need, and where does it come from? [`answers`], [`prompt`].
//! * What is written? [`block`]. How is it put in place? [`files`].

mod answers;
mod block;
mod files;
mod prompt;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Definition, Provider, Step};
use serde_json::json;

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::{self, Output};
use crate::settings::{self, LoadedSettings, SettingFault, SettingSources};
use answers::{Answers, SecretPlace};
use files::Draft;
use prompt::Terminal;

/// What a new settings file says.
const TEMPLATE: &str = include_str!("init/jeton.toml");

/// Write a settings file, or add a connection to one
///
/// What a connection needs is asked for on a terminal, where it is not given by a flag. A file that is there keeps every
/// line that it has.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Add a connection to this provider; `jeton provider list` names them
    #[arg(long, requires = "name")]
    provider: Option<String>,
    /// What the connection is to be called
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
        let made = before.is_none();
        let text = before.unwrap_or_else(|| TEMPLATE.to_owned());
        let loaded = settings::load_text(sources, path, &text);
        let provider = loaded
            .catalogue
            .get(provider)
            .map_err(|error| CommandError::new(ErrorCode::UnknownProvider, error.to_string()))?;
        let name = free_name(name, &loaded)?;
        let (answers, definition) = self.answers(provider, path, sources, &loaded, output).await?;
        let secret = match &answers.secret_place {
            Some(SecretPlace::Typed) => Some(files::secret_file(path, name.as_str(), &answers)?),
            _ => None,
        };
        let block = block::connection(&name, provider, &answers, secret.as_deref());
        let written = write(path, &text, &block, made, sources, &loaded);
        if let (Err(_), Some(secret)) = (&written, &secret) {
            files::take_back(path, secret);
        }
        let remarks = written?;
        remarks.iter().try_for_each(|remark| output::print_note(&format!("warning: {remark}")))?;
        let next = next(&definition, &name);
        let shown = path.display();
        let done = if made { "is made, with" } else { "has" };
        let said = format!("{shown} {done} the connection `{name}`; next: {next}");
        let result = if made { "made" } else { "added" };
        Ok(output.print(
            &said,
            &json!({ "file": shown.to_string(), "result": result, "connection": name, "next": next }),
        )?)
    }

    /// What the flags say and, on a terminal, what a person says to the rest.
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
            answers.give_var(name, value.into())?;
        }
        for (name, file) in self.var_file {
            let value = files::read_value(Path::new(&file))?;
            answers.give_var(name, value)?;
        }
        answers.client.id = self.client_id;
        if let Some(uri) = self.redirect_uri {
            answers.give_redirect(uri);
        }
        if let Some(file) = self.client_secret_file {
            let secret = settings::secret_from_file(&file).map_err(CommandError::usage)?;
            answers.give_secret(secret, SecretPlace::File(files::as_written(path, &file)?));
        }
        if let Some(variable) = self.client_secret_env {
            let known = sources.environment.get(&variable).ok().flatten();
            // What it will hold where jeton runs need not be known here.
            answers.give_secret(known.unwrap_or_else(|| "not known yet".into()), SecretPlace::Env(variable));
        }
        let interactive = !output.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if interactive {
            prompt::complete(Terminal::open()?, Arc::clone(provider), answers).await
        } else {
            let definition = answers.define(provider).map_err(|lack| lack.refuse(provider))?;
            Ok((answers, definition))
        }
    }
}

fn new_file(path: &Path, there: bool, output: Output) -> Result<(), CommandError> {
    let shown = path.display().to_string();
    if there {
        return Err(CommandError::usage(format!(
            "{shown} is there already and was left as it is; add a connection to it with `jeton init --provider PROVIDER \
             --name NAME`, or name another file with --config"
        )));
    }
    Draft::write(path, TEMPLATE, None)?.put_where_nothing_is()?;
    let next = "jeton init --provider PROVIDER --name NAME";
    let said = format!("{shown} is made; next: {next} (`jeton provider list` names the providers)");
    Ok(output.print(&said, &json!({ "file": shown, "result": "made", "next": next }))?)
}

/// The name, if no connection has it yet.
fn free_name(name: &str, loaded: &LoadedSettings) -> Result<ConnectionName, CommandError> {
    let parsed: ConnectionName =
        name.parse().map_err(|error| CommandError::usage(format!("--name: {error}")))?;
    if !loaded.values.connections().any(|taken| taken == name) {
        return Ok(parsed);
    }
    let at = ["connections".to_owned(), name.to_owned()];
    let place = loaded.values.origin(&at).map(|origin| format!(" ({origin})")).unwrap_or_default();
    Err(CommandError::usage(format!(
        "there is a connection `{name}` already{place}, and it was left as it is; give another --name, or edit it there"
    )))
}

/// Puts the text with the block below it in place, once the reader of settings finds nothing wrong with it that was not
/// wrong before. Answers what a person should know.
fn write(
    path: &Path,
    text: &str,
    block: &str,
    made: bool,
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
        // The variable need not be set where the file is written.
        .filter(|fault| !known.contains(fault) && !fault.setting.ends_with(".client.secret_env"))
        .cloned()
        .collect();
    if !new.is_empty() {
        return Err(new.into());
    }
    if made {
        Draft::write(path, &whole, None)?.put_where_nothing_is()?;
    } else {
        Draft::write(path, &whole, Some(path))?.replace(text)?;
    }
    // The old text and the new one stand in one file: what was wrong before is worth saying, and nothing else is.
    Ok(settings::load_text(sources, path, &whole).warnings)
}

/// What to type next.
fn next(definition: &Definition, name: &ConnectionName) -> String {
    let consents = definition.has(Step::Authorize) && definition.has(Step::Exchange);
    if consents || definition.has(Step::Acquire) {
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
    fn what_is_written_for_any_provider_is_a_connection_with_these_very_values() {
        let catalogue = jeton_core::keep::provider::Catalogue::builtin();
        for provider in catalogue.iter() {
            let setup = provider.example().unwrap();
            let mut answers =
                Answers { vars: setup.vars.clone(), client: setup.client.clone(), ..Answers::default() };
            answers.own_redirect = answers.client.redirect_uri.is_some();
            // The secret itself would be in a file or in a variable.
            let secret =
                answers.client.secret.take().map(|secret| format!("secret = {:?}\n", secret.reveal()));
            let name: ConnectionName = "a.b-c".parse().unwrap();
            let mut text = format!("{TEMPLATE}{}", block::connection(&name, provider, &answers, None));
            if let Some(secret) = secret {
                if answers.client.id.is_none() && !answers.own_redirect {
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
    fn the_template_is_right_with_and_without_its_comment_signs() {
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
