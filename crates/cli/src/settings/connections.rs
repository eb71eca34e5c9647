//! `[connections.NAME]`: from what is written to definitions.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Catalogue, Client, Definition, PolicyOverrides, Setup};
use jeton_core::secret::Secret;
use toml::{Table, Value};
use url::Url;

use super::reader::{Reader, SectionRef, expected, text};
use crate::env_vars::EnvVars;

/// So many connections that a thread of their own is sooner done with them.
const WORTH_A_THREAD: usize = 1_000;

/// What definitions are made with besides what is written of them.
pub(crate) struct DefinitionContext<'a> {
    pub(crate) catalogue: &'a Catalogue,
    pub(crate) environment: &'a EnvVars,
    /// Where callbacks come in, for clients that do not say.
    pub(crate) callback: Option<&'a Url>,
}

/// The definitions of all connections that are right.
pub(crate) fn definitions(
    reader: &mut Reader<'_>,
    around: &DefinitionContext<'_>,
) -> BTreeMap<ConnectionName, Definition> {
    let parts: Vec<SectionRef<'_>> = parts(reader).collect();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = parts.len().div_ceil(threads).max(WORTH_A_THREAD);
    let each = thread::scope(|scope| {
        let begun: Vec<_> = parts
            .chunks(share)
            .map(|parts| {
                let mut own =
                    Reader { values: reader.values, faults: Vec::new(), folder: reader.folder.clone() };
                scope.spawn(move || {
                    let found = some(&mut own, around, parts);
                    (found, own.faults)
                })
            })
            .collect();
        begun.into_iter().map(|one| one.join().expect("reading settings does not panic")).collect::<Vec<_>>()
    });
    let mut definitions = BTreeMap::new();
    for (found, faults) in each {
        definitions.extend(found);
        reader.faults.extend(faults);
    }
    definitions
}

/// The definitions of these connections, as far as they are right.
fn some(
    reader: &mut Reader<'_>,
    around: &DefinitionContext<'_>,
    parts: &[SectionRef<'_>],
) -> Vec<(ConnectionName, Definition)> {
    let mut found = Vec::new();
    for at in parts {
        match at.key().parse::<ConnectionName>() {
            Err(error) => reader.fault(&at.path, error.to_string()),
            Ok(name) => found.extend(definition(reader, around, at).map(|definition| (name, definition))),
        }
    }
    found
}

/// The files with tokens that connections begin with.
pub(crate) fn imports(reader: &mut Reader<'_>) -> BTreeMap<ConnectionName, PathBuf> {
    let mut imports = BTreeMap::new();
    for at in parts(reader) {
        let Some(found) = at.found("import") else { continue };
        if let (Some(file), Ok(name)) = (reader.read_in(&at, "import", text), at.key().parse()) {
            imports.insert(name, reader.resolve(&file, Some(&found.origin)));
        }
    }
    imports
}

/// What is written of each connection.
pub(super) fn parts<'v>(reader: &Reader<'v>) -> impl Iterator<Item = SectionRef<'v>> + use<'v> {
    let (values, all) = (reader.values, SectionRef::of(reader.values, vec!["connections".to_owned()]));
    values.connections().map(move |name| all.part(name))
}

fn definition(
    reader: &mut Reader<'_>,
    around: &DefinitionContext<'_>,
    at: &SectionRef<'_>,
) -> Option<Definition> {
    let faults = reader.faults.len();
    if at.found("provider").is_none() {
        let names: Vec<_> = around.catalogue.names().map(|name| format!("`{name}`")).collect();
        let problem = format!("is missing: name the provider, one of {}", names.join(", "));
        reader.fault(&at.path_of("provider"), problem);
    }
    let provider = reader.read_in(at, "provider", |value| {
        let name = text(value)?;
        around.catalogue.get(&name).cloned().map_err(|error| error.to_string())
    });
    let setup = Setup {
        vars: vars(reader, &at.part("vars")),
        client: client(reader, around, &at.part("client")),
        policy: policy(reader, &at.part("policy")),
    };
    let emulator = reader.read_in(at, "emulated_at", |value| {
        let problem =
            "is not a URL; write the one that `jeton provider emulate` prints, such as http://127.0.0.1:9096";
        text(value)?.parse::<Url>().map_err(|_| problem.to_owned())
    });
    let provider = provider?;
    // A setting that could not be read is missing from the set-up: only its own fault is worth saying.
    if reader.faults.len() > faults {
        return None;
    }
    let defined = provider.define(setup);
    let defined = match emulator {
        Some(emulator) => defined.and_then(|definition| definition.emulated_at(emulator)),
        None => defined,
    };
    defined
        .map_err(|error| {
            let mut field: Vec<&str> = error.field.split('.').collect();
            let mut problem = error.problem;
            if error.field == "client.secret" {
                problem.push_str(", as `secret_file`, `secret_env` or `secret`");
            }
            // What is no setting, such as the URL of a step, belongs to the connection as a whole.
            if field.iter().any(|key| key.contains(' ')) {
                problem = format!("{}: {problem}", error.field);
                field.clear();
            }
            let path = at.path.iter().cloned().chain(field.into_iter().map(str::to_owned));
            reader.fault(&path.collect::<Vec<_>>(), problem);
        })
        .ok()
}

