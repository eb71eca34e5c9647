//! The documentation of one operation, read from the types of its handler, so that the document cannot differ from the code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::{Extension, Json};
use jeton_issuer::Caller;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::state::AppState;

/// An extractor that documents what it reads.
pub(crate) trait DescribeInput {
    /// Adds the parameters or body that it reads from a request, and the errors of reading them.
    fn describe(doc: &mut OperationDoc);
}

/// A response that documents itself.
pub(crate) trait DescribeOutput {
    /// Adds its status, headers and body.
    fn describe(doc: &mut OperationDoc);
}

/// A handler that documents itself; axum tells handlers with different arguments apart by `T`.
pub(crate) trait DescribeHandler<T> {
    /// Adds its inputs and its output.
    fn describe(doc: &mut OperationDoc);
}

impl<F, A> DescribeHandler<((),)> for F
where
    F: Fn() -> A,
    A: Future<Output: DescribeOutput>,
{
    fn describe(doc: &mut OperationDoc) {
        A::Output::describe(doc);
    }
}

macro_rules! describe_handler {
    ($($input:ident),+) => {
        impl<F, A, M, $($input),+> DescribeHandler<(M, $($input,)+)> for F
        where
            F: Fn($($input),+) -> A,
            A: Future<Output: DescribeOutput>,
            $($input: DescribeInput),+
        {
            fn describe(doc: &mut OperationDoc) {
                $($input::describe(doc);)+
                A::Output::describe(doc);
            }
        }
    };
}

describe_handler!(I1);
describe_handler!(I1, I2);
describe_handler!(I1, I2, I3);
describe_handler!(I1, I2, I3, I4);
describe_handler!(I1, I2, I3, I4, I5);

/// Inputs that callers do not see, or that the output documents.
macro_rules! describes_nothing {
    ($($kind:ty),+) => {$(
        impl DescribeInput for $kind {
            fn describe(_: &mut OperationDoc) {}
        }
    )+};
}

describes_nothing!(State<Arc<AppState>>, Extension<Caller>, HeaderMap, Method, Parts);

impl<T: JsonSchema> DescribeOutput for Json<T> {
    fn describe(doc: &mut OperationDoc) {
        let body = doc.output_schema::<T>();
        doc.response(200, ResponseDoc::new("OK.").with_body("application/json", &body));
    }
}

/// A page for people; the route lists its pages.
impl DescribeOutput for Response {
    fn describe(_: &mut OperationDoc) {}
}

impl<T: DescribeOutput> DescribeOutput for Result<T, ApiError> {
    fn describe(doc: &mut OperationDoc) {
        T::describe(doc);
    }
}

/// The documentation of a response other than an error.
pub(crate) struct ResponseDoc {
    description: &'static str,
    content: Map<String, Value>,
    headers: Map<String, Value>,
}

impl ResponseDoc {
    pub(crate) fn new(description: &'static str) -> Self {
        Self { description, content: Map::new(), headers: Map::new() }
    }

    pub(crate) fn with_body(mut self, kind: &str, schema: &Value) -> Self {
        self.content.insert(kind.to_owned(), json!({ "schema": schema }));
        self
    }

    /// Adds a header that every such response has.
    pub(crate) fn with_header(mut self, name: &str, description: &str, schema: &Value) -> Self {
        let header = json!({ "description": description, "required": true, "schema": schema });
        self.headers.insert(name.to_owned(), header);
        self
    }

    /// The `OpenAPI` response object.
    pub(crate) fn into_response(self) -> Value {
        let mut response = json!({ "description": self.description });
        if !self.content.is_empty() {
            response["content"] = self.content.into();
        }
        if !self.headers.is_empty() {
            response["headers"] = self.headers.into();
        }
        response
    }
}

