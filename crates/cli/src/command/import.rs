//! Reading a `tokens.json`: `access_token`, `refresh_token`, `expires_at`.

use std::fs;
use std::path::Path;

use jeton_core::secret::Secret;
use jeton_core::time::Timestamp;
use jeton_keeper::Grant;
use serde_json::{Map, Value};

use super::token_form;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// From here on (year 2286) a number cannot be epoch seconds: it is milliseconds, say.
const MAX_EPOCH_SECONDS: i64 = 10_000_000_000;

/// The member of a file that was imported and could not be renamed.
pub(super) const MARK: &str = "jeton_imported";

/// Reads the file; its tokens may be no more than the tokens alone. The note says what of it was left out.
pub(super) fn read(file: &Path) -> Result<(Grant, Option<String>), CommandError> {
    let (grant, note) = read_as_it_is(file)?;
    for (member, token) in [("refresh_token", &grant.refresh), ("access_token", &grant.access)] {
        if let Some(Err(wrong)) = token.as_ref().map(|token| token_form::check(token.reveal())) {
            let text = format!("{}: the text of `{member}` {wrong}; give the token alone", file.display());
            return Err(CommandError::new(ErrorCode::GrantRefused, text));
        }
    }
    Ok((grant, note))
}

/// The same, whatever the texts of its tokens look like.
pub(super) fn read_as_it_is(file: &Path) -> Result<(Grant, Option<String>), CommandError> {
    let shown = file.display();
    let text = fs::read_to_string(file).map(Secret::from).map_err(|error| {
        CommandError::usage(format!(
            "{shown} cannot be read: {error}; give `--import` a JSON file with tokens"
        ))
    })?;
    grant(text.reveal()).map_err(|problem| {
        let text = format!("{shown}: {problem}");
        CommandError::new(ErrorCode::GrantRefused, text)
    })
}

fn grant(text: &str) -> Result<(Grant, Option<String>), String> {
    // The message of the JSON parser may quote a token: only the position is shown.
    let value: Value = serde_json::from_str(text)
        .map_err(|error| format!("is not JSON (line {}, column {})", error.line(), error.column()))?;
    let Value::Object(members) = value else {
        return Err("is not a JSON object with `access_token`, `refresh_token` and `expires_at`".to_owned());
    };
    if members.contains_key(MARK) {
        return Err(format!(
            "was imported before, and its tokens may be spent; remove `{MARK}` from it to import them all the same"
        ));
    }
    let mut grant = Grant {
        refresh: token(&members, "refresh_token")?,
        access: token(&members, "access_token")?,
        access_expires_at: members.get("expires_at").map_or(Ok(None), expiry)?,
        refresh_expires_at: None,
    };
    match (&grant.refresh, &grant.access, grant.access_expires_at) {
        (None, None, _) => Err("holds neither `refresh_token` nor `access_token`".to_owned()),
        // Without an expiry it would be served long after its end.
        (Some(_), Some(_), None) => {
            grant.access = None;
            Ok((
                grant,
                Some(
                    "`expires_at` is missing: the access token is left out, and a new one is fetched"
                        .to_owned(),
                ),
            ))
        }
        _ => Ok((grant, None)),
    }
}

fn token(members: &Map<String, Value>, name: &str) -> Result<Option<Secret>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Err(format!("`{name}` is empty")),
        Some(Value::String(text)) => Ok(Some(Secret::new(text.trim()))),
        Some(_) => Err(format!("`{name}` is not a text")),
    }
}

/// An instant as epoch seconds, in a number or in text, or in RFC 3339.
fn expiry(value: &Value) -> Result<Option<Timestamp>, String> {
    let seconds = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(floor)),
        Value::String(text) => match Timestamp::parse_rfc3339(text) {
            Some(instant) => return Ok(Some(instant)),
            None => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(floor)),
        },
        _ => None,
    };
    match seconds {
        Some(seconds) if (0..MAX_EPOCH_SECONDS).contains(&seconds) => Ok(Some(Timestamp::from_secs(seconds))),
        _ => Err("`expires_at` is neither epoch seconds such as 1795249800 nor an instant such as \
                  2026-11-21T08:00:00Z"
            .to_owned()),
    }
}

fn floor(seconds: f64) -> Option<i64> {
    // By text, because a cast would turn an absurd number into a plausible one.
    format!("{:.0}", seconds.floor()).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expires(json: &str) -> Result<Option<i64>, String> {
        let text = format!(r#"{{"access_token": "a", "refresh_token": "r", "expires_at": {json}}}"#);
        grant(&text).map(|(grant, _)| grant.access_expires_at.map(Timestamp::as_secs))
    }

    #[test]
    fn an_expiry_is_read_in_every_format() {
        for json in
            ["1795249800", "\"1795249800\"", "1795249800.73", "\"1795249800.73\"", "\"2026-11-21T08:30:00Z\""]
        {
            assert_eq!(expires(json), Ok(Some(1_795_249_800)), "{json}");
        }
    }

    #[test]
    fn an_absurd_expiry_is_rejected() {
        for json in ["-5", "1795249800000", "\"soon\"", "true", "1e300", "[]"] {
            assert!(expires(json).unwrap_err().contains("`expires_at` is neither"), "{json}");
        }
    }

    #[test]
    fn without_an_expiry_the_access_token_is_left_out() {
        let (grant, note) =
            grant(r#"{"access_token": "a", "refresh_token": "r", "token_type": "Bearer"}"#).unwrap();
        assert_eq!((grant.access, grant.refresh), (None, Some(Secret::new("r"))));
        assert!(note.unwrap().contains("`expires_at` is missing"));
    }

    #[test]
    fn a_file_without_a_grant_is_rejected_and_not_quoted() {
        for (text, why) in [
            ("hush", "is not JSON (line 1, column 1)"),
            ("[\"hush\"]", "is not a JSON object"),
            ("{}", "holds neither"),
            (r#"{"refresh_token": ""}"#, "`refresh_token` is empty"),
            (r#"{"refresh_token": 5}"#, "`refresh_token` is not a text"),
        ] {
            let refused = grant(text).unwrap_err();
            assert!(refused.contains(why) && !refused.contains("hush"), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}") {
            let _ = grant(&text);
            let _ = expires(&text);
        }
    }
}
