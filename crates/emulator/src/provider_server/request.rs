//! Reads a request into its parts.

use std::collections::BTreeMap;

use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use url::form_urlencoded;

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Texts by name.
pub(super) type Fields = BTreeMap<String, String>;

/// A request as it came in.
pub(super) struct ParsedRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Fields,
    pub(super) headers: HeaderMap,
    pub(super) body: Fields,
}

impl ParsedRequest {
    /// The cookie of that name (RFC 6265, section 4.2.1).
    pub(super) fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// Reads a request to its end.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn read(request: Request<Incoming>) -> Result<ParsedRequest, &'static str> {
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

/// The fields of a body of that media type.
pub(super) fn fields(content_type: Option<&str>, body: &[u8]) -> Result<Fields, &'static str> {
    let kind = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    if body.is_empty() {
        Ok(Fields::new())
    } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        form(body)
    } else if kind.eq_ignore_ascii_case("application/json") {
        let value: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON")?;
        let mut fields = Fields::new();
        flatten(&value, String::new(), &mut fields);
        Ok(fields)
    } else {
        Err("the body is neither a form nor JSON")
    }
}

/// Reads a form or a query; a parameter that comes twice makes it bad (RFC 6749, section 3.2).
pub(super) fn form(text: &[u8]) -> Result<Fields, &'static str> {
    let mut fields = Fields::new();
    for (name, value) in form_urlencoded::parse(text) {
        if fields.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err("a parameter comes twice");
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
