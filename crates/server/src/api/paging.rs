//! Lists, page by page.

use std::marker::PhantomData;
use std::str::FromStr;

use jeton_core::access::ServiceTokenId;
use jeton_core::id::ConnectionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::RequestError;
use crate::extract::RequestShape;
use crate::schema_patterns;

const DEFAULT_PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1_000;

/// What a list goes by: the items of a page come after one of it.
pub(crate) trait Cursor: FromStr {
    /// How its text looks.
    type Schema: JsonSchema;

    /// What is said of a text that is none.
    const EXPECTED: &'static str;
}

impl Cursor for ConnectionName {
    type Schema = schema_patterns::Name;

    const EXPECTED: &'static str = "`after` is the name of a connection, as `next` gives it";
}

impl Cursor for ServiceTokenId {
    type Schema = schema_patterns::Id;

    const EXPECTED: &'static str = "`after` is the id of a service token, as `next` gives it";
}

/// Which page of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "")]
#[schemars(bound = "C: Cursor")]
pub(crate) struct PageParams<C> {
    /// The page begins after this item: what `next` was on the page before.
    #[schemars(with = "Option<C::Schema>")]
    after: Option<String>,
    /// How many items the page has at most.
    #[schemars(with = "Option<schema_patterns::PageSize>")]
    limit: Option<String>,
    #[serde(skip)]
    of: PhantomData<C>,
}

impl<C: Cursor> RequestShape for PageParams<C> {
    const EXPECTED: &'static str = "this door knows `after` and `limit`, each once";
}

impl<C: Cursor> PageParams<C> {
    pub(crate) fn new(after: Option<String>, limit: Option<String>) -> Self {
        Self { after, limit, of: PhantomData }
    }

    /// After which item, and how many.
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

/// The part of a list that was asked for.
pub(crate) struct PageRange<C> {
    pub(crate) after: Option<C>,
    limit: usize,
}

impl<C> PageRange<C> {
    /// How many items to look for: one more than asked for tells whether there is a next page.
    pub(crate) fn fetch_limit(&self) -> usize {
        self.limit + 1
    }

    /// The page of what was found, each item shown as it is to be.
    pub(crate) fn page<R, T>(
        &self,
        mut found: Vec<R>,
        name: impl Fn(&R) -> C,
        show: impl FnMut(R) -> T,
    ) -> Page<T, C> {
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let next = found.last().filter(|_| more).map(name);
        Page { items: found.into_iter().map(show).collect(), next }
    }
}

/// One page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PageOf{T}", bound = "T: JsonSchema, C: Cursor")]
pub(crate) struct Page<T, C> {
    items: Vec<T>,
    /// What names the next page; null on the last.
    #[schemars(with = "Option<C::Schema>")]
    next: Option<C>,
}