/// The documentation of one operation, as its handler's types fill it in.
pub(crate) struct OperationDoc<'a> {
    schemas: &'a mut Schemas,
    pub(crate) parameters: Vec<Value>,
    pub(crate) body: Option<Value>,
    pub(crate) responses: BTreeMap<u16, ResponseDoc>,
    /// Error codes, each with its status where that differs from the usual one.
    pub(crate) errors: BTreeSet<(&'static str, Option<u16>)>,
}

impl<'a> OperationDoc<'a> {
    pub(crate) fn new(schemas: &'a mut Schemas) -> Self {
        let (responses, errors) = (BTreeMap::new(), BTreeSet::new());
        Self { schemas, parameters: Vec::new(), body: None, responses, errors }
    }

    /// Adds a parameter; `location` is `path`, `query` or `header`.
    pub(crate) fn parameter<S: JsonSchema>(
        &mut self,
        location: &str,
        name: &str,
        description: &str,
        example: Option<&str>,
    ) {
        let schema = self.input_schema::<S>();
        let mut parameter = json!({
            "name": name, "in": location, "description": description, "required": location == "path", "schema": schema,
        });
        if let Some(example) = example {
            parameter["example"] = example.into();
        }
        self.parameters.push(parameter);
    }

    /// Adds each field of `Q` as a query parameter.
    pub(crate) fn query<Q: JsonSchema>(&mut self) {
        let schema = Q::json_schema(&mut self.schemas.input).to_value();
        let required = |name: &String| {
            schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name.as_str()))
        };
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let mut field = without_null(field.clone());
            let description = field.as_object_mut().and_then(|field| field.remove("description"));
            self.parameters.push(json!({
                "name": name, "in": "query", "description": description, "required": required(name), "schema": field,
            }));
        }
    }

    pub(crate) fn json_body<B: JsonSchema>(&mut self, required: bool, description: &str) {
        let content = json!({ "application/json": { "schema": self.input_schema::<B>() } });
        self.body = Some(json!({ "description": description, "required": required, "content": content }));
    }

    pub(crate) fn response(&mut self, status: u16, response: ResponseDoc) {
        self.responses.insert(status, response);
    }

    /// Adds a page that is shown to people, or a redirect of their browser.
    pub(crate) fn page(&mut self, status: u16, description: &'static str) {
        if (300..400).contains(&status) {
            let uri = json!({ "type": "string", "format": "uri-reference" });
            let response = ResponseDoc::new(description).with_header("Location", "Where to.", &uri);
            return self.response(status, response);
        }
        self.response(
            status,
            ResponseDoc::new(description).with_body("text/html", &json!({ "type": "string" })),
        );
    }

    pub(crate) fn add_errors(&mut self, codes: &[&'static str]) {
        self.errors.extend(codes.iter().map(|code| (*code, None)));
    }

    /// Adds an error whose status differs from the usual one.
    pub(crate) fn add_error_with_status(&mut self, status: u16, code: &'static str) {
        self.errors.insert((code, Some(status)));
    }

    fn input_schema<T: JsonSchema>(&mut self) -> Value {
        self.schemas.input.subschema_for::<T>().to_value()
    }

    pub(crate) fn output_schema<T: JsonSchema>(&mut self) -> Value {
        self.schemas.output.subschema_for::<T>().to_value()
    }
}

/// A query parameter is absent, never null.
fn without_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema["type"].as_array() {
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kind.unwrap_or(Value::Null);
    }
    schema
}

/// The schemas that operations share. Those of input and output differ in which fields are required.
pub(crate) struct Schemas {
    input: SchemaGenerator,
    output: SchemaGenerator,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self { input: settings().into_generator(), output: settings().for_serialize().into_generator() }
    }

    pub(crate) fn into_definitions(mut self) -> Map<String, Value> {
        let mut all = self.input.take_definitions(true);
        for (name, schema) in self.output.take_definitions(true) {
            let other = all.insert(name, schema.clone());
            assert!(other.is_none_or(|other| other == schema), "one name for two schemas: {schema}");
        }
        all
    }
}
