//! The `OpenAPI` 3.1 document of the HTTP API, made from the routes and the types of their handlers.

pub(crate) mod operation;

use std::collections::BTreeMap;
use std::convert::Infallible;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jeton_core::problem::Problem;
use serde_json::{Map, Value, json};

use crate::auth::RequiredScope;
use crate::error_catalogue::{CREDENTIAL, catalogue};
use crate::route::{Auth, Route};
use operation::{DescribeInput, DescribeOutput, OperationDoc, ResponseDoc, Schemas};

/// The document as it is served.
pub(crate) struct Document {
    pub(crate) text: String,
    etag: HeaderValue,
}

impl Document {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut text =
            serde_json::to_string_pretty(&document(routes)).expect("the keys of the document are texts");
        text.push('\n');
        let digest = digest(&SHA256, text.as_bytes());
        let hex =
            digest.as_ref().iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let etag = HeaderValue::from_str(&format!("\"{hex}\"")).expect("digits are ASCII");
        Self { text, etag }
    }
}

/// `GET /openapi.json`: this document, open to everyone.
pub(crate) async fn show(
    Extension(document): Extension<&'static Document>,
    IfNoneMatch(versions): IfNoneMatch,
) -> DocumentResponse {
    // RFC 9110, section 13.1.2.
    let texts = versions.iter().filter_map(|value| value.to_str().ok());
    let mut tags = texts.flat_map(|text| text.split(',')).map(str::trim);
    let is_current = tags.any(|tag| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == document.etag.as_bytes()
    });
    if is_current { DocumentResponse::NotModified(document) } else { DocumentResponse::Full(document) }
}

impl DescribeInput for Extension<&'static Document> {
    fn describe(_: &mut OperationDoc) {}
}

/// The versions of the document that the caller has.
pub(crate) struct IfNoneMatch(Vec<HeaderValue>);

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect()))
    }
}

impl DescribeInput for IfNoneMatch {
    fn describe(doc: &mut OperationDoc) {
        let description = "The ETag of the document that the caller has.";
        doc.parameter::<String>("header", "If-None-Match", description, None);
    }
}

