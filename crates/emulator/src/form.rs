//! Reading a form request and the credentials of its client, strictly.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use jeton_core::keep::provider::ClientAuth;

use crate::settings::Settings;

const MAX_FORM_BYTES: usize = 64 * 1024;

/// A form request as it was read.
pub(crate) struct Form {
    fields: HashMap<String, String>,
    basic: Option<(String, String)>,
}

/// Why a request was not read; the text goes into `error_description`.
pub(crate) struct BadForm(pub(crate) &'static str);

impl Form {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Whether the client has proved who it is, in a way that is allowed. Both ways at once prove nothing (RFC 6749,
    /// section 2.3).
    pub(crate) fn client_is(&self, settings: &Settings) -> bool {
        let post = match (self.field("client_id"), self.field("client_secret")) {
            (Some(id), Some(secret)) => Some((id, secret)),
            _ => None,
        };
        let basic = self.basic.as_ref().map(|(id, secret)| (id.as_str(), secret.as_str()));
        let right = (settings.client_id.as_str(), settings.client_secret.reveal());
        match (basic, post, settings.client_auth) {
            (Some(given), None, None | Some(ClientAuth::Basic))
            | (None, Some(given), None | Some(ClientAuth::Post)) => given == right,
            _ => false,
        }
    }
}

/// Reads the body of a form request. A parameter that comes twice makes it bad (RFC 6749, section 3.2).
pub(crate) async fn read(request: Request<Incoming>) -> Result<Form, BadForm> {
    let (head, body) = request.into_parts();
    let kind =
        head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err(BadForm("the request must be application/x-www-form-urlencoded"));
    }
    let basic = basic_credentials(&head.headers)?;
    let bytes = Limited::new(body, MAX_FORM_BYTES).collect().await;
    let bytes = bytes.map_err(|_| BadForm("the request body is over 64 KiB or was cut"))?.to_bytes();
    let mut fields = HashMap::new();
    for (name, value) in url::form_urlencoded::parse(&bytes) {
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(BadForm("a parameter comes twice"));
        }
    }
    Ok(Form { fields, basic })
}

/// Id and secret of `Authorization: Basic`, each of them form-encoded first (RFC 6749, section 2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, String)>, BadForm> {
    const BAD: BadForm = BadForm("the Authorization header is not usable");
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let (scheme, encoded) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(BAD)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(BAD);
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| BAD)?;
    let decoded = String::from_utf8(decoded).map_err(|_| BAD)?;
    let (id, secret) = decoded.split_once(':').ok_or(BAD)?;
    Ok(Some((form_decoded(id), form_decoded(secret))))
}

fn form_decoded(text: &str) -> String {
    // `=` and `&` never occur in form-encoded text, so that the whole of it is one name without a value.
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
