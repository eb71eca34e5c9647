//! Whether a text that was given as a token can be the token alone.

/// What is wrong with a text that can hardly be a token and nothing else: it has more around it, as the line of a file with
/// environment variables does. RFC 6749 allows a space in a token, and nobody issues one. The message begins with a verb.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    let quoted = |mark: char| text.starts_with(mark) || text.ends_with(mark);
    if is_assignment(text.strip_prefix("export ").unwrap_or(text)) {
        Err("begins with a name and `=`, as the line of an environment file")
    } else if ['"', '\'', '`'].into_iter().any(quoted) {
        Err("stands in quotes")
    } else if text.starts_with(['{', '[']) {
        Err("is JSON")
    } else if text.contains(char::is_whitespace) {
        Err("holds a space")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("holds characters that no token has")
    } else {
        Ok(())
    }
}

/// `NAME=value`, `refresh_token=value`. The `=` at the end of a text in base64 is none, and neither is one after other text.
fn is_assignment(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let word = name
        .strip_prefix(|first: char| first.is_ascii_alphabetic() || first == '_')
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    let variable = name.contains('_') && !name.bytes().any(|byte| byte.is_ascii_lowercase());
    word && (variable || name.to_ascii_lowercase().contains("token")) && !value.trim_matches('=').is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_more_than_the_token_is_refused_with_the_reason() {
        for (text, why) in [
            ("export REFRESH_TOKEN=oops", "`=`"),
            ("REFRESH_TOKEN=1//0gabc", "`=`"),
            ("ACME_SECRET=abc==", "`=`"),
            ("refresh_token=abc", "`=`"),
            ("token=abc", "`=`"),
            ("\"1//0gabc\"", "quotes"),
            ("'1//0gabc'", "quotes"),
            ("1//0gabc\"", "quotes"),
            ("Bearer 1//0gabc", "space"),
            ("two words", "space"),
            ("tab\there", "space"),
            (r#"{"refresh_token":"abc"}"#, "JSON"),
            ("\u{feff}1//0gabc", "characters"),
            ("h\u{e9}", "characters"),
        ] {
            assert!(check(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn tokens_as_providers_issue_them_pass() {
        for text in [
            "1//0gLongGoogle-Token_abc",
            "def50200a1b2c3",
            "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln",
            "QUJDREVGRw==",
            "ABCD=EFGH",
            "xoxe-1-My0xLWRlZg",
            "a=b&c=d",
            "M.R3_BAY.-CTOKENS*Q!",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
