//! One statement with its parameters, as both databases take it.

use std::borrow::Cow;
use std::time::Duration;

use jeton_core::access::{ServiceTokenId, TokenHash};
use jeton_core::id::{
    AttemptId, ConnectionName, ConsentId, GrantId, InstanceId, NodeId, OperationId, ProviderName, ServiceName,
};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

/// A value of a parameter or of a cell. It is typed where it is NULL too, because PostgreSQL wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, or a duration in microseconds.
    Number(Option<i64>),
    /// An instant, in microseconds since the Unix epoch.
    Instant(Option<i64>),
    /// A text.
    Text(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
    /// Yes or no.
    Bool(bool),
}

/// What can be a parameter.
pub(crate) trait ToValue {
    /// Its NULL.
    const NULL: Value;

    /// The parameter.
    fn to_value(self) -> Value;
}

impl<T: ToValue> ToValue for Option<T> {
    const NULL: Value = T::NULL;

    fn to_value(self) -> Value {
        self.map_or(T::NULL, T::to_value)
    }
}

impl ToValue for bool {
    const NULL: Value = Value::Bool(false);

    fn to_value(self) -> Value {
        Value::Bool(self)
    }
}

macro_rules! to_value {
    ($variant:ident: $($kind:ty => |$value:ident| $convert:expr,)*) => {
        $(impl ToValue for $kind {
            const NULL: Value = Value::$variant(None);

            fn to_value(self) -> Value {
                let $value = self;
                Value::$variant(Some($convert))
            }
        })*
    };
}

to_value! { Number:
    i64 => |number| number,
    u16 => |number| number.into(),
    u32 => |number| number.into(),
    u64 => |number| i64::try_from(number).unwrap_or(i64::MAX),
    usize => |number| i64::try_from(number.min(MAX_ROWS)).unwrap_or(0),
    Duration => |duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
}

to_value! { Instant:
    Timestamp => |instant| instant.as_micros(),
}

to_value! { Text:
    &str => |text| text.to_owned(),
    String => |text| text,
    &String => |text| text.clone(),
    &ConnectionName => |name| name.to_string(),
    &ProviderName => |name| name.to_string(),
    &ServiceName => |name| name.to_string(),
}

to_value! { Bytes:
    &[u8] => |bytes| bytes.to_vec(),
    &Vec<u8> => |bytes| bytes.clone(),
    AttemptId => |id| id.as_bytes().to_vec(),
    ConsentId => |id| id.as_bytes().to_vec(),
    GrantId => |id| id.as_bytes().to_vec(),
    InstanceId => |id| id.as_bytes().to_vec(),
    NodeId => |id| id.as_bytes().to_vec(),
    OperationId => |id| id.as_bytes().to_vec(),
    ServiceTokenId => |id| id.as_bytes().to_vec(),
    Fingerprint => |print| print.as_bytes().to_vec(),
    TokenHash => |hash| hash.as_bytes().to_vec(),
}

/// The most rows that one call answers, whatever it asks for. A limit is a `usize`.
const MAX_ROWS: usize = 10_000;

/// A statement to be sent. Its parameters are `$1`, `$2` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub(crate) sql: Cow<'static, str>,
    pub(crate) parameters: Vec<Value>,
}

impl Statement {
    /// A statement with all its parameters.
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>, parameters: Vec<Value>) -> Self {
        Self { sql: sql.into(), parameters }
    }

    /// `INSERT INTO table (columns) VALUES …`, which on a conflict of `key` replaces the columns that are not `fixed`. A
    /// value that stands in `computed` takes the place of the parameter for its column.
    pub(crate) fn upsert(
        table: &str,
        key: &str,
        columns: &str,
        fixed: &[&str],
        computed: Option<(&str, &str)>,
        parameters: Vec<Value>,
    ) -> Self {
        let names = || columns.split(", ");
        let mut number = 0;
        let values: Vec<String> = names()
            .map(|name| match computed {
                Some((column, value)) if column == name => value.to_owned(),
                _ => {
                    number += 1;
                    format!("${number}")
                }
            })
            .collect();
        let replaced: Vec<String> = names()
            .filter(|name| *name != key && !fixed.contains(name))
            .map(|name| format!("{name} = excluded.{name}"))
            .collect();
        let conflict = if replaced.is_empty() {
            "NOTHING".into()
        } else {
            format!("UPDATE SET {}", replaced.join(", "))
        };
        let sql = format!(
            "INSERT INTO {table} ({columns}) VALUES ({}) ON CONFLICT ({key}) DO {conflict}",
            values.join(", ")
        );
        Self::new(sql, parameters)
    }
}

/// The parameters of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::sql::statement::ToValue::to_value($value)),*]
    };
}
pub(crate) use values;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upsert_replaces_what_is_not_fixed_and_computes_what_it_is_told_to() {
        let some =
            Statement::upsert("t", "id", "id, a, b, c", &["a"], Some(("c", "f()")), values![1_i64, 2_i64]);
        assert_eq!(
            some.sql,
            "INSERT INTO t (id, a, b, c) VALUES ($1, $2, $3, f()) ON CONFLICT (id) DO UPDATE SET b = excluded.b, \
             c = excluded.c"
        );
        let none = Statement::upsert("t", "id", "id, a", &["a"], None, values![None::<&str>, 7_u16]);
        assert!(none.sql.ends_with("ON CONFLICT (id) DO NOTHING"));
        assert_eq!(none.parameters, [Value::Text(None), Value::Number(Some(7))]);
    }
}
