//! How texts look that the document describes: what the rules of core take, as patterns that any language can check.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// One segment of a path: after dots comes something else than a dot.
macro_rules! segment {
    () => {
        concat!(
            r#"\.{0,2}([!"$&-\-0-:<->@-\[\]-~]|%(2[0-9A-Da-d]|[346][0-9A-Fa-f]|5[0-9ABDEFabdef]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f]))"#,
            r#"([!"$&-.0->@-\[\]-~]|%(2[0-9A-Ea-e]|[346][0-9A-Fa-f]|5[0-9ABDEFabdef]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f]))*"#
        )
    };
}

/// A scope as core reads it: the path has no empty segment but the last, none that is `.` or `..` however it is spelled, and no
/// escaped slash.
const SCOPE: &str = concat!(
    "^(read|sessions|admin|token:[a-z0-9._*-]{1,128}|proxy:[a-z0-9._*-]{1,128}",
    "(:[A-Z-]{1,16}(,[A-Z-]{1,16}){0,6})?",
    "(:/(",
    segment!(),
    "/)*(",
    segment!(),
    ")?)?)$"
);

macro_rules! shape {
    ($($(#[$doc:meta])+ $name:ident = $schema:tt)+) => {$(
        $(#[$doc])+
        pub(crate) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

shape! {
    /// A name that people choose, of a connection, a provider or a service.
    Name = { "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" }

    /// An id that jeton made.
    Id = { "type": "string", "format": "uuid" }

    /// An instant in UTC (RFC 3339).
    Moment = { "type": "string", "format": "date-time" }

    /// An instant in UTC, as older gateways wrote it.
    PlainMoment = { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$" }

    /// What names a token in records.
    Fingerprint = { "type": "string", "pattern": "^[0-9a-fA-F]{32}$" }

    /// A SHA-256.
    Sha256 = { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" }

    /// Counts token sets.
    Generation = { "type": "integer", "format": "uint64", "minimum": 0 }

    /// Seconds, or a duration with units.
    Lasting = { "type": "string", "pattern": "^([0-9]{1,9}|([0-9]{1,9}(ms|s|m|h|d|w)){1,6})$" }

    /// A duration with units.
    Units = { "type": "string", "pattern": "^([0-9]{1,9}(ms|s|m|h|d|w)){1,6}$" }

    /// Seconds, or a duration with units: up to ten minutes.
    Wait = {
        "type": "string",
        "pattern":
            "^(([0-5]?[0-9]{1,2}|600)s?|([0-9]m)?[0-5]?[0-9]s|([0-9]|10)m|([0-9]{1,5}|[1-5][0-9]{5}|600000)ms)$",
    }

    /// How many items a page has.
    PageSize = { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }

    /// What people note.
    Notes = { "type": "string", "maxLength": 500, "pattern": "^[^\\u0000]*$" }

    /// What a service token grants. The path is one in its canonical spelling; `*` stays within a segment, `**` crosses them.
    Scope = { "type": "string", "maxLength": 256, "pattern": SCOPE }

    /// What is demanded of a credential: a scope without patterns.
    Need = {
        "type": "string",
        "pattern": "^(read|sessions|admin|token:[a-z0-9][a-z0-9._-]{0,63}|proxy:[a-z0-9][a-z0-9._-]{0,63}(:[A-Z-]{1,16}:/[ -~]*)?)$",
    }
}
