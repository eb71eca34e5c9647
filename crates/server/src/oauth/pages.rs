//! The pages that a person sees in the browser.
//!
//! Their readers were sent a link and know nothing of jeton: no commands, no settings, times as people say them. No page is
//! cached, runs a script, loads anything, or tells another site its address.

use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_core::id::ConnectionName;
use jeton_core::keep::consent::Progress;
use jeton_keeper::{AuthorizationRedirect, ConsentError, LinkPreview, Status, TokenError};

use crate::error::ApiError;

/// The style of all pages, which is part of each page.
const STYLE: &str = include_str!("../../templates/page.css");

/// `27 November 2026, 18:14 UTC`.
const DATE_AND_TIME: &str = "%-d %B %Y, %H:%M UTC";

/// Allows that style and nothing else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("'none'"));

/// Allows also a button that posts to the page itself.
static BUTTON_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("'self'"));

fn policy(form_action: &str) -> HeaderValue {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 and the words of a policy are ASCII")
}

/// What a page is about; its icon and colour show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageKind {
    /// The person decides.
    Question,
    Success,
    /// Something is still to be done.
    Pending,
    Failure,
}

/// What a person can do on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// A button that posts to the page's own address.
    Button {
        label: String,
    },
    Link {
        label: String,
        url: String,
    },
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Span {
    Text(String),
    /// Shown as code, such as a name.
    Code(String),
}

/// One page.
#[derive(Debug, Template)]
#[template(path = "page.html")]
pub(super) struct HtmlPage {
    status: u16,
    kind: PageKind,
    title: &'static str,
    text: Vec<Span>,
    facts: Vec<(&'static str, String)>,
    action: Option<Action>,
    /// The browser loads the page again after so many seconds, or goes to the URL.
    refresh: Option<String>,
    style: &'static str,
}

impl HtmlPage {
    /// A page; what stands between backticks in `text` is shown as code.
    fn new(status: u16, kind: PageKind, title: &'static str, text: &str) -> Self {
        let spans = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
        let text = spans
            .map(|(index, part)| match index % 2 {
                0 => Span::Text(part.to_owned()),
                _ => Span::Code(part.to_owned()),
            })
            .collect();
        Self { status, kind, title, text, facts: Vec::new(), action: None, refresh: None, style: STYLE }
    }

    /// Adds a line below the text.
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    /// What a link asks for.
    pub(super) fn link(preview: &LinkPreview) -> Self {
        let LinkPreview { name, provider, host, scopes, left, .. } = preview;
        let at = host.as_deref().unwrap_or(provider);
        let text = format!(
            "You will now sign in at {at}. Use the account that `{name}` should access. This link works once, in this browser."
        );
        let mut page =
            Self::new(200, PageKind::Question, "Connect an account", &text).with("Connection", name.as_str());
        if at != provider {
            page = page.with("Provider", provider);
        }
        if !scopes.is_empty() {
            page = page.with("Access requested", scopes.join(", "));
        }
        page = page.with("Link valid for", minutes(*left));
        Self { action: Some(Action::Button { label: format!("Continue to {provider}") }), ..page }
    }

    /// The link is open, and the browser goes to the provider by itself.
    pub(super) fn redirecting(redirect: &AuthorizationRedirect) -> Self {
        let AuthorizationRedirect { provider, url, .. } = redirect;
        let text = format!("Your browser goes to {provider} now. If nothing happens, use the button.");
        Self {
            action: Some(Action::Link { label: format!("Continue to {provider}"), url: url.to_string() }),
            refresh: Some(format!("0; url={url}")),
            ..Self::new(200, PageKind::Question, "Continue at the provider", &text)
        }
    }

    /// The connection works, until it expires where it cannot be renewed. `status` is how it stands, where that is known.
    pub(super) fn connected(name: &ConnectionName, renews: bool, status: Option<&Status>) -> Self {
        let missing = status.map(|status| status.missing_scopes.as_slice()).unwrap_or_default();
        let page = if renews && !missing.is_empty() {
            let text = format!(
                "`{name}` is connected and stays connected, with less access than was asked for. Please tell whoever sent you the \
                 link what is missing. You can close this page."
            );
            Self::new(200, PageKind::Pending, "Connected with less access", &text)
        } else if renews {
            let text = format!("`{name}` is connected and stays connected. You can close this page.");
            Self::new(200, PageKind::Success, "Connected", &text)
        } else {
            let text = format!(
                "`{name}` is connected, but the provider did not allow it to be renewed. Please tell whoever sent you the link: \
                 they can ask the provider for offline access. You can close this page."
            );
            Self::new(200, PageKind::Pending, "Connected for now", &text)
        };
        let ends = status.and_then(|status| status.expires_at).filter(|_| !renews);
        let page = match ends {
            Some(ends) => page.with("Works until", ends.format(DATE_AND_TIME)),
            None => page,
        };
        let granted =
            status.and_then(|status| status.granted_scopes.as_ref()).filter(|scopes| !scopes.is_empty());
        let page = match granted {
            Some(scopes) => page.with("Access granted", scopes.join(", ")),
            None => page,
        };
        if missing.is_empty() { page } else { page.with("Access missing", missing.join(", ")) }
    }

