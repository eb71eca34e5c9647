//! The operations of a document, and how each was answered.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jeton_testkit::matches_template;
use serde::Serialize;
use serde_json::Value;

/// The tag of the operations of the gateway: the answers are those of a provider's API, and not in the document.
pub(super) const PROXIED: &str = "gateway";

/// Operations that only a person completes, in a browser or with the ticket of a link.
const FOR_PEOPLE: [&str; 6] =
    ["showLink", "openLink", "callback", "callbackForm", "consentResult", "consentProgress"];

/// One operation of the document.
#[derive(Serialize)]
struct Operation {
    id: String,
    #[serde(skip)]
    method: String,
    #[serde(skip)]
    path: String,
    /// How many answers had which status.
    answers: BTreeMap<u16, usize>,
}

/// All operations but the gateway's.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Operations(Vec<Operation>);

impl Operations {
    /// Those of a document.
    pub(super) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let all = paths.flat_map(|(path, methods)| {
            methods
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(method, operation)| (path, method, operation))
        });
        let tested = all.filter(|(_, _, operation)| operation["tags"][0] != PROXIED);
        let one = |(path, method, operation): (&String, &String, &Value)| Operation {
            id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
            method: method.to_ascii_uppercase(),
            path: path.clone(),
            answers: BTreeMap::new(),
        };
        Self(tested.map(one).collect())
    }

    /// Counts the calls of a record (HAR).
    ///
    /// # Errors
    /// It is not a HAR record.
    pub(super) fn count(&mut self, record: &[u8]) -> Result<()> {
        let record: Value = serde_json::from_slice(record).context("the record is no JSON")?;
        let calls = record["log"]["entries"].as_array().context("the record has no calls")?;
        for call in calls {
            let method = call["request"]["method"].as_str().unwrap_or_default();
            let url: http::Uri = call["request"]["url"].as_str().unwrap_or_default().parse()?;
            let status = call["response"]["status"].as_u64().and_then(|status| status.try_into().ok());
            let known =
                self.0.iter_mut().find(|one| one.method == method && matches_template(url.path(), &one.path));
            if let (Some(operation), Some(status)) = (known, status) {
                *operation.answers.entry(status).or_default() += 1;
            }
        }
        Ok(())
    }

    pub(super) fn requests(&self) -> usize {
        self.0.iter().flat_map(|operation| operation.answers.values()).sum()
    }

    /// Operations that never succeeded.
    pub(super) fn findings(&self) -> Vec<String> {
        let good = |status: &u16| (200..300).contains(status);
        let is_for_people = |operation: &Operation| FOR_PEOPLE.contains(&operation.id.as_str());
        let enough = |operation: &Operation| {
            operation.answers.keys().any(good) || (is_for_people(operation) && !operation.answers.is_empty())
        };
        let failed = self.0.iter().filter(|operation| !enough(operation));
        failed.map(|one| format!("{} never succeeded: {:?}", one.id, one.answers)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_that_never_succeeded_is_a_finding() {
        let one = |id: &str, tag: &str| json!({ "operationId": id, "tags": [tag] });
        let mut operations = Operations::of(&json!({ "paths": {
            "/a/{name}": { "get": one("show", "a"), "delete": one("end", "a") },
            "/a/{name}/b": { "get": one("call", PROXIED) },
            "/link": { "get": one("showLink", "consent") },
        } }));
        let call = |method: &str, path: &str, status: u16| json!({ "request": { "method": method, "url": format!("http://127.0.0.1:1{path}") }, "response": { "status": status } });
        let record = json!({ "log": { "entries": [
            call("GET", "/a/x?y=1", 200),
            call("GET", "/a/x", 404),
            call("PUT", "/a/x", 405),
            call("DELETE", "/a/x", 404),
            call("GET", "/link", 400),
        ] } });
        operations.count(record.to_string().as_bytes()).unwrap();
        assert_eq!((operations.0.len(), operations.requests()), (3, 4));
        assert_eq!(operations.findings(), ["end never succeeded: {404: 1}"]);
        assert!(operations.count(b"[]").is_err());
    }
}