fn vars(reader: &mut Reader<'_>, section: &SectionRef<'_>) -> BTreeMap<String, Secret> {
    let mut vars = BTreeMap::new();
    for name in section.keys() {
        let read = reader.read_in(section, name, |value| match value {
            Value::String(text) => Ok(Secret::new(text.as_str())),
            other => Err(expected("text in quotes", other)),
        });
        vars.extend(read.map(|value| (name.to_owned(), value)));
    }
    vars
}

fn client(reader: &mut Reader<'_>, around: &DefinitionContext<'_>, section: &SectionRef<'_>) -> Client {
    let redirect_uri = reader.read_in(section, "redirect_uri", text);
    Client {
        id: reader.read_in(section, "id", text),
        secret: secret(reader, around.environment, section),
        redirect_uri: redirect_uri.or_else(|| around.callback.map(Url::to_string)),
    }
}

/// The client secret, from the one place that is given.
fn secret(reader: &mut Reader<'_>, environment: &EnvVars, section: &SectionRef<'_>) -> Option<Secret> {
    let places = ["secret", "secret_env", "secret_file"];
    let mut written = places.into_iter().filter_map(|place| Some((place, section.found(place)?)));
    let (place, found) = written.next()?;
    if let Some((another, _)) = written.next() {
        reader.fault(&section.path_of(another), format!("`{place}` is set too; keep one of the two"));
        return None;
    }
    let file = found.value.as_str().filter(|_| place == "secret_file");
    let file = file.map(|file| reader.resolve(file, Some(&found.origin)));
    reader.read_in(section, place, |value| match place {
        "secret" => text(value).map(Secret::from),
        "secret_env" => from_environment(environment, &text(value)?),
        _ => from_file(&file.ok_or_else(|| expected("a path in quotes", value))?),
    })
}

fn from_environment(environment: &EnvVars, name: &str) -> Result<Secret, String> {
    match environment.get(name) {
        Ok(Some(secret)) if !secret.is_empty() => Ok(secret),
        Ok(_) => Err(format!("the environment variable {name} is not set; set it to the client secret")),
        Err(problem) => Err(format!("the environment variable {name} {problem}")),
    }
}

/// The secret that a file holds alone.
pub(crate) fn from_file(file: &Path) -> Result<Secret, String> {
    let shown = file.display();
    let unreadable = |error| format!("{shown} cannot be read ({error}); write the secret into it");
    let mode = fs::metadata(file).map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(format!("{shown} can be read by others; run `chmod 600 {shown}`"));
    }
    let text = Secret::from(fs::read_to_string(file).map_err(unreadable)?);
    let secret = text.reveal().trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        Err(format!("{shown} is empty; write the secret into it"))
    } else {
        Ok(secret.into())
    }
}

/// Reads each setting of a policy by itself, so that a fault has its own line.
fn policy(reader: &mut Reader<'_>, section: &SectionRef<'_>) -> PolicyOverrides {
    let mut whole = PolicyOverrides::default();
    for name in section.keys() {
        let read = reader.read_in(section, name, |value| {
            let alone = Table::from_iter([(name.to_owned(), value.clone())]);
            alone
                .try_into::<PolicyOverrides>()
                .map_err(|error| error.message().lines().collect::<Vec<_>>().join(", "))
        });
        whole = read.map(|one| one.over(whole.clone())).unwrap_or(whole);
    }
    whole
}
