//! One statement with its parameters. Statements are never prepared by name, so that a pooler of transactions may stand
//! between, and are sent together, so that a transaction costs round trips and not statements.

use std::borrow::Cow;

use tokio_postgres::types::{ToSql, Type};

/// A statement to be sent.
pub(super) struct Statement {
    pub(super) sql: Cow<'static, str>,
    values: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
}

impl Statement {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    fn with(mut self, value: impl ToSql + Sync + Send + 'static, kind: Type) -> Self {
        self.values.push((Box::new(value), kind));
        self
    }

    /// The next parameter, a number or nothing.
    pub(super) fn number(self, value: impl Into<Option<i64>>) -> Self {
        self.with(value.into(), Type::INT8)
    }

    /// The next parameter, a text or nothing.
    pub(super) fn text<'t>(self, value: impl Into<Option<&'t str>>) -> Self {
        self.with(value.into().map(str::to_owned), Type::TEXT)
    }

    /// The next parameter, bytes or nothing.
    pub(super) fn bytes<'b>(self, value: impl Into<Option<&'b [u8]>>) -> Self {
        self.with(value.into().map(<[u8]>::to_vec), Type::BYTEA)
    }

    /// The next parameter, one number for each of many rows.
    pub(super) fn numbers(self, values: impl Iterator<Item = Option<i64>>) -> Self {
        self.with(values.collect::<Vec<_>>(), Type::INT8_ARRAY)
    }

    /// The next parameter, one text for each of many rows.
    pub(super) fn texts<'t>(self, values: impl Iterator<Item = Option<&'t str>>) -> Self {
        self.with(values.map(|text| text.map(str::to_owned)).collect::<Vec<_>>(), Type::TEXT_ARRAY)
    }

    /// The next parameter, bytes for each of many rows.
    pub(super) fn blobs<'b>(self, values: impl Iterator<Item = Option<&'b [u8]>>) -> Self {
        self.with(values.map(|bytes| bytes.map(<[u8]>::to_vec)).collect::<Vec<_>>(), Type::BYTEA_ARRAY)
    }

    /// The next parameter, a yes or no for each of many rows.
    pub(super) fn truths(self, values: impl Iterator<Item = bool>) -> Self {
        self.with(values.collect::<Vec<_>>(), Type::BOOL_ARRAY)
    }

    /// The parameters as the driver takes them.
    pub(super) fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        self.values.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect()
    }
}
