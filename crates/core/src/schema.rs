//! JSON Schemas of the types that the HTTP API writes as a plain text or number.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::access::{Scopes, ServiceTokenId};
use crate::audit::{Actor, AuditAction};
use crate::id::{AttemptId, ConnectionName, Generation, OperationId, ProviderName, ServiceName};
use crate::seal::Fingerprint;
use crate::time::Timestamp;

macro_rules! inline_schemas {
    ($($($type:ident),+ = $schema:tt)+) => {$($(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+)+};
}

inline_schemas! {
    ConnectionName, ProviderName, ServiceName = { "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" }
    AttemptId, OperationId, ServiceTokenId = { "type": "string", "format": "uuid" }
    Timestamp = { "type": "string", "format": "date-time" }
    Fingerprint = { "type": "string", "pattern": "^[0-9a-fA-F]{32}$" }
    Generation = { "type": "integer", "format": "uint64", "minimum": 0 }
    Scopes = { "type": "array", "items": { "type": "string" } }
    Actor, AuditAction = { "type": "string" }
}
