//! What was asked of which operation, and what was answered: a run that never met an answer shows nothing of it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use jeton_testkit::matches_template;
use serde::Serialize;
use serde_json::Value;

/// What people answer in a browser, and no program can bring to its good end.
const OF_PEOPLE: [&str; 3] = ["lookAtLink", "openLink", "callback"];

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

/// All operations that are asked.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Asked(Vec<Operation>);

impl Asked {
    /// Those of a document, but for the gateway's.
    pub(super) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let all = paths.flat_map(|(path, methods)| {
            methods
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(method, operation)| (path, method, operation))
        });
        let asked = all.filter(|(_, _, operation)| operation["tags"][0] != super::PROXIED);
        let one = |(path, method, operation): (&String, &String, &Value)| Operation {
            id: operation["operationId"].as_str().unwrap_or_default().to_owned(),
            method: method.to_ascii_uppercase(),
            path: path.clone(),
            answers: BTreeMap::new(),
        };
        Self(asked.map(one).collect())
    }

    /// Counts the calls of a record (HAR).
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(&mut self, record: &[u8]) -> Result<()> {
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

    pub(super) fn operations(&self) -> usize {
        self.0.len()
    }

    pub(super) fn requests(&self) -> usize {
        self.0.iter().flat_map(|operation| operation.answers.values()).sum()
    }

    /// Operations that were never carried out.
    pub(super) fn findings(&self) -> Vec<String> {
        let good = |status: &u16| (200..300).contains(status);
        let is_of_people = |operation: &Operation| OF_PEOPLE.contains(&operation.id.as_str());
        let enough = |operation: &Operation| {
            operation.answers.keys().any(good) || (is_of_people(operation) && !operation.answers.is_empty())
        };
        let bare = self.0.iter().filter(|operation| !enough(operation));
        bare.map(|one| format!("{} was never carried out: {:?}", one.id, one.answers)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_never_carried_out_is_a_finding() {
        let one = |id: &str, tag: &str| json!({ "operationId": id, "tags": [tag] });
        let mut asked = Asked::of(&json!({ "paths": {
            "/a/{name}": { "get": one("show", "a"), "delete": one("end", "a") },
            "/a/{name}/b": { "get": one("call", super::super::PROXIED) },
            "/link": { "get": one("lookAtLink", "consent") },
        } }));
        let call = |method: &str, path: &str, status: u16| json!({ "request": { "method": method, "url": format!("http://127.0.0.1:1{path}") }, "response": { "status": status } });
        let record = json!({ "log": { "entries": [
            call("GET", "/a/x?y=1", 200),
            call("GET", "/a/x", 404),
            call("PUT", "/a/x", 405),
            call("DELETE", "/a/x", 404),
            call("GET", "/link", 400),
        ] } });
        asked.read(record.to_string().as_bytes()).unwrap();
        assert_eq!((asked.operations(), asked.requests()), (3, 4));
        assert_eq!(asked.findings(), ["end was never carried out: {404: 1}"]);
        assert!(asked.read(b"[]").is_err());
    }
}
