//! Lists, page by page.

use std::marker::PhantomData;
use std::str::FromStr;

use jeton_core::access::ServiceTokenId;
use jeton_core::id::ConnectionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::RequestError;
use crate::extract::RequestShape;
use crate::schema_patterns::PageSize;

const DEFAULT_PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1_000;

/// What a list is sorted by; a page begins after one of it.
pub(crate) trait Cursor: FromStr + JsonSchema {
    /// The error for a text that is not one.
    const EXPECTED: &'static str;
}

impl Cursor for ConnectionName {
    const EXPECTED: &'static str = "`after` is the name of a connection, as `next` gives it";
}

impl Cursor for ServiceTokenId {
    const EXPECTED: &'static str = "`after` is the id of a service token, as `next` gives it";
}

/// Which page of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "")]
#[schemars(bound = "C: Cursor")]
pub(crate) struct PageParams<C> {
    /// Continue after this item: the `next` of the previous page.
    #[schemars(with = "Option<C>")]
    after: Option<String>,
    /// The page size.
    #[schemars(with = "Option<PageSize>")]
    limit: Option<String>,
    #[serde(skip)]
    cursor: PhantomData<C>,
}

impl<C: Cursor> RequestShape for PageParams<C> {
    const EXPECTED: &'static str = "this URL takes `after` and `limit`, each at most once";
}

impl<C: Cursor> PageParams<C> {
    pub(crate) fn new(after: Option<String>, limit: Option<String>) -> Self {
        Self { after, limit, cursor: PhantomData }
    }

    pub(crate) fn read(&self) -> Result<PageRange<C>, RequestError> {
        let after = self.after.as_deref().map(str::parse).transpose();
        let after = after.map_err(|_| RequestError::Query(C::EXPECTED))?;
        let limit = self.limit.as_deref().map(page_size).transpose()?.unwrap_or(DEFAULT_PAGE_SIZE);
        Ok(PageRange { after, limit })
    }
}

fn page_size(text: &str) -> Result<usize, RequestError> {
    let plain = text.bytes().all(|c| c.is_ascii_digit());
    let size = text.parse().ok().filter(|size| plain && (1..=MAX_PAGE_SIZE).contains(size));
    size.ok_or(RequestError::Query("`limit` is a number from 1 to 1000"))
}

/// The part of a list that a page shows.
pub(crate) struct PageRange<C> {
    pub(crate) after: Option<C>,
    limit: usize,
}

impl<C> PageRange<C> {
    /// How many rows to fetch: one more than the page holds tells whether another page follows.
    pub(crate) fn fetch_limit(&self) -> usize {
        self.limit + 1
    }

    /// The page with these items; `key` is what the list is sorted by.
    pub(crate) fn page<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> C) -> Page<T, C> {
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = items.last().filter(|_| more).map(key);
        Page { items, next }
    }
}

/// One page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}", bound = "T: JsonSchema, C: Cursor")]
pub(crate) struct Page<T, C> {
    items: Vec<T>,
    /// Where the next page continues; null on the last page.
    next: Option<C>,
}
