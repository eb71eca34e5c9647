//! Reads `[connections.NAME]` into definitions.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{
    Catalogue, Client, ClientCertificate, DefineError, Definition, PolicyOverrides, Provider, Setup,
};
use jeton_core::secret::Secret;
use toml::{Table, Value};
use url::Url;

use super::old_gateway;
use super::reader::{Reader, SectionRef, text, wrong_type};
use crate::env_vars::EnvVars;

/// From this many connections on, another thread saves time.
const PER_THREAD: usize = 1_000;

/// What a definition is made with, besides its own section.
pub(crate) struct DefinitionContext<'a> {
    pub(crate) catalogue: &'a Catalogue,
    /// The redirect URI of clients that have none of their own.
    pub(crate) callback: Option<&'a Url>,
    /// Hosts that plain http may go to.
    pub(crate) plain_http_hosts: Arc<[String]>,
}

/// The definitions of all connections that are right.
pub(crate) fn definitions(
    reader: &mut Reader<'_>,
    context: &DefinitionContext<'_>,
) -> BTreeMap<ConnectionName, Definition> {
    let sections: Vec<SectionRef<'_>> = connection_sections(reader).collect();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = sections.len().div_ceil(threads).max(PER_THREAD);
    let each = thread::scope(|scope| {
        let workers: Vec<_> = sections
            .chunks(share)
            .map(|sections| {
                let mut own = Reader { faults: Vec::new(), ..*reader };
                scope.spawn(move || {
                    let found = definitions_of(&mut own, context, sections);
                    (found, own)
                })
            })
            .collect();
        let join =
            |worker: thread::ScopedJoinHandle<'_, _>| worker.join().expect("reading settings does not panic");
        workers.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut definitions = BTreeMap::new();
    for (found, own) in each {
        definitions.extend(found);
        reader.faults.extend(own.faults);
        reader.lacks_secrets |= own.lacks_secrets;
    }
    definitions
}

/// The definitions of these connections, as far as they are right.
fn definitions_of(
    reader: &mut Reader<'_>,
    context: &DefinitionContext<'_>,
    sections: &[SectionRef<'_>],
) -> Vec<(ConnectionName, Definition)> {
    let mut found = Vec::new();
    for at in sections {
        match at.key().parse::<ConnectionName>() {
            Err(error) => reader.fault(&at.path, error.to_string()),
            Ok(name) => found.extend(definition(reader, context, at).map(|definition| (name, definition))),
        }
    }
    found
}

/// The files with the first tokens of connections.
pub(crate) fn imports(reader: &mut Reader<'_>) -> BTreeMap<ConnectionName, PathBuf> {
    let mut imports = BTreeMap::new();
    for at in connection_sections(reader) {
        let Some(written) = at.value("import") else { continue };
        if let (Some(file), Ok(name)) = (reader.read_in(&at, "import", text), at.key().parse()) {
            imports.insert(name, reader.resolve(&file, Some(&written.origin)));
        }
    }
    imports
}

/// The section of each connection.
pub(super) fn connection_sections<'v>(reader: &Reader<'v>) -> impl Iterator<Item = SectionRef<'v>> + use<'v> {
    let (values, all) = (reader.values, SectionRef::of(reader.values, vec!["connections".to_owned()]));
    values.connections().map(move |name| all.section(name))
}

fn definition(
    reader: &mut Reader<'_>,
    context: &DefinitionContext<'_>,
    at: &SectionRef<'_>,
) -> Option<Definition> {
    let faults = reader.faults.len();
    if at.value("provider").is_none() {
        let names: Vec<_> = context.catalogue.names().map(|name| format!("`{name}`")).collect();
        let problem = format!("is missing: name the provider, one of {}", names.join(", "));
        reader.fault(&at.path_of("provider"), problem);
    }
    let provider = reader.read_in(at, "provider", |value| {
        let name = text(value)?;
        context.catalogue.get(&name).cloned().map_err(|error| error.to_string())
    });
    let setup = Setup {
        vars: vars(reader, &at.section("vars")),
        client: client(reader, context, &at.section("client")),
        policy: policy(reader, &at.section("policy")),
        plain_http_hosts: Arc::clone(&context.plain_http_hosts),
    };
    let certificate = if reader.without_secrets { None } else { certificate(reader, &at.section("client")) };
    let emulator = reader.read_in(at, "emulated_at", |value| {
        let problem =
            "is not a URL; write the one that `jeton provider emulate` prints, such as http://127.0.0.1:9096";
        text(value)?.parse::<Url>().map_err(|_| problem.to_owned())
    });
    let provider = provider?;
    // A setting that could not be read is missing from the set-up: its own fault is enough.
    if reader.faults.len() > faults {
        return None;
    }
    let defined = define(reader, &provider, setup);
    let defined = match emulator {
        Some(emulator) => defined.and_then(|definition| definition.emulated_at(emulator)),
        None => defined,
    };
    let defined = match certificate {
        Some(certificate) => defined.map(|definition| definition.with_certificate(certificate)),
        None => defined,
    };
    if let Ok(definition) = &defined
        && !reader.without_secrets
        && definition.needs_certificate()
        && definition.certificate().is_none()
    {
        let problem =
            "is missing: this client proves itself by a certificate, so name its file, and `key_file`";
        reader.fault(&at.section("client").path_of("cert_file"), problem);
        return None;
    }
    defined.map_err(|error| report(reader, at, error)).ok()
}

/// Adds what is wrong with the definition of a connection to the faults, with its place and its cure.
fn report(reader: &mut Reader<'_>, at: &SectionRef<'_>, error: DefineError) {
    let mut field: Vec<&str> = error.field.split('.').collect();
    let mut problem = error.problem;
    // A field that is no setting, such as the URL of a step, belongs to the connection as a whole.
    if field.iter().any(|key| key.contains(' ')) {
        problem = format!("{}: {problem}", error.field);
        field.clear();
    }
    let path = at.path.iter().cloned().chain(field.into_iter().map(str::to_owned));
    let path: Vec<String> = path.collect();
    if let Some(variable) = old_gateway::missing_variable(reader.values, &path) {
        problem = format!("{problem}; set {variable}, in the environment or in `.env`");
    } else if error.field == "client.secret" {
        problem.push_str(", as `secret_file`, `secret_env` or `secret`");
    }
    reader.fault(&path, problem);
}

/// The definition of this set-up. Where secrets may be missing, it is made without the one that it needs.
fn define(
    reader: &mut Reader<'_>,
    provider: &Arc<Provider>,
    setup: Setup,
) -> Result<Definition, DefineError> {
    let again = reader.without_secrets.then(|| setup.clone());
    match (provider.define(setup), again) {
        // The server may have it in its environment.
        (Err(error), Some(mut setup)) if error.field == "client.secret" => {
            reader.lacks_secrets = true;
            setup.client.secret = Some(UNREAD.into());
            provider.define(setup)
        }
        (defined, _) => defined,
    }
}

fn vars(reader: &mut Reader<'_>, section: &SectionRef<'_>) -> BTreeMap<String, Secret> {
    let mut vars = BTreeMap::new();
    for name in section.value_keys() {
        let read = reader.read_in(section, name, |value| match value {
            Value::String(text) => Ok(Secret::new(text.as_str())),
            other => Err(wrong_type("text in quotes", other)),
        });
        vars.extend(read.map(|value| (name.to_owned(), value)));
    }
    vars
}

fn client(reader: &mut Reader<'_>, context: &DefinitionContext<'_>, section: &SectionRef<'_>) -> Client {
    let redirect_uri = reader.read_in(section, "redirect_uri", text);
    Client {
        id: reader.read_in(section, "id", text),
        secret: secret(reader, section),
        redirect_uri: redirect_uri.or_else(|| context.callback.map(Url::to_string)),
    }
}

/// What the client shows to hosts that ask for a certificate.
fn certificate(reader: &mut Reader<'_>, section: &SectionRef<'_>) -> Option<ClientCertificate> {
    let (written, missing) = match ["cert_file", "key_file"].map(|name| section.value(name).is_some()) {
        [false, false] => return None,
        [true, true] => ("", ""),
        [true, false] => ("cert_file", "key_file"),
        [false, true] => ("key_file", "cert_file"),
    };
    if !missing.is_empty() {
        reader.fault(&section.path_of(written), format!("is set, and `{missing}` is not; set both"));
        return None;
    }
    let mut file = |name: &str| {
        let origin = section.value(name).map(|value| value.origin.clone());
        reader.read_in(section, name, text).map(|file| reader.resolve(&file, origin.as_ref()))
    };
    let (chain, key) = (file("cert_file")?, file("key_file")?);
    let chain = reader.read_in(section, "cert_file", |_| {
        fs::read_to_string(&chain).map_err(|error| {
            format!("{} cannot be read: {error}; let the user that runs jeton read it", chain.display())
        })
    });
    let key = reader.read_in(section, "key_file", |_| secret_from_file(&key));
    let certificate = ClientCertificate { chain: chain?, key: key? };
    let checked = |_: &Value| jeton_keeper::check_client_certificate(&certificate);
    reader.read_in(section, "cert_file", checked)?;
    Some(certificate)
}

/// Stands for a secret that this command neither has nor needs.
const UNREAD: &str = "unread";

/// The client secret, from the one setting that gives it.
fn secret(reader: &mut Reader<'_>, section: &SectionRef<'_>) -> Option<Secret> {
    let keys = ["secret", "secret_env", "secret_file"];
    let mut written = keys.into_iter().filter_map(|key| Some((key, section.value(key)?)));
    let (key, value) = written.next()?;
    if let Some((another, _)) = written.next() {
        reader.fault(&section.path_of(another), format!("`{key}` is set too; keep one of the two"));
        return None;
    }
    let environment = reader.environment;
    let file = value.value.as_str().filter(|_| key == "secret_file");
    let file = file.map(|file| reader.resolve(file, Some(&value.origin)));
    let without = reader.without_secrets;
    let if_needed = |read: Result<Secret, String>| if without { Ok(read.ok()) } else { read.map(Some) };
    let secret = reader.read_in(section, key, |value| match key {
        "secret" => text(value).map(|text| Some(text.into())),
        "secret_env" => if_needed(from_environment(environment, &text(value)?)),
        _ => if_needed(secret_from_file(&file.ok_or_else(|| wrong_type("a path in quotes", value))?)),
    })?;
    reader.lacks_secrets |= secret.is_none();
    secret
}

fn from_environment(environment: &EnvVars, name: &str) -> Result<Secret, String> {
    match environment.get(name) {
        Ok(Some(secret)) if !secret.is_empty() => Ok(secret),
        Ok(_) => Err(format!("the environment variable {name} is not set; set it to the client secret")),
        Err(problem) => Err(format!("the environment variable {name} {problem}")),
    }
}

/// The secret that a file holds, and nothing else.
pub(crate) fn secret_from_file(file: &Path) -> Result<Secret, String> {
    let shown = file.display();
    let unreadable = |error: std::io::Error| {
        let cure = match error.kind() {
            ErrorKind::NotFound => "write the secret into it",
            _ => "let the user that runs jeton read it",
        };
        format!("{shown} cannot be read: {error}; {cure}")
    };
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

/// Reads each setting of a policy by itself, so that each fault has its line.
fn policy(reader: &mut Reader<'_>, section: &SectionRef<'_>) -> PolicyOverrides {
    let mut whole = PolicyOverrides::default();
    for name in section.value_keys() {
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