    /// What became of an answer of the provider that did not connect `name`, or not yet.
    pub(super) fn unfinished(name: &ConnectionName, progress: &Progress) -> Self {
        use PageKind::{Failure, Pending};
        let again = "To try again, ask whoever sent you the link for a new one.";
        match progress {
            Progress::Refused { code, .. } if code == "access_denied" => {
                let text = format!(
                    "The provider says that access was denied. Nothing has changed for `{name}`. {again}"
                );
                Self::new(403, Failure, "Consent refused", &text)
            }
            Progress::Refused { code, .. } if code == "foreign" => {
                let text = format!(
                    "The answer does not come from the provider that was asked, so no secret was sent to it, and nothing has \
                     changed for `{name}`. {again}"
                );
                Self::new(400, Failure, "Answer rejected", &text)
            }
            Progress::Refused { code, .. } if code != "no_code" && code != "not_sent" => {
                let text = format!(
                    "The provider sent you back with an error. Nothing has changed for `{name}`. Please tell whoever sent you \
                     the link."
                );
                Self::new(400, Failure, "The provider refused", &text).with("Error", code)
            }
            Progress::Refused { code, .. } | Progress::Failed { code, .. } => {
                let text = format!(
                    "`{name}` was not connected: the provider did not complete the sign-in. Please tell whoever sent you the link, \
                     then try again with a new one."
                );
                Self::new(502, Failure, "Not connected", &text).with("Error", code)
            }
            Progress::Unknown => {
                let text = format!(
                    "jeton sent your approval to the provider and got no usable answer, so `{name}` may not be connected. An approval \
                     is never sent twice. {again}"
                );
                Self::new(502, Failure, "No answer from the provider", &text)
            }
            Progress::Exchanging => Self {
                refresh: Some("3".to_owned()),
                ..Self::new(
                    202,
                    Pending,
                    "Saving the connection",
                    &format!(
                        "The provider has answered, and `{name}` is being connected. This page updates by itself: please do not start \
                         again."
                    ),
                )
            },
            Progress::Expired => Self::late(),
            _ => {
                let text =
                    format!("The sign-in for `{name}` is not finished. Please finish it at the provider.");
                Self::new(409, Pending, "Not finished", &text)
            }
        }
    }

    fn late() -> Self {
        let text = "The provider's answer came more than 10 minutes after the link was opened, so it was not used. Nothing has \
             changed. To try again, ask whoever sent you the link for a new one.";
        Self::new(410, PageKind::Failure, "Too late", text)
    }

    /// A link or an answer was not accepted.
    pub(super) fn error(error: &ConsentError) -> Self {
        use PageKind::{Failure, Pending};
        let (status, kind, title, text) = match error {
            ConsentError::UnknownLink => (
                404,
                Failure,
                "Unknown link",
                "This link does not exist, or it is more than a week old. Check that you copied all of it, or ask for a new one.",
            ),
            ConsentError::UsedLink { .. } => (
                410,
                Failure,
                "This link was used",
                "A link works once. If you are not connected yet, ask whoever sent it for a new one.",
            ),
            ConsentError::LateLink { .. } => (
                410,
                Failure,
                "This link has expired",
                "A link works for 10 minutes. Ask whoever sent it for a new one.",
            ),
            ConsentError::NoState => (
                400,
                Failure,
                "Nothing to do here",
                "Providers send people to this address after they sign in. To connect an account, open the link that you were sent.",
            ),
            ConsentError::UnknownState => (
                400,
                Failure,
                "Unknown sign-in",
                "This sign-in did not begin here, or it is too old. To start again, ask for a new link.",
            ),
            ConsentError::LateAnswer { .. } => return Self::late(),
            ConsentError::AnotherBrowser => (
                403,
                Failure,
                "Wrong browser",
                "The link was opened in another browser. Finish there, or ask for a new link and open it in this browser.",
            ),
            ConsentError::ForTerminal { .. } => (
                409,
                Pending,
                "One step left",
                "The terminal in which you began waits for this answer: copy the address of this page into it.",
            ),
            ConsentError::Redefined { .. } => (
                409,
                Failure,
                "The connection has changed",
                "Since the link was made, the connection was moved to another provider. Please tell whoever sent you the link.",
            ),
            ConsentError::Keeper(error) => return Self::unavailable(error),
            _ => return Self::internal_error(),
        };
        Self::new(status, kind, title, text)
    }

