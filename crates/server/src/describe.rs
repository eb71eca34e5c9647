//! What a door says of itself: what it takes and gives is read from the types of its function, so that the document and the
//! door cannot differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::{Extension, Json};
use jeton_issuer::Caller;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::answer::Refusal;
use crate::router::Doors;

/// An extractor, as far as callers see it.
pub(crate) trait Takes {
    /// Writes down what it takes from a request, and what it refuses.
    fn describe(sheet: &mut Sheet);
}

/// An answer, as callers see it.
pub(crate) trait Gives {
    /// Writes down its status, headers and body.
    fn describe(sheet: &mut Sheet);
}

/// A function behind a door; `T` is how axum tells functions of different shapes apart.
pub(crate) trait Described<T> {
    /// Writes down what the function takes and gives.
    fn describe(sheet: &mut Sheet);
}

impl<F, A> Described<((),)> for F
where
    F: Fn() -> A,
    A: Future<Output: Gives>,
{
    fn describe(sheet: &mut Sheet) {
        A::Output::describe(sheet);
    }
}

macro_rules! described {
    ($($input:ident),+) => {
        impl<F, A, M, $($input),+> Described<(M, $($input,)+)> for F
        where
            F: Fn($($input),+) -> A,
            A: Future<Output: Gives>,
            $($input: Takes),+
        {
            fn describe(sheet: &mut Sheet) {
                $($input::describe(sheet);)+
                A::Output::describe(sheet);
            }
        }
    };
}

described!(I1);
described!(I1, I2);
described!(I1, I2, I3);
described!(I1, I2, I3, I4);
described!(I1, I2, I3, I4, I5);

/// What is of the inside, or is written down by the answer that it leads to.
macro_rules! takes_nothing {
    ($($kind:ty),+) => {$(
        impl Takes for $kind {
            fn describe(_: &mut Sheet) {}
        }
    )+};
}

takes_nothing!(State<Arc<Doors>>, Extension<Caller>, HeaderMap, Method);

impl<T: JsonSchema> Gives for Json<T> {
    fn describe(sheet: &mut Sheet) {
        let body = sheet.given::<T>();
        sheet.answer(200, Answer::new("It is done.").with_body("application/json", &body));
    }
}

/// A page for people: its door lists which there are.
impl Gives for Response {
    fn describe(_: &mut Sheet) {}
}

impl<T: Gives> Gives for Result<T, Refusal> {
    fn describe(sheet: &mut Sheet) {
        T::describe(sheet);
    }
}

/// An answer that is no refusal.
pub(crate) struct Answer {
    means: &'static str,
    content: Map<String, Value>,
    headers: Map<String, Value>,
}

impl Answer {
    pub(crate) fn new(means: &'static str) -> Self {
        Self { means, content: Map::new(), headers: Map::new() }
    }

    pub(crate) fn with_body(mut self, kind: &str, schema: &Value) -> Self {
        self.content.insert(kind.to_owned(), json!({ "schema": schema }));
        self
    }

    /// Adds a header that every such answer has.
    pub(crate) fn with_header(mut self, name: &str, means: &str, schema: &Value) -> Self {
        let header = json!({ "description": means, "required": true, "schema": schema });
        self.headers.insert(name.to_owned(), header);
        self
    }

    /// The answer as the document has it.
    pub(crate) fn into_response(self) -> Value {
        let mut response = json!({ "description": self.means });
        if !self.content.is_empty() {
            response["content"] = self.content.into();
        }
        if !self.headers.is_empty() {
            response["headers"] = self.headers.into();
        }
        response
    }
}

/// What is known of one door.
pub(crate) struct Sheet<'a> {
    schemas: &'a mut Schemas,
    pub(crate) parameters: Vec<Value>,
    pub(crate) body: Option<Value>,
    pub(crate) answers: BTreeMap<u16, Answer>,
    /// Codes, and the status that this door gives them where it is not the usual one.
    pub(crate) refusals: BTreeSet<(&'static str, Option<u16>)>,
}

impl<'a> Sheet<'a> {
    pub(crate) fn new(schemas: &'a mut Schemas) -> Self {
        let (answers, refusals) = (BTreeMap::new(), BTreeSet::new());
        Self { schemas, parameters: Vec::new(), body: None, answers, refusals }
    }

    /// Adds a parameter that stands in the path or in a header.
    pub(crate) fn parameter<S: JsonSchema>(
        &mut self,
        place: &str,
        name: &str,
        means: &str,
        example: Option<&str>,
    ) {
        let schema = self.taken::<S>();
        let mut parameter = json!({
            "name": name, "in": place, "description": means, "required": place == "path", "schema": schema,
        });
        if let Some(example) = example {
            parameter["example"] = example.into();
        }
        self.parameters.push(parameter);
    }

    /// Adds each field of a query as a parameter.
    pub(crate) fn query<Q: JsonSchema>(&mut self) {
        let schema = Q::json_schema(&mut self.schemas.taken).to_value();
        let required = |name: &String| {
            schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name.as_str()))
        };
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let mut field = never_null(field.clone());
            let means = field.as_object_mut().and_then(|field| field.remove("description"));
            self.parameters.push(json!({
                "name": name, "in": "query", "description": means, "required": required(name), "schema": field,
            }));
        }
    }

    /// Says which body is taken.
    pub(crate) fn takes_json<B: JsonSchema>(&mut self, required: bool, means: &str) {
        let content = json!({ "application/json": { "schema": self.taken::<B>() } });
        self.body = Some(json!({ "description": means, "required": required, "content": content }));
    }

    pub(crate) fn answer(&mut self, status: u16, answer: Answer) {
        self.answers.insert(status, answer);
    }

    /// Adds a page that people are shown.
    pub(crate) fn page(&mut self, status: u16, means: &'static str) {
        self.answer(status, Answer::new(means).with_body("text/html", &json!({ "type": "string" })));
    }

    /// Adds refusals by their codes.
    pub(crate) fn refuses(&mut self, codes: &[&'static str]) {
        self.refusals.extend(codes.iter().map(|code| (*code, None)));
    }

    /// Adds a refusal that has another status here than elsewhere.
    pub(crate) fn refuses_as(&mut self, status: u16, code: &'static str) {
        self.refusals.insert((code, Some(status)));
    }

    fn taken<T: JsonSchema>(&mut self) -> Value {
        self.schemas.taken.subschema_for::<T>().to_value()
    }

    pub(crate) fn given<T: JsonSchema>(&mut self) -> Value {
        self.schemas.given.subschema_for::<T>().to_value()
    }
}

/// What is left out of a query is not there; there is no null.
fn never_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema["type"].as_array() {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kind.unwrap_or(Value::Null);
    }
    schema
}

/// The schemas that several doors share. What is taken and what is given differ in what must be there.
pub(crate) struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self { taken: settings().into_generator(), given: settings().for_serialize().into_generator() }
    }

    /// All of them, by name.
    pub(crate) fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.taken.take_definitions(true);
        for (name, schema) in self.given.take_definitions(true) {
            let other = all.insert(name, schema.clone());
            assert!(other.is_none_or(|other| other == schema), "one name for two schemas: {schema}");
        }
        all
    }
}
