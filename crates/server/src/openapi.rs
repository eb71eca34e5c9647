//! The document of the API (`OpenAPI` 3.1), made from the list of doors and from the types of their functions.

mod fixed;
mod served;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jeton_core::problem::Problem;
use serde_json::{Map, Value, json};

use crate::access::Asks;
use crate::describe::{Schemas, Sheet};
use crate::door::{Door, Proof};
use crate::refusals::{CREDENTIAL, catalogue};
use crate::router::doors;

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
    for door in doors() {
        let operation = operation(&door, &mut schemas, &catalogue);
        let known = paths.entry(door.path).or_default();
        let twice = known.insert(door.method.as_str().to_ascii_lowercase(), operation);
        assert!(twice.is_none(), "{} {} stands twice in the list", door.method, door.path);
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

fn operation(door: &Door, schemas: &mut Schemas, catalogue: &BTreeMap<&str, Problem>) -> Value {
    let mut sheet = Sheet::new(schemas);
    (door.describe)(&mut sheet);
    sheet.refuses(door.refusals);
    // Any door may meet a defect.
    sheet.refuses(&["INTERNAL"]);
    for (status, means) in door.pages {
        sheet.page(*status, means);
    }
    let security = prove(door.proof, &mut sheet);
    let mut operation = json!({ "tags": [door.tag], "operationId": door.id, "summary": door.summary });
    operation["security"] = security;
    if let Some(scope) = scope(door.proof) {
        operation["description"] = format!("Asks for the scope `{scope}`.").into();
    }
    if !sheet.parameters.is_empty() {
        operation["parameters"] = std::mem::take(&mut sheet.parameters).into();
    }
    if let Some(body) = sheet.body.take() {
        operation["requestBody"] = body;
    }
    operation["responses"] = responses(sheet, catalogue).into();
    operation
}

/// Writes down what the proof may be refused with; gives which credentials do.
fn prove(proof: Proof, sheet: &mut Sheet) -> Value {
    let any = |scopes: &[&str]| ["serviceToken", "apiKey", "bearer"].map(|scheme| json!({ scheme: scopes }));
    match proof {
        Proof::Nothing => return json!([]),
        Proof::Credential => sheet.refuses(CREDENTIAL),
        Proof::Scope(_) | Proof::TicketOrRead => {
            sheet.refuses(CREDENTIAL);
            sheet.refuses(&["CONFLICTING_CREDENTIALS", "SCOPE_INSUFFICIENT"]);
        }
    }
    let mut ways: Vec<Value> = any(&scope(proof).map_or(Vec::new(), |scope| vec![scope])).into();
    if proof == Proof::TicketOrRead {
        ways.push(json!({}));
    }
    ways.into()
}

fn scope(proof: Proof) -> Option<&'static str> {
    match proof {
        Proof::Nothing | Proof::Credential => None,
        Proof::Scope(Asks::Read) | Proof::TicketOrRead => Some("read"),
        Proof::Scope(Asks::Token) => Some("token:NAME"),
        Proof::Scope(Asks::Admin) => Some("admin"),
    }
}

/// All answers of a door by their status. Of refusals each status has the codes that really occur.
fn responses(sheet: Sheet, catalogue: &BTreeMap<&str, Problem>) -> Map<String, Value> {
    let mut responses = Map::new();
    for (status, answer) in sheet.answers {
        responses.insert(status.to_string(), answer.into_response());
    }
    let mut by_status: BTreeMap<u16, Vec<&Problem>> = BTreeMap::new();
    for (code, status) in sheet.refusals {
        let problem = catalogue.get(code).unwrap_or_else(|| panic!("no refusal has the code {code}"));
        by_status.entry(status.unwrap_or(problem.status)).or_default().push(problem);
    }
    for (status, problems) in by_status {
        let refusal = refusal(status, &problems);
        match responses.get_mut(&status.to_string()) {
            // A page, for people; programs are told otherwise.
            Some(page) => page["content"][PROBLEM] = refusal["content"][PROBLEM].clone(),
            None => drop(responses.insert(status.to_string(), refusal)),
        }
    }
    responses
}

const PROBLEM: &str = "application/problem+json";

fn refusal(status: u16, problems: &[&Problem]) -> Value {
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    let meanings = problems.iter().map(|problem| format!("- `{}`: {}", problem.code, problem.title));
    let schema = json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "properties": { "status": { "const": status }, "code": { "enum": codes } } },
        ],
    });
    let mut refusal = json!({
        "description": meanings.collect::<Vec<_>>().join("\n"),
        "content": { PROBLEM: { "schema": schema } },
    });
    if problems.iter().any(|problem| problem.members.contains_key("retry_after")) {
        let seconds = json!({ "type": "integer", "minimum": 0 });
        let means = "After how many seconds asking again may help.";
        refusal["headers"] = json!({ "Retry-After": { "description": means, "schema": seconds } });
    }
    refusal
}

#[cfg(test)]
mod tests;
