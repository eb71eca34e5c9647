//! A connection as it is written into a settings file.

use std::fmt::Write as _;

use jeton_core::id::ConnectionName;
use jeton_core::keep::provider::{Capture, Provider, Var};
use toml::Value;

use super::answers::{Answers, SecretSource};

/// The longest line of a comment.
const WIDTH: usize = 118;

/// The tables of a connection. Variables without an answer are comments. `secret_file` holds a client secret that was
/// typed.
pub(super) fn connection(
    name: &ConnectionName,
    provider: &Provider,
    answers: &Answers,
    secret_file: Option<&str>,
) -> String {
    // Of the characters of a name only the dot means something in the key of a table.
    let key = if name.as_str().contains('.') { quoted(name.as_str()) } else { name.to_string() };
    let about = provider.about().map(|about| format!(": {about}")).unwrap_or_default();
    let mut text = String::from("\n");
    comment(&mut text, &format!("{}{about}", provider.title()));
    line(&mut text, &format!("[connections.{key}]"));
    line(&mut text, &format!("provider = {}", quoted(provider.name().as_str())));
    if provider.vars().next().is_some() {
        line(&mut text, &format!("\n[connections.{key}.vars]"));
        for var in provider.vars() {
            comment(&mut text, &meaning(var));
            let given = answers.vars.get(var.name());
            let value = given.map_or(var.default_value().unwrap_or("..."), |value| value.reveal());
            let sign = if given.is_some() { "" } else { "#" };
            line(&mut text, &format!("{sign}{} = {}", var.name(), quoted(value)));
        }
    }
    client(&mut text, &key, answers, secret_file);
    text
}

fn client(text: &mut String, key: &str, answers: &Answers, secret_file: Option<&str>) {
    let secret = match (&answers.secret_source, secret_file) {
        (_, Some(file)) => Some(format!("secret_file = {}", quoted(file))),
        (Some(SecretSource::File(file)), None) => {
            Some(format!("secret_file = {}", quoted(&file.to_string_lossy())))
        }
        (Some(SecretSource::Env(variable)), None) => Some(format!("secret_env = {}", quoted(variable))),
        (Some(SecretSource::Typed) | None, None) => None,
    };
    let id = answers.client.id.as_ref().map(|id| format!("id = {}", quoted(id)));
    let redirect = answers.client.redirect_uri.as_ref().filter(|_| answers.redirect_given);
    let redirect = redirect.map(|uri| format!("redirect_uri = {}", quoted(uri)));
    let lines: Vec<String> = [id, secret, redirect].into_iter().flatten().collect();
    if !lines.is_empty() {
        line(text, &format!("\n[connections.{key}.client]"));
        line(text, &lines.join("\n"));
    }
}

fn meaning(var: &Var) -> String {
    let about = var.about().unwrap_or(var.name()).to_owned();
    let mut meaning = vec![about];
    if let Some(values) = var.one_of() {
        meaning.push(format!("one of {}", values.join(", ")));
    }
    match var.capture() {
        Some(Capture::Callback(_)) => meaning.push("comes with the consent".to_owned()),
        Some(Capture::Take) => meaning.push("comes with the tokens".to_owned()),
        None if var.default_value().is_some() || var.is_mandatory() => {}
        None => meaning.push("may be left out".to_owned()),
    }
    meaning.join("; ")
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a String takes everything");
}

fn comment(text: &mut String, words: &str) {
    let mut row = String::from("#");
    for word in words.split_whitespace() {
        if row.chars().count() + 1 + word.chars().count() > WIDTH {
            line(text, &row);
            row = String::from("#");
        }
        row.push(' ');
        row.push_str(word);
    }
    line(text, &row);
}
