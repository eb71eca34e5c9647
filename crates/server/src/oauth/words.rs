//! What each page says.

use jeton_keeper::{Asking, ConsentError, Consented, Prospect};

use super::page::{Page, Tone, Way};

/// What a link asks for.
pub(super) fn of_prospect(prospect: &Prospect) -> Page {
    let Prospect { name, provider, host, until, .. } = prospect;
    let sentence = format!(
        "go on to {provider}, sign in with the account that `{name}` is to use, and consent there; the link opens once, and \
         the answer must come back in this browser"
    );
    let page = Page::new(200, Tone::Ask, "Connect an account", &sentence);
    let page = page.with("Connection", name.as_str()).with("Provider", provider);
    let page = match host {
        Some(host) => page.with("You will be at", host),
        None => page,
    };
    let page = page.with("Good until", until.to_the_second().to_string());
    page.leading(Way::Press { label: format!("Go on to {provider}") })
}

/// The link is open, and the browser goes on by itself.
pub(super) fn of_asking(asking: &Asking) -> Page {
    let provider = &asking.provider;
    let sentence = format!("your browser goes on to {provider} now; if it does not, go on below");
    let page = Page::new(200, Tone::Ask, "On the way", &sentence);
    page.leading(Way::Follow { label: format!("Go on to {provider}"), url: asking.url.to_string() })
}

/// The connection is made.
pub(super) fn of_success(consented: &Consented) -> Page {
    let name = &consented.name;
    let page = if consented.renews {
        let sentence =
            format!("`{name}` is connected, and jeton keeps its token alive; you can close this page");
        Page::new(200, Tone::Done, "Connected", &sentence)
    } else {
        let sentence = format!(
            "`{name}` is connected, but the provider gave no refresh token, so it ends with its access token; ask the \
             provider for offline access, then run `jeton connect {name}` again"
        );
        Page::new(200, Tone::Wait, "Connected for a while", &sentence)
    };
    let page = page.with("Connection", name.as_str());
    match consented.expires_at {
        Some(at) => page.with("First access token until", at.to_the_second().to_string()),
        None => page,
    }
}

/// It came to nothing, or not yet.
pub(super) fn of_error(error: &ConsentError) -> Page {
    use Tone::{Stop, Wait};
    let (status, tone, title) = match error {
        ConsentError::UnknownLink => (404, Stop, "Unknown link"),
        ConsentError::UsedLink { .. } => (410, Stop, "This link was used"),
        ConsentError::LateLink { .. } => (410, Stop, "This link has expired"),
        ConsentError::NoState => (400, Stop, "Nothing to answer here"),
        ConsentError::UnknownState => (400, Stop, "Unknown answer"),
        ConsentError::UsedAnswer { .. } => (409, Wait, "Taken before"),
        ConsentError::LateAnswer { .. } => (410, Stop, "Too late"),
        ConsentError::AnotherBrowser => (403, Stop, "Another browser began this"),
        ConsentError::ForTerminal { .. } => (409, Wait, "One step left"),
        ConsentError::Stateless { .. } => (400, Wait, "Not the whole address"),
        ConsentError::Redefined { .. } => (409, Stop, "Defined anew"),
        ConsentError::Denied { code, .. } if code == "access_denied" => (403, Stop, "Consent refused"),
        ConsentError::Denied { .. } => (400, Stop, "The provider refused"),
        ConsentError::Foreign { .. } => (400, Stop, "Answer not taken"),
        ConsentError::Failed { .. } => (502, Stop, "Not connected"),
        ConsentError::Unknown { .. } => (502, Stop, "No word from the provider"),
        ConsentError::Kept { .. } => (202, Wait, "Safe, and not stored yet"),
        ConsentError::Slow { .. } => (202, Wait, "Still under way"),
        ConsentError::Defect { .. } => (500, Stop, "A defect of jeton"),
        ConsentError::Keeper(error) => {
            return Page::new(error.problem().status, Stop, "jeton cannot go on now", &error.to_string());
        }
    };
    Page::new(status, tone, title, &error.to_string())
}

/// The address of the page is not one that a provider or jeton makes.
pub(super) fn unreadable() -> Page {
    let sentence = "the address of this page cannot be read, because a part of it comes twice or is no text; begin again \
         with `jeton connect NAME`";
    Page::new(400, Tone::Stop, "Unreadable address", sentence)
}

/// Nobody has come yet.
pub(super) fn looked_ahead() -> Page {
    let sentence = "a browser looked ahead at this address, and nothing was used up; open the address itself";
    Page::new(503, Tone::Wait, "Not opened yet", sentence)
}

/// The button was not pressed on the page that has it.
pub(super) fn from_elsewhere() -> Page {
    let sentence = "the button that opens this link was pressed on a page that is not jeton's, and nothing was opened; open \
         the link itself, at the very address that was printed, and press the button there";
    Page::new(403, Tone::Stop, "Not from this page", sentence)
}

/// What cannot be.
pub(super) fn defect() -> Page {
    let sentence =
        "this request met a defect of jeton; the process goes on, and `jeton connect NAME` begins again";
    Page::new(500, Tone::Stop, "A defect of jeton", sentence)
}
