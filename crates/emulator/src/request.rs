//! Reads a request into its parts, strictly, and the credentials of its client.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use url::form_urlencoded;

use crate::settings::Settings;

const MAX_BODY_BYTES: usize = 64 * 1024;
const FORM: &str = "application/x-www-form-urlencoded";

/// Texts by name.
pub(crate) type Fields = BTreeMap<String, String>;

/// A request as it came in.
pub(crate) struct ParsedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Fields,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Fields,
}

impl ParsedRequest {
    /// The cookie of that name (RFC 6265, section 4.2.1).
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// A field of the body.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.body.get(name).map(String::as_str)
    }

    /// Whether the client has proved who it is, by Basic or in the body. Both ways at once prove nothing (RFC 6749, section 2.3).
    pub(crate) fn client_is(&self, settings: &Settings) -> bool {
        let (id, secret) = (settings.client_id.as_str(), settings.client_secret.reveal());
        let body = (self.field("client_id"), self.field("client_secret"));
        if self.headers.contains_key(header::AUTHORIZATION) {
            body == (None, None) && self.basic_credentials() == Some((id.to_owned(), secret.to_owned()))
        } else {
            body == (Some(id), Some(secret))
        }
    }

    /// Id and secret of `Authorization: Basic`, each of them form-encoded first (RFC 6749, section 2.3.1).
    fn basic_credentials(&self) -> Option<(String, String)> {
        let (scheme, encoded) = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (id, secret) = decoded.split_once(':')?;
        scheme.eq_ignore_ascii_case("basic").then(|| (form_decoded(id), form_decoded(secret)))
    }
}

/// Reads a request to its end.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn read(request: Request<Incoming>) -> Result<ParsedRequest, &'static str> {
    let (head, body) = request.into_parts();
    let bytes = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let bytes = bytes.map_err(|_| "the request body is over 64 KiB or was cut")?.to_bytes();
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    Ok(ParsedRequest {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: form(head.uri.query().unwrap_or_default().as_bytes())?,
        body: fields(kind, &bytes)?,
        headers: head.headers,
    })
}

/// Reads a form request to its end.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn read_form(request: Request<Incoming>) -> Result<ParsedRequest, &'static str> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if is_of_type(kind, FORM) {
        read(request).await
    } else {
        Err("the request must be application/x-www-form-urlencoded")
    }
}

fn is_of_type(content_type: Option<&str>, wanted: &str) -> bool {
    let kind = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(wanted)
}

/// The fields of a body of that media type.
pub(crate) fn fields(content_type: Option<&str>, body: &[u8]) -> Result<Fields, &'static str> {
    if body.is_empty() {
        Ok(Fields::new())
    } else if is_of_type(content_type, FORM) {
        form(body)
    } else if is_of_type(content_type, "application/json") {
        let value: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON")?;
        let mut fields = Fields::new();
        flatten(&value, String::new(), &mut fields);
        Ok(fields)
    } else {
        Err("the body is neither a form nor JSON")
    }
}

/// Reads a form or a query; a parameter that comes twice makes it bad (RFC 6749, section 3.2), but for `resource` (RFC 8707,
/// section 2), whose values are joined by spaces.
pub(crate) fn form(text: &[u8]) -> Result<Fields, &'static str> {
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(text) {
        match fields.entry(name.into_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(value.into_owned());
            }
            Entry::Occupied(mut entry) if entry.key() == "resource" => {
                entry.get_mut().push(' ');
                entry.get_mut().push_str(&value);
            }
            Entry::Occupied(_) => return Err("a parameter comes twice"),
        }
    }
    Ok(fields)
}

/// The leaves of JSON by their dotted paths.
fn flatten(value: &Value, path: String, fields: &mut Fields) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(value, below(key), fields)),
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(value, below(&index.to_string()), fields);
            }
        }
        Value::String(text) => {
            fields.insert(path, text.clone());
        }
        scalar => {
            fields.insert(path, scalar.to_string());
        }
    }
}

fn form_decoded(text: &str) -> String {
    // `=` and `&` never occur in form-encoded text, so that the whole of it is one name without a value.
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
