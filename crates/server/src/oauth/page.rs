//! The one shape of a page that a person sees.

use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The style of all pages. It stands in the page itself, which loads nothing.
const STYLE: &str = include_str!("../../templates/page.css");

/// Nothing but that very style.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("'none'"));

/// The same, and a button that leads to the page itself.
static BUTTON_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("'self'"));

fn policy(form_action: &str) -> HeaderValue {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 and the words of a policy are ASCII")
}

/// How a page feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    /// The person decides.
    Question,
    /// It is done.
    Success,
    /// Something is left to do.
    Pending,
    /// It came to nothing.
    Failure,
}

/// What a person can do next on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A button that asks for the address of the page itself with `POST`.
    Button { label: String },
    /// A link.
    Link { label: String, url: String },
}

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Text(String),
    /// What is typed or read letter by letter.
    Code(String),
}

/// A page that a person sees.
#[derive(Debug, Template)]
#[template(path = "page.html")]
pub(super) struct HtmlPage {
    pub(super) status: u16,
    pub(super) tone: PageKind,
    pub(super) title: &'static str,
    sentence: Vec<Span>,
    facts: Vec<(&'static str, String)>,
    action: Option<Action>,
    style: &'static str,
}

impl HtmlPage {
    /// A page that says `sentence`; what stands between backticks is shown as code.
    pub(super) fn new(status: u16, tone: PageKind, title: &'static str, sentence: &str) -> Self {
        Self { status, tone, title, sentence: spans(sentence), facts: Vec::new(), action: None, style: STYLE }
    }

    /// Adds a fact below the sentence.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    /// Adds the next action.
    pub(super) fn with_action(mut self, action: Action) -> Self {
        self.action = Some(action);
        self
    }
}

impl IntoResponse for HtmlPage {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match self.render() {
            Ok(html) => {
                let mut response = add_headers((status, Html(html)).into_response());
                if let Some(Action::Button { .. }) = self.action {
                    let headers = response.headers_mut();
                    headers.insert(header::CONTENT_SECURITY_POLICY, BUTTON_POLICY.clone());
                    // Without a referrer, the button would not say which page it is on either. No other server is told.
                    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
                }
                response
            }
            Err(error) => {
                tracing::error!(%error, "a page cannot be written");
                add_headers(StatusCode::INTERNAL_SERVER_ERROR.into_response())
            }
        }
    }
}

/// What every answer to a browser carries: it runs and loads nothing, stands in no frame, and tells the next page
/// nothing of its own address, which holds a state or a ticket.
pub(super) fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    let robots = HeaderName::from_static("x-robots-tag");
    headers.insert(robots, HeaderValue::from_static("noindex"));
    response
}

/// A sentence as it stands on a page: with a capital letter and a full stop.
fn spans(sentence: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = sentence
        .split('`')
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
        .map(
            |(index, text)| {
                if index % 2 == 0 { Span::Text(text.to_owned()) } else { Span::Code(text.to_owned()) }
            },
        )
        .collect();
    if let Some(Span::Text(first)) = spans.first_mut() {
        let mut letters = first.chars();
        if let Some(capital) = letters.next() {
            *first = capital.to_uppercase().chain(letters).collect();
        }
    }
    if !sentence.ends_with(['.', '!', '?']) {
        spans.push(Span::Text(".".to_owned()));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_with_a_capital_and_ends_with_a_full_stop() {
        let words = |text: &str| Span::Text(text.to_owned());
        assert_eq!(
            spans("ask with `jeton connect acme`"),
            [words("Ask with "), Span::Code("jeton connect acme".to_owned()), words(".")]
        );
        assert_eq!(spans("`acme` is there."), [Span::Code("acme".to_owned()), words(" is there.")]);
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
    fn the_policy_admits_the_style_of_the_page_and_nothing_else() {
        let html = HtmlPage::new(200, PageKind::Success, "Yes", "it is done").render().unwrap();
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
