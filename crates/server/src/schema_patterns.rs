//! JSON Schemas of texts in requests: what the rules of core accept, as patterns that any language can check.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// One segment of a path: dots are followed by another character.
macro_rules! segment {
    () => {
        concat!(
            r#"\.{0,2}([!"$&-\-0-:<->@-\[\]-~]|%(2[0-9A-Da-d]|[346][0-9A-Fa-f]|5[0-9ABDEFabdef]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f]))"#,
            r#"([!"$&-.0->@-\[\]-~]|%(2[0-9A-Ea-e]|[346][0-9A-Fa-f]|5[0-9ABDEFabdef]|7[0-9A-Ea-e]|[89A-Fa-f][0-9A-Fa-f]))*"#
        )
    };
}

/// A scope as core reads it: no segment of its path is empty but the last, none is `.` or `..` in any spelling, and no slash
/// is escaped.
const SCOPE: &str = concat!(
    "^(read|sessions|admin|(token|operate):[a-z0-9._*-]{1,128}|proxy:[a-z0-9._*-]{1,128}",
    "(:[A-Z-]{1,16}(,[A-Z-]{1,16}){0,6})?",
    "(:/(",
    segment!(),
    "/)*(",
    segment!(),
    ")?)?)$"
);

macro_rules! patterns {
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

patterns! {
    /// A date and time in UTC, in the format of the older gateway.
    PlainTime = { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$" }

    /// A SHA-256 in hexadecimal digits.
    Sha256 = { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" }

    /// Seconds, or a duration with units.
    DurationOrSeconds = { "type": "string", "pattern": "^([0-9]{1,9}|([0-9]{1,9}(ms|s|m|h|d|w)){1,6})$" }

    /// A duration with units.
    Duration = { "type": "string", "pattern": "^([0-9]{1,9}(ms|s|m|h|d|w)){1,6}$" }

    /// Seconds, or a duration with units: up to ten minutes.
    Wait = {
        "type": "string",
        "pattern":
            "^(([0-5]?[0-9]{1,2}|600)s?|([0-9]m)?[0-5]?[0-9]s|([0-9]|10)m|([0-9]{1,5}|[1-5][0-9]{5}|600000)ms)$",
    }

    /// How long a token lives: seconds, or a duration with units, and not nothing.
    Life = {
        "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": 18_446_744_073_709_551_615_u64 },
            { "type": "string", "pattern": "^([0-9]{1,9}(ms|s|m|h|d|w)){0,5}[1-9][0-9]{0,8}(s|m|h|d|w)$" },
        ],
    }

    /// How many items a page has at most.
    PageSize = { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }

    /// A note for people.
    Notes = { "type": "string", "maxLength": 500, "pattern": "^[^\\u0000]*$" }

    /// A scope of a service token. Its path is in canonical spelling; `*` matches within a segment, `**` across segments.
    Scope = { "type": "string", "maxLength": 256, "pattern": SCOPE }

    /// A scope without wildcards.
    Need = {
        "type": "string",
        "pattern": "^(read|sessions|admin|(token|operate):[a-z0-9][a-z0-9._-]{0,63}|proxy:[a-z0-9][a-z0-9._-]{0,63}(:[A-Z-]{1,16}:/[ -~]*)?)$",
    }
}
