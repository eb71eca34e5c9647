//! Consent without a browser on this machine: a person pastes the address that another browser ended on.

use std::io::{self, BufRead as _, Read as _};

use jeton_core::keep::provider::CallbackParams;
use jeton_keeper::{ConsentError, Consented, PastedAnswer, TerminalConsent, Vault};
use tokio::task::spawn_blocking;
use url::{Url, form_urlencoded};

use super::link::ConsentResult;
use crate::actor;
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 16 * 1024;

/// Shows the provider's page, and finishes with the address that a person pastes. A wrong paste spends nothing, and the
/// person is asked again.
pub(super) async fn consent(vault: &Vault, name: &str) -> Result<ConsentResult, CommandError> {
    let TerminalConsent { id, url, until, takes_code } =
        vault.start_terminal_consent(name, &actor::current()).await?;
    let or_code = if takes_code { ", or its `code` alone" } else { "" };
    output::print_note(&format!(
        "Open this page in any browser and consent, until {}:\n\n    {url}\n\nThe browser then ends on a page whose address \
         begins with the redirect URI; whether that page opens does not matter. Paste its whole address{or_code} here:",
        until.to_the_second()
    ))?;
    let mut mistake =
        CommandError::usage("nothing was pasted; paste the whole address that the browser ended on");
    loop {
        let line = spawn_blocking(read_line).await.map_err(|error| unreadable(&io::Error::other(error)))?;
        let line = line.map_err(|error| unreadable(&error))?;
        if line.is_empty() {
            // The input has ended.
            return Err(mistake);
        }
        let brought = match parse(line.trim()) {
            Ok(brought) => brought,
            Err(sentence) => {
                output::print_note(&format!("{sentence}:"))?;
                mistake = CommandError::usage(sentence);
                continue;
            }
        };
        match vault.finish_terminal_consent(id, brought).await {
            Ok(Consented { generation, renews, .. }) => return Ok(ConsentResult { generation, renews }),
            Err(error @ ConsentError::Stateless { .. }) => {
                mistake = error.into();
                output::print_note(&format!("{}:", mistake.problem().detail))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(MAX_LINE).read_line(&mut line)?;
    Ok(line)
}

fn unreadable(error: &io::Error) -> CommandError {
    CommandError::new(
        ErrorCode::SystemRefused,
        format!("the pasted text cannot be read: {error}; paste it as one line"),
    )
}

/// Understands an address, its query, or a code alone.
fn parse(pasted: &str) -> Result<PastedAnswer, String> {
    if pasted.is_empty() {
        return Err("nothing was pasted; paste the whole address that the browser ended on".to_owned());
    }
    let query = match pasted.parse::<Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url.query().unwrap_or_default().to_owned(),
        _ if is_query(pasted) => pasted.trim_start_matches('?').to_owned(),
        _ if pasted.contains(char::is_whitespace) => {
            return Err("the pasted text is neither an address nor a code, which hold no spaces".to_owned());
        }
        _ => return Ok(PastedAnswer::Code(pasted.into())),
    };
    let mut params = CallbackParams::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if params.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err("a part of the address is there twice; paste it as the browser shows it".to_owned());
        }
    }
    if params.contains_key("code") || params.contains_key("error") {
        return Ok(PastedAnswer::Address(params));
    }
    Err("the address holds no `code`; paste the one that the browser ended on after the consent".to_owned())
}

fn is_query(text: &str) -> bool {
    let text = text.trim_start_matches('?');
    ["code=", "state=", "error="]
        .iter()
        .any(|name| text.starts_with(name) || text.contains(&format!("&{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_its_query_and_a_bare_code_are_understood() {
        let whole = [("code", "a/b"), ("state", "s"), ("referer", "acme.amocrm.ru")];
        let whole: CallbackParams =
            whole.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        for text in [
            "https://jeton.example.com/oauth/callback?code=a%2Fb&state=s&referer=acme.amocrm.ru",
            "?code=a%2Fb&state=s&referer=acme.amocrm.ru",
            "state=s&code=a%2Fb&referer=acme.amocrm.ru",
        ] {
            assert!(
                matches!(parse(text).unwrap(), PastedAnswer::Address(params) if params == whole),
                "{text}"
            );
        }
        assert!(
            matches!(parse("4/0Ab_c-d").unwrap(), PastedAnswer::Code(code) if code.reveal() == "4/0Ab_c-d")
        );
        let refusal = parse("http://x/cb?error=access_denied&state=s").unwrap();
        assert!(matches!(refusal, PastedAnswer::Address(params) if params.contains_key("error")));
        for bad in ["", "http://x/cb", "http://x/cb?code=a&code=b", "two words"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