    /// The keeper cannot work on a consent now.
    fn unavailable(error: &TokenError) -> Self {
        let status = ApiError::from(error.clone()).status();
        let text = match error {
            TokenError::UnknownConnection { .. } | TokenError::Definition { .. } => {
                "The connection is not set up correctly on this server. Please tell whoever sent you the link."
            }
            _ => "The server cannot save a connection at the moment. Wait a minute, then reload this page.",
        };
        Self::new(status, PageKind::Failure, "This does not work right now", text).with("Error", error.code())
    }

    /// The result that the address names cannot be found.
    pub(super) fn unknown_result() -> Self {
        let text = "There is no result at this address. Results are kept for a week.";
        Self::new(404, PageKind::Failure, "Unknown result", text)
    }

    /// The state of a consent cannot be read now.
    pub(super) fn unknown_yet(error: &TokenError) -> Self {
        let text = "The provider has answered, but the server cannot show the result at the moment. This page tries again by \
             itself: please do not start again.";
        let status = ApiError::from(error.clone()).status();
        Self { refresh: Some("5".to_owned()), ..Self::new(status, PageKind::Pending, "Please wait", text) }
    }

    /// A parameter of the address comes twice or is not text.
    pub(super) fn bad_parameters() -> Self {
        let text =
            "The address of this page is damaged. Open the link that you were sent, or ask for a new one.";
        Self::new(400, PageKind::Failure, "Unreadable address", text)
    }

    /// A browser loads the page ahead of time.
    pub(super) fn prefetched() -> Self {
        let text = "Your browser loaded this page ahead of time, and nothing was used up. Please reload it.";
        Self::new(503, PageKind::Pending, "Not opened yet", text)
    }

    /// The button was pressed on another site's page.
    pub(super) fn foreign_button() -> Self {
        let text = "The button was pressed on a page of another site, so nothing was opened. Open the link that you were sent, and \
             use the button there.";
        Self::new(403, PageKind::Failure, "Not from this page", text)
    }

    /// A bug of jeton.
    pub(super) fn internal_error() -> Self {
        let text =
            "Something went wrong on the server, and its log says what. To try again, ask for a new link.";
        Self::new(500, PageKind::Failure, "Internal error", text)
    }

    /// The page at `/`.
    pub(super) fn home() -> Self {
        let text = "This server keeps the access to other services alive. If you were sent a link, please open that link. Developers: \
             the API is described at `/openapi.json`.";
        Self::new(200, PageKind::Success, "jeton is running", text)
    }
}

impl IntoResponse for HtmlPage {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let refresh = self.refresh.as_deref().map(HeaderValue::from_str).transpose();
        let (Ok(html), Ok(refresh)) = (self.render(), refresh) else {
            tracing::error!(title = self.title, "a page cannot be rendered");
            return secure(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        let mut response = secure((status, Html(html)).into_response());
        let headers = response.headers_mut();
        if let Some(Action::Button { .. }) = self.action {
            headers.insert(header::CONTENT_SECURITY_POLICY, BUTTON_POLICY.clone());
            // Without a referrer, the browser would not say which page the button is on. Only this site sees it.
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        }
        if let Some(refresh) = refresh {
            headers.insert(header::REFRESH, refresh);
        }
        response
    }
}

/// Adds the headers of every response to a browser. The address may hold a state or a ticket, so it goes nowhere else.
pub(super) fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
    response
}

/// `1 minute`, `10 minutes`: rounded up.
fn minutes(left: Duration) -> String {
    match left.as_secs().div_ceil(60) {
        0 | 1 => "1 minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use jeton_core::time::Timestamp;

    use super::*;

    #[test]
    fn names_between_backticks_are_shown_as_code() {
        let page = HtmlPage::new(200, PageKind::Success, "Yes", "`acme` is there.");
        assert_eq!(page.text, [Span::Code("acme".to_owned()), Span::Text(" is there.".to_owned())]);
    }

    #[test]
    fn times_are_written_for_people() {
        let time = Timestamp::from_secs(1_795_249_800);
        assert_eq!(time.format(DATE_AND_TIME), "21 November 2026, 08:30 UTC");
        for (seconds, text) in [(600, "10 minutes"), (599, "10 minutes"), (60, "1 minute"), (1, "1 minute")] {
            assert_eq!(minutes(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn what_comes_from_outside_is_shown_as_text() {
        let page = HtmlPage::new(400, PageKind::Failure, "No", "it names `<script>alert(1)</script>` & more")
            .with("Fact", "<img src=x>");
        let html = page.render().unwrap();
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert!(html.contains("&#60;script&#62;") || html.contains("&lt;script&gt;"), "{html}");
    }

    #[test]
    fn the_policy_allows_the_style_of_the_page_and_nothing_else() {
        let html = HtmlPage::new(200, PageKind::Success, "Yes", "It is done.").render().unwrap();
        let (_, rest) = html.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
        let policy = POLICY.to_str().unwrap();
        assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        for outside in ["http://", "https://", "src=", "<script", " style=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
