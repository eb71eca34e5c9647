//! What each page says.

use jeton_keeper::{AuthorizationRedirect, ConsentError, Consented, LinkPreview};

use super::page::{Action, HtmlPage, PageKind};
use crate::keeper_errors::{consent_message, token_problem};

/// What a link asks for.
pub(super) fn link(prospect: &LinkPreview) -> HtmlPage {
    let LinkPreview { name, provider, host, until, .. } = prospect;
    let sentence = format!(
        "go on to {provider}, sign in with the account that `{name}` is to use, and consent there; the link opens once, and \
         the answer must come back in this browser"
    );
    let page = HtmlPage::new(200, PageKind::Question, "Connect an account", &sentence);
    let page = page.with("Connection", name.as_str()).with("Provider", provider);
    let page = match host {
        Some(host) => page.with("You will be at", host),
        None => page,
    };
    let page = page.with("Good until", until.to_the_second().to_string());
    page.with_action(Action::Button { label: format!("Go on to {provider}") })
}

/// The link is open, and the browser goes on by itself.
pub(super) fn redirecting(asking: &AuthorizationRedirect) -> HtmlPage {
    let provider = &asking.provider;
    let sentence = format!("your browser goes on to {provider} now; if it does not, go on below");
    let page = HtmlPage::new(200, PageKind::Question, "On the way", &sentence);
    page.with_action(Action::Link { label: format!("Go on to {provider}"), url: asking.url.to_string() })
}

/// The connection is made.
pub(super) fn connected(consented: &Consented) -> HtmlPage {
    let name = &consented.name;
    let page = if consented.renews {
        let sentence =
            format!("`{name}` is connected, and jeton keeps its token alive; you can close this page");
        HtmlPage::new(200, PageKind::Success, "Connected", &sentence)
    } else {
        let sentence = format!(
            "`{name}` is connected, but the provider gave no refresh token, so it ends with its access token; ask the \
             provider for offline access, then run `jeton connect {name}` again"
        );
        HtmlPage::new(200, PageKind::Pending, "Connected for a while", &sentence)
    };
    let page = page.with("Connection", name.as_str());
    match consented.expires_at {
        Some(at) => page.with("First access token until", at.to_the_second().to_string()),
        None => page,
    }
}

/// It came to nothing, or not yet.
pub(super) fn error(error: &ConsentError) -> HtmlPage {
    use PageKind::{Failure, Pending};
    let (status, tone, title) = match error {
        ConsentError::UnknownLink => (404, Failure, "Unknown link"),
        ConsentError::UsedLink { .. } => (410, Failure, "This link was used"),
        ConsentError::LateLink { .. } => (410, Failure, "This link has expired"),
        ConsentError::NoState => (400, Failure, "Nothing to answer here"),
        ConsentError::UnknownState => (400, Failure, "Unknown answer"),
        ConsentError::UsedAnswer { .. } => (409, Pending, "Taken before"),
        ConsentError::LateAnswer { .. } => (410, Failure, "Too late"),
        ConsentError::AnotherBrowser => (403, Failure, "Another browser began this"),
        ConsentError::ForTerminal { .. } => (409, Pending, "One step left"),
        ConsentError::Stateless { .. } => (400, Pending, "Not the whole address"),
        ConsentError::Redefined { .. } => (409, Failure, "Defined anew"),
        ConsentError::Denied { code, .. } if code == "access_denied" => (403, Failure, "Consent refused"),
        ConsentError::Denied { .. } => (400, Failure, "The provider refused"),
        ConsentError::Foreign { .. } => (400, Failure, "Answer not taken"),
        ConsentError::Failed { .. } => (502, Failure, "Not connected"),
        ConsentError::Unknown { .. } => (502, Failure, "No word from the provider"),
        ConsentError::Kept { .. } => (202, Pending, "Safe, and not stored yet"),
        ConsentError::Slow { .. } => (202, Pending, "Still under way"),
        ConsentError::Defect { .. } => (500, Failure, "A defect of jeton"),
        ConsentError::Keeper(error) => {
            let problem = token_problem(error);
            return HtmlPage::new(problem.status, Failure, "jeton cannot go on now", &problem.detail);
        }
    };
    HtmlPage::new(status, tone, title, &consent_message(error))
}

/// The address of the page is not one that a provider or jeton makes.
pub(super) fn bad_parameters() -> HtmlPage {
    let sentence = "the address of this page cannot be read, because a part of it comes twice or is no text; begin again \
         with `jeton connect NAME`";
    HtmlPage::new(400, PageKind::Failure, "Unreadable address", sentence)
}

/// Nobody has come yet.
pub(super) fn prefetched() -> HtmlPage {
    let sentence = "a browser looked ahead at this address, and nothing was used up; open the address itself";
    HtmlPage::new(503, PageKind::Pending, "Not opened yet", sentence)
}

/// The button was not pressed on the page that has it.
pub(super) fn foreign_button() -> HtmlPage {
    let sentence = "the button that opens this link was pressed on a page that is not jeton's, and nothing was opened; open \
         the link itself, at the very address that was printed, and press the button there";
    HtmlPage::new(403, PageKind::Failure, "Not from this page", sentence)
}

/// What cannot be.
pub(super) fn internal_error() -> HtmlPage {
    let sentence =
        "this request met a defect of jeton; the process goes on, and `jeton connect NAME` begins again";
    HtmlPage::new(500, PageKind::Failure, "A defect of jeton", sentence)
}
