//! What each page says.

use jeton_keeper::{ConsentError, Consented};

use super::page::{Page, Tone};

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
        ConsentError::Denied { code, .. } if code == "access_denied" => (403, Stop, "Consent refused"),
        ConsentError::Denied { .. } => (400, Stop, "The provider refused"),
        ConsentError::Foreign { .. } => (400, Stop, "Answer not taken"),
        ConsentError::Failed { .. } => (502, Stop, "Not connected"),
        ConsentError::Unknown { .. } => (502, Stop, "No word from the provider"),
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

/// What cannot be.
pub(super) fn defect() -> Page {
    let sentence =
        "this request met a defect of jeton; the process goes on, and `jeton connect NAME` begins again";
    Page::new(500, Tone::Stop, "A defect of jeton", sentence)
}