/// The document, or the fact that the caller has it.
pub(crate) enum DocumentResponse {
    Full(&'static Document),
    NotModified(&'static Document),
}

impl IntoResponse for DocumentResponse {
    fn into_response(self) -> Response {
        let (Self::Full(document) | Self::NotModified(document)) = self;
        let caching = [
            (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
            (header::ETAG, document.etag.clone()),
        ];
        match self {
            Self::Full(_) => (caching, [(header::CONTENT_TYPE, "application/json")], document.text.as_str())
                .into_response(),
            Self::NotModified(_) => (StatusCode::NOT_MODIFIED, caching).into_response(),
        }
    }
}

impl DescribeOutput for DocumentResponse {
    fn describe(doc: &mut OperationDoc) {
        let etag = |response: ResponseDoc| {
            response.with_header("ETag", "The version of the document.", &json!({ "type": "string" }))
        };
        let full =
            ResponseDoc::new("The document.").with_body("application/json", &json!({ "type": "object" }));
        doc.response(200, etag(full));
        doc.response(304, etag(ResponseDoc::new("The caller has the current document.")));
    }
}

const ABOUT: &str = "jeton stores the OAuth tokens that your programs use to call other APIs, refreshes each one in time, and serves it \
    over HTTP. It also issues the service tokens by which your programs call jeton.\n\nEvery error is a problem document (RFC 9457) \
    with a stable `code`, also where HTTP itself rejects the request: headers beyond the limit (431), and bytes that are not \
    HTTP (400).\n\nSend the service token in one of three headers. A request with two different ones is \
    rejected.";

/// The methods besides its own of a route that answers every method.
const ANY_METHOD: [&str; 6] = ["Head", "Post", "Put", "Patch", "Delete", "Options"];

/// The tags of the operations, in reading order.
const TAGS: [(&str, &str); 8] = [
    ("connections", "The grants that jeton keeps alive."),
    ("tokens", "Access tokens of connections."),
    ("service-tokens", "The service tokens of your programs."),
    ("gateway", "Calls to a provider's API; jeton adds the token."),
    ("consent", "The pages on which people give their consent, and its progress."),
    ("diagnostics", "Answers in the format of the older gateway that jeton replaces."),
    ("health", "Whether the process runs and can do its work."),
    ("reference", "This document."),
];

fn document(routes: &[Route]) -> Value {
    let (mut schemas, catalogue) = (Schemas::new(), catalogue());
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        let operation = operation(route, &mut schemas, &catalogue);
        let methods = paths.entry(route.path).or_default();
        for other in ANY_METHOD.into_iter().filter(|_| route.any_method) {
            let mut operation = operation.clone();
            operation["operationId"] = format!("{}{other}", route.operation_id).into();
            methods.insert(other.to_ascii_lowercase(), operation);
        }
        let previous = methods.insert(route.method.as_str().to_ascii_lowercase(), operation);
        assert!(previous.is_none(), "two routes for {} {}", route.method, route.path);
    }
    paths.insert(PROXY_PATH, proxy_operations());
    let mut schemas = schemas.into_definitions();
    schemas.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "jeton",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Stores, refreshes and serves OAuth tokens",
            "description": ABOUT,
            "license": { "name": "MIT or Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "tags": TAGS.map(|(name, description)| json!({ "name": name, "description": description })),
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": security_schemes() },
    })
}

fn operation(route: &Route, schemas: &mut Schemas, catalogue: &BTreeMap<&str, Problem>) -> Value {
    let mut doc = OperationDoc::new(schemas);
    (route.describe)(&mut doc);
    doc.add_errors(route.errors);
    doc.add_errors(&["INTERNAL"]);
    for (status, description) in route.pages {
        doc.page(*status, description);
    }
    let security = security(route.auth, &mut doc);
    let mut operation =
        json!({ "tags": [route.tag], "operationId": route.operation_id, "summary": route.summary });
    operation["security"] = security;
    let scopes = scopes(route.auth);
    if !scopes.is_empty() {
        operation["description"] = format!("Requires the scope `{}`.", scopes.join("` or `")).into();
    }
    if !doc.parameters.is_empty() {
        operation["parameters"] = std::mem::take(&mut doc.parameters).into();
    }
    if let Some(body) = doc.body.take() {
        operation["requestBody"] = body;
    }
    operation["responses"] = responses(doc, catalogue).into();
    operation
}

/// Adds the errors of authentication; gives the operation's security requirements.
fn security(auth: Auth, doc: &mut OperationDoc) -> Value {
    match auth {
        Auth::None => return json!([]),
        Auth::AnyToken => doc.add_errors(CREDENTIAL),
        Auth::Scope(_) | Auth::ReadOrOldGateway => {
            doc.add_errors(CREDENTIAL);
            doc.add_errors(&["CONFLICTING_CREDENTIALS", "SCOPE_INSUFFICIENT"]);
        }
    }
    let mut requirements = any_header(scopes(auth));
    if auth == Auth::ReadOrOldGateway {
        requirements.push(json!({}));
    }
    requirements.into()
}

/// A service token with one of these scopes, or with any where there are none, in one of the three headers.
fn any_header(scopes: &[&str]) -> Vec<Value> {
    let each = |scopes: &[&str]| ["serviceToken", "apiKey", "bearer"].map(|scheme| json!({ scheme: scopes }));
    if scopes.is_empty() {
        return each(&[]).into();
    }
    scopes.iter().flat_map(|scope| each(&[scope])).collect()
}

/// The scopes of which a caller needs one.
fn scopes(auth: Auth) -> &'static [&'static str] {
    match auth {
        Auth::None | Auth::AnyToken => &[],
        Auth::Scope(RequiredScope::Read) | Auth::ReadOrOldGateway => &["read"],
        Auth::Scope(RequiredScope::Token) => &["token:NAME"],
        Auth::Scope(RequiredScope::Operate) => &["operate:NAME"],
        Auth::Scope(RequiredScope::TokenOrOperate) => &["token:NAME", "operate:NAME"],
        Auth::Scope(RequiredScope::Admin) => &["admin"],
    }
}

/// All responses of an operation by status. An error status lists exactly the codes that occur.
fn responses(doc: OperationDoc, catalogue: &BTreeMap<&str, Problem>) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, response) in doc.responses {
        responses.insert(status.to_string(), response.into_response());
    }
    let mut by_status: BTreeMap<u16, Vec<&Problem>> = BTreeMap::new();
    for (code, status) in doc.errors {
        let problem = catalogue.get(code).unwrap_or_else(|| panic!("no error has the code {code}"));
        by_status.entry(status.unwrap_or(problem.status)).or_default().push(problem);
    }
    for (status, problems) in by_status {
        let error = error_response(status, &problems);
        match responses.get_mut(&status.to_string()) {
            // The status of a page, which is for people: programs get a problem document.
            Some(page) => page["content"][PROBLEM] = error["content"][PROBLEM].clone(),
            None => {
                responses.insert(status.to_string(), error);
            }
        }
    }
    responses
}

