//! What a provider says of a failure in its own words, as far as it may be kept and shown.
//!
//! The words are for whoever operates jeton. They come from outside, so they are cut, hold nothing that moves the cursor or
//! the direction of writing, and nothing that may be a secret: what was sent, what came at a place for tokens, and every run
//! of characters that looks like a token.

use serde_json::Value;
use url::Url;

use super::body::{Body, JsonPath, scalar_text};
use super::condition::is_code_byte;
use super::http_types::{CallbackParams, Reply};
use crate::secret::Secret;

/// How much of a secret a text may repeat before it is taken for a piece of it.
const ECHO: usize = 12;

/// The longest message, in characters.
const LONGEST: usize = 300;

/// The longest text that is looked through for one, in bytes.
const LONGEST_READ: usize = 4096;

/// The most texts that are put together, and the most secrets of a reply that they are compared with: a hostile reply of a
/// megabyte costs no more than an honest one.
const MOST_PARTS: usize = 8;
const MOST_SECRETS: usize = 32;

/// As much of a secret as is compared.
const LONGEST_SECRET: usize = 2048;

/// Where providers put their words, the most telling first.
const TEXT_PATHS: [&str; 25] = [
    "error_description",
    "error.message",
    "error.error_description",
    "error.description",
    "error.detail",
    "error.error_user_msg",
    "error_message",
    "errorDescription",
    "errorMessage",
    "error_msg",
    "message",
    "msg",
    "detail",
    "description",
    "reason",
    "title",
    "errors.*.message",
    "errors.*.detail",
    "errors.*.error_description",
    "errors.*.title",
    "errors.*",
    "errors.*.*",
    "error",
    "hint",
    "error_hint",
];

/// Where they put numbers that their documentation explains.
const NUMBER_PATHS: [&str; 4] = ["error_codes.*", "error_subcode", "error.error_subcode", "suberror"];

/// Words in the name of a member that holds a secret, in lower case.
const SECRET_NAMES: [&str; 6] = ["token", "secret", "password", "assertion", "jwt", "verifier"];

/// What stands in the place of a run that looks like a token.
const HIDDEN: &str = "[hidden]";

/// What the provider said in a reply, where it said anything that may be shown. `taken` is what stands where the file finds
/// tokens; `was_sent` tells what repeats a secret that was sent.
pub(super) fn of_reply(
    reply: &Reply,
    body: &Body<'_>,
    taken: Vec<Secret>,
    was_sent: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let mut parts = match &body.value {
        Some(value) => words(value),
        None => plain_text(reply, body).into_iter().collect(),
    };
    parts.extend(redirect(reply).map(|target| format!("redirects to {target}")));
    let mut came = taken;
    if let Some(value) = &body.value {
        collect_secrets(value, false, &mut came);
    }
    assemble(parts, &came, was_sent)
}

/// What the provider said in a callback (RFC 6749, section 4.1.2.1), where it said anything that may be shown.
pub(super) fn of_callback(callback: &CallbackParams, was_sent: &dyn Fn(&str) -> bool) -> Option<String> {
    let given = |name: &str| callback.get(name).cloned();
    let parts = ["error_description", "error_hint", "error_subcode"].into_iter().filter_map(given).collect();
    let came: Vec<Secret> =
        ["code", "state"].into_iter().filter_map(given).map(|text| Secret::new(text.as_str())).collect();
    assemble(parts, &came, was_sent)
}

/// Whether a text repeats a secret, or a piece of it.
pub(super) fn repeats(text: &str, secret: &str) -> bool {
    // ASCII alone, so that any cut falls between characters.
    let (text, secret) = (code_text(text), code_text(secret));
    let piece = ECHO.min(secret.len());
    if piece < 4 || text.len() < piece {
        return false;
    }
    (0..=text.len() - piece).any(|start| secret.contains(&text[start..start + piece]))
}

/// The text with everything replaced that stands in no code.
pub(super) fn code_text(text: &str) -> String {
    text.trim().bytes().map(|byte| if is_code_byte(byte) { char::from(byte) } else { '_' }).collect()
}

fn assemble(parts: Vec<String>, came: &[Secret], was_sent: &dyn Fn(&str) -> bool) -> Option<String> {
    let is_secret = |text: &str| {
        let joined: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        [text, &joined]
            .into_iter()
            .any(|text| was_sent(text) || came.iter().any(|secret| repeats(text, secret.reveal())))
    };
    let mut shown: Vec<String> = Vec::new();
    for part in parts.into_iter().take(MOST_PARTS) {
        let clean = cut(&clean(&part));
        if clean.is_empty() || is_secret(&clean) {
            continue;
        }
        let part = hide_tokens(&clean);
        // The same words often stand at several places, and a code is repeated in the description.
        if !shown.iter().any(|before| before.contains(&part)) {
            shown.push(part);
        }
    }
    let text = shown.join("; ");
    (!text.is_empty()).then(|| cut(&text))
}

