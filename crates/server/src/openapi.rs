//! The document of the API (`OpenAPI` 3.1), made from the list of state and from the types of their functions.

mod fixed;
pub(crate) mod operation;
mod served;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jeton_core::problem::Problem;
use serde_json::{Map, Value, json};

use crate::auth::RequiredScope;
use crate::error_catalogue::{CREDENTIAL, catalogue};
use crate::openapi::operation::{OperationDoc, Schemas};
use crate::route::{Auth, Route};
use crate::router::routes;

pub(crate) use served::show;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document()).expect("the keys of the document are texts");
    text.push('\n');
    text
});

/// The document of the API (`OpenAPI` 3.1), as `/openapi.json` answers it.
pub fn openapi() -> &'static str {
    &DOCUMENT
}

fn document() -> Value {
    let (mut schemas, catalogue) = (Schemas::new(), catalogue());
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in routes() {
        let operation = operation(&route, &mut schemas, &catalogue);
        let known = paths.entry(route.path).or_default();
        let twice = known.insert(route.method.as_str().to_ascii_lowercase(), operation);
        assert!(twice.is_none(), "{} {} stands twice in the list", route.method, route.path);
    }
    paths.insert(fixed::PROXY, fixed::proxy());
    let mut schemas = schemas.into_definitions();
    schemas.insert("Problem".to_owned(), fixed::problem());
    let tags = fixed::TAGS.map(|(name, means)| json!({ "name": name, "description": means }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "jeton",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Keeps every token of a company alive",
            "description": fixed::ABOUT,
            "license": { "name": "MIT or Apache-2.0", "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "tags": tags,
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": fixed::credentials() },
    })
}

fn operation(route: &Route, schemas: &mut Schemas, catalogue: &BTreeMap<&str, Problem>) -> Value {
    let mut doc = OperationDoc::new(schemas);
    (route.describe)(&mut doc);
    doc.add_errors(route.errors);
    // Any route may meet a defect.
    doc.add_errors(&["INTERNAL"]);
    for (status, means) in route.pages {
        doc.page(*status, means);
    }
    let security = security(route.auth, &mut doc);
    let mut operation = json!({ "tags": [route.tag], "operationId": route.id, "summary": route.summary });
    operation["security"] = security;
    if let Some(scope) = scope(route.auth) {
        operation["description"] = format!("RequiredScope for the scope `{scope}`.").into();
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

/// Writes down what the auth may be refused with; gives which credentials do.
fn security(auth: Auth, doc: &mut OperationDoc) -> Value {
    let any = |scopes: &[&str]| ["serviceToken", "apiKey", "bearer"].map(|scheme| json!({ scheme: scopes }));
    match auth {
        Auth::None => return json!([]),
        Auth::AnyCredential => doc.add_errors(CREDENTIAL),
        Auth::Scope(_) | Auth::TicketOrRead => {
            doc.add_errors(CREDENTIAL);
            doc.add_errors(&["CONFLICTING_CREDENTIALS", "SCOPE_INSUFFICIENT"]);
        }
    }
    let mut ways: Vec<Value> = any(&scope(auth).map_or(Vec::new(), |scope| vec![scope])).into();
    if auth == Auth::TicketOrRead {
        ways.push(json!({}));
    }
    ways.into()
}

fn scope(auth: Auth) -> Option<&'static str> {
    match auth {
        Auth::None | Auth::AnyCredential => None,
        Auth::Scope(RequiredScope::Read) | Auth::TicketOrRead => Some("read"),
        Auth::Scope(RequiredScope::Token) => Some("token:NAME"),
        Auth::Scope(RequiredScope::Admin) => Some("admin"),
    }
}

/// All answers of a route by their status. Of errors each status has the codes that really occur.
fn responses(doc: OperationDoc, catalogue: &BTreeMap<&str, Problem>) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, response) in doc.responses {
        responses.insert(status.to_string(), response.into_response());
    }
    let mut by_status: BTreeMap<u16, Vec<&Problem>> = BTreeMap::new();
    for (code, status) in doc.errors {
        let problem = catalogue.get(code).unwrap_or_else(|| panic!("no response has the code {code}"));
        by_status.entry(status.unwrap_or(problem.status)).or_default().push(problem);
    }
    for (status, problems) in by_status {
        let response = error_response(status, &problems);
        match responses.get_mut(&status.to_string()) {
            // A page, for people; programs are told otherwise.
            Some(page) => page["content"][PROBLEM] = response["content"][PROBLEM].clone(),
            None => drop(responses.insert(status.to_string(), response)),
        }
    }
    responses
}

const PROBLEM: &str = "application/problem+json";

fn error_response(status: u16, problems: &[&Problem]) -> Value {
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    let meanings = problems.iter().map(|problem| format!("- `{}`: {}", problem.code, problem.title));
    let schema = json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "properties": { "status": { "const": status }, "code": { "enum": codes } } },
        ],
    });
    let mut response = json!({
        "description": meanings.collect::<Vec<_>>().join("\n"),
        "content": { PROBLEM: { "schema": schema } },
    });
    if problems.iter().any(|problem| problem.members.contains_key("retry_after")) {
        let seconds = json!({ "type": "integer", "minimum": 0 });
        let means = "After how many seconds asking again may help.";
        response["headers"] = json!({ "Retry-After": { "description": means, "schema": seconds } });
    }
    response
}

#[cfg(test)]
mod tests;