const PROBLEM: &str = "application/problem+json";

fn error_response(status: u16, problems: &[&Problem]) -> Value {
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    let titles = problems.iter().map(|problem| format!("- `{}`: {}", problem.code, problem.title));
    let schema = json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "properties": { "status": { "const": status }, "code": { "enum": codes } } },
        ],
    });
    let mut response = json!({
        "description": titles.collect::<Vec<_>>().join("\n"),
        "content": { PROBLEM: { "schema": schema } },
    });
    if problems.iter().any(|problem| problem.members.contains_key("retry_after")) {
        let seconds = json!({ "type": "integer", "minimum": 0 });
        let description = "Seconds after which a retry may succeed.";
        response["headers"] = json!({ "Retry-After": { "description": description, "schema": seconds } });
    }
    response
}

/// The three headers that a service token may be sent in.
fn security_schemes() -> Value {
    let description = "A service token or the API key.";
    let header = |name| json!({ "type": "apiKey", "in": "header", "name": name, "description": description });
    json!({
        "serviceToken": header("X-SERVICE-TOKEN"),
        "apiKey": header("X-API-KEY"),
        "bearer": { "type": "http", "scheme": "bearer", "description": description },
    })
}

/// The schema of every error.
fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "description": "Problem details (RFC 9457).",
        "type": "object",
        "additionalProperties": false,
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": { "type": "string", "pattern": "^urn:jeton:error:[A-Z_]+$", "description": "A URN with the code." },
            "title": text("The kind of error in words."),
            "status": { "type": "integer", "description": "The HTTP status." },
            "code": text("The kind of error for programs; it never changes its meaning."),
            "detail": text("What failed, why, and what to do, in one sentence."),
            "retry_after": { "type": "integer", "minimum": 0, "description": "Seconds after which a retry may succeed." },
            "class": text("The class of the provider's error."),
            "provider_code": text("The provider's error code."),
            "attempt": { "type": "string", "format": "uuid", "description": "The attempt whose outcome is unknown." },
            "service": text("The service that the token belongs to."),
            "provider_message": text("What the provider said in its own words, for callers with `read` or `operate:NAME`."),
            "missing_scope": text("The scope that would be enough."),
            "error": {
                "type": "object",
                "description": "Code and detail again, where clients of older gateways read them.",
                "required": ["code", "detail"],
                "properties": { "code": { "type": "string" }, "detail": { "type": "string" } },
            },
        },
    })
}

/// Where the gateway's router is mounted.
const PROXY_PATH: &str = "/api/v1/proxy/{connection}/{path}";

fn proxy_operations() -> Map<String, Value> {
    let parameter = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema });
    let name = json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" });
    let parameters = [
        parameter("connection", name, "The name of a connection."),
        parameter(
            "path",
            json!({ "type": "string" }),
            "The path at the API; it may have any number of segments.",
        ),
    ];
    let operation = |method: &str| {
        json!({
            "tags": ["gateway"],
            "operationId": format!("call{method}"),
            "summary": "Calls the provider's API and adds the token.",
            "description": "Requires the scope `proxy:NAME`, which may be limited to methods and paths. All methods but CONNECT and \
                TRACE are forwarded, with query, headers and body; the caller's own credential is removed. If the API rejects \
                the token, jeton refreshes it and sends the call once more.",
            "security": any_header(&["proxy:NAME"]),
            "parameters": parameters,
            "responses": {
                "default": {
                    "description": "The API's response, unchanged. An error of jeton itself carries the header X-Jeton-Error and is a \
                        problem document.",
                    "headers": {
                        "X-Jeton-Error": {
                            "description": "The code of jeton's error; absent on the API's own responses.",
                            "schema": { "type": "string" },
                        },
                    },
                },
            },
        })
    };
    ["Get", "Head", "Post", "Put", "Patch", "Delete", "Options"]
        .into_iter()
        .map(|method| (method.to_ascii_lowercase(), operation(method)))
        .collect()
}