/// What a body says in words and numbers.
fn words(value: &Value) -> Vec<String> {
    let first = match value {
        Value::Array(items) => items.first().unwrap_or(value),
        Value::String(text) => return vec![text.clone()],
        value => value,
    };
    let at = |path: &str| -> Vec<String> {
        let Ok(path) = JsonPath::parse(path) else { return Vec::new() };
        let found = path.find(first).into_iter().filter(|found| !found.is_boolean());
        found.filter_map(scalar_text).filter(|text| text.len() <= LONGEST_READ).collect()
    };
    // A code alone is shown as the code; words have a space in them.
    let texts = TEXT_PATHS.into_iter().flat_map(at).filter(|text| text.trim().contains(char::is_whitespace));
    let numbers = NUMBER_PATHS.into_iter().flat_map(at).filter(|text| text.len() <= 64);
    texts.chain(numbers).collect()
}

/// A body that is plain text.
fn plain_text(reply: &Reply, body: &Body<'_>) -> Option<String> {
    let kind = reply.content_type.as_deref()?.split(';').next()?.trim();
    if !kind.eq_ignore_ascii_case("text/plain") || body.raw.len() > LONGEST_READ {
        return None;
    }
    Some(body.text().into_owned())
}

/// Where a redirect leads, which jeton does not follow.
fn redirect(reply: &Reply) -> Option<String> {
    let location = reply.location.as_deref().filter(|_| (300..=399).contains(&reply.status))?;
    match Url::parse(location) {
        Ok(url) => shown_url(&url),
        Err(url::ParseError::RelativeUrlWithoutBase) => location.split(['?', '#']).next().map(str::to_owned),
        Err(_) => None,
    }
}

/// The origin and the path of a URL: the rest may hold what nobody should see.
fn shown_url(url: &Url) -> Option<String> {
    url.has_host().then(|| format!("{}{}", url.origin().ascii_serialization(), url.path()))
}

/// The texts of members whose names speak of a secret. What has a space in it is no token, and what says the kind of one
/// neither.
fn collect_secrets(value: &Value, named: bool, found: &mut Vec<Secret>) {
    if found.len() >= MOST_SECRETS {
        return;
    }
    match value {
        Value::String(text) if named && text.len() >= 8 && !text.contains(char::is_whitespace) => {
            found.push(Secret::new(&text[..text.floor_char_boundary(LONGEST_SECRET)]));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, named, found)),
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.to_ascii_lowercase();
                let named =
                    named || (SECRET_NAMES.iter().any(|word| name.contains(word)) && !name.contains("type"));
                collect_secrets(member, named, found);
            }
        }
        _ => {}
    }
}

/// The text on one line, with nothing that moves the cursor or changes the direction of writing, and nothing invisible.
fn clean(text: &str) -> String {
    let visible = text.chars().take(LONGEST_READ).filter(|c| !is_invisible(*c));
    let spaced: String = visible.map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c }).collect();
    spaced.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Characters of Unicode's general category Cf, and others that show nothing.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}'
        | '\u{8e2}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}

/// The words, each that looks like a token hidden, and each URL without its query.
fn hide_tokens(text: &str) -> String {
    let word = |word: &str| match word.find("http://").or_else(|| word.find("https://")) {
        Some(start) => {
            let (before, url) = word.split_at(start);
            let shown = Url::parse(url).ok().and_then(|url| shown_url(&url));
            format!("{}{}", hide_runs(before), shown.map_or(HIDDEN.to_owned(), |url| hide_segments(&url)))
        }
        None => hide_runs(word),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The segments of a path are judged one by one: a path as a whole is longer than a word.
fn hide_segments(url: &str) -> String {
    url.split('/').map(hide_runs).collect::<Vec<_>>().join("/")
}

/// A word, with the runs in it hidden that look like tokens.
fn hide_runs(word: &str) -> String {
    let is_run =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=' | '.' | '~' | '%');
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(start) = rest.find(is_run) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_run(c)).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        shown.push_str(before);
        shown.push_str(if is_token_like(run) { HIDDEN } else { run });
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// Whether a run of characters is more likely a token than a word of any language: long, with letters and digits mixed, or
/// longer still without a digit but in both cases.
fn is_token_like(run: &str) -> bool {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    let letters = run.bytes().filter(u8::is_ascii_alphabetic).count();
    let both_cases =
        run.bytes().any(|c| c.is_ascii_uppercase()) && run.bytes().any(|c| c.is_ascii_lowercase());
    let characters = digits + letters;
    match (digits, letters) {
        (0, _) => characters >= 48 || (both_cases && characters >= 24),
        (_, 0) => digits >= 12,
        _ => characters >= 16,
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let kept: String = text.chars().take(LONGEST - 1).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
#[path = "provider_message_tests.rs"]
mod tests;
