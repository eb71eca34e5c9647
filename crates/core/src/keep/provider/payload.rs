//! The fields and bodies of requests, with holes.

use std::collections::BTreeMap;

use super::fault::{Flaw, Under};
use super::schema;
use super::template::{AllowedNames, Name, Template};

/// JSON with holes in its texts.
#[derive(Clone, Debug)]
pub(super) enum JsonTemplate {
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    Text(Template),
    Literal(serde_json::Value),
}

/// Named fields with holes.
pub(super) type Fields = Vec<(String, Template)>;

/// The body of a request.
#[derive(Clone, Debug)]
pub(super) enum BodyTemplate {
    None,
    Form(Fields),
    Json(JsonTemplate),
}

impl BodyTemplate {
    /// Every hole, and whether it is optional.
    pub(super) fn holes(&self) -> Vec<(&Name, bool)> {
        match self {
            Self::None => Vec::new(),
            Self::Form(fields) => fields.iter().flat_map(|(_, template)| template.holes()).collect(),
            Self::Json(json) => json.holes(),
        }
    }
}

impl JsonTemplate {
    fn holes(&self) -> Vec<(&Name, bool)> {
        match self {
            Self::Object(fields) => fields.iter().flat_map(|(_, value)| value.holes()).collect(),
            Self::Array(items) => items.iter().flat_map(Self::holes).collect(),
            Self::Text(template) => template.holes().collect(),
            Self::Literal(_) => Vec::new(),
        }
    }
}

pub(super) fn fields(written: &BTreeMap<String, String>, known: AllowedNames<'_>) -> Result<Fields, Flaw> {
    written.iter().map(|(name, text)| Ok((name.clone(), Template::parse(text, known).under(name)?))).collect()
}

/// Headers that belong to the connection and not to the request.
const OWNED_HEADERS: [&str; 7] =
    ["host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te"];

pub(super) fn headers(written: &BTreeMap<String, String>, known: AllowedNames<'_>) -> Result<Fields, Flaw> {
    let lower = |name: &String| check_header_name(name).under(name);
    written.iter().map(|(name, text)| Ok((lower(name)?, Template::parse(text, known).under(name)?))).collect()
}

/// The name of a header in lower case, if it may be set.
pub(super) fn check_header_name(name: &str) -> Result<String, Flaw> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(token) {
        return Err(Flaw::new("not the name of a header"));
    }
    if OWNED_HEADERS.contains(&lower.as_str()) {
        return Err(Flaw::new("this header is made by jeton itself"));
    }
    Ok(lower)
}

pub(super) fn body(written: &schema::StepTable, known: AllowedNames<'_>) -> Result<BodyTemplate, Flaw> {
    match (&written.form, &written.json) {
        (Some(_), Some(_)) => Err(Flaw::new("a request has one body: write `form` or `json`, not both")),
        (Some(form), None) => Ok(BodyTemplate::Form(fields(form, known).under("form")?)),
        (None, Some(json)) => Ok(BodyTemplate::Json(json_object(json, known).under("json")?)),
        (None, None) => Ok(BodyTemplate::None),
    }
}

fn json_object(table: &toml::Table, known: AllowedNames<'_>) -> Result<JsonTemplate, Flaw> {
    let field = |(name, value): (&String, &toml::Value)| Ok((name.clone(), json(value, known).under(name)?));
    table.iter().map(field).collect::<Result<_, _>>().map(JsonTemplate::Object)
}

fn json(value: &toml::Value, known: AllowedNames<'_>) -> Result<JsonTemplate, Flaw> {
    match value {
        toml::Value::String(text) => Template::parse(text, known).map(JsonTemplate::Text),
        toml::Value::Table(table) => json_object(table, known),
        toml::Value::Array(items) => {
            let item = |(index, value): (usize, &toml::Value)| json(value, known).under(index);
            items.iter().enumerate().map(item).collect::<Result<_, _>>().map(JsonTemplate::Array)
        }
        toml::Value::Integer(number) => Ok(JsonTemplate::Literal((*number).into())),
        toml::Value::Float(number) => Ok(JsonTemplate::Literal((*number).into())),
        toml::Value::Boolean(flag) => Ok(JsonTemplate::Literal((*flag).into())),
        toml::Value::Datetime(_) => Err(Flaw::new("JSON has no dates: write it as text")),
    }
}
