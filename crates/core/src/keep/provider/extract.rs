//! Where in a reply the tokens are.

use super::body::JsonPath;
use super::expiry::{self, ExpirySource};
use super::fault::{Flaw, Under};
use super::one_or_many::TextOr;
use super::schema::{self, Absent, Unit};

/// Where in a reply each thing is; what a file does not write is where RFC 6749, section 5.1, puts it.
#[derive(Clone, Debug)]
pub(super) struct Extract {
    pub(super) access: JsonPath,
    pub(super) refresh: JsonPath,
    pub(super) absent: Absent,
    pub(super) expires: Vec<ExpirySource>,
    pub(super) refresh_expires: Vec<ExpirySource>,
    pub(super) scope: JsonPath,
    pub(super) token_type: JsonPath,
    pub(super) active: JsonPath,
    pub(super) vars: Vec<(String, JsonPath)>,
}

impl Extract {
    /// Compiles what is written; `introspecting` is for the reply of an `introspect` step, where the expiry is
    /// `exp` (RFC 7662, section 2.2).
    pub(super) fn compile(written: &schema::ExtractTable, introspecting: bool) -> Result<Self, Flaw> {
        let path = |written: &Option<String>, standard: &str, key: &str| match written {
            Some(text) => JsonPath::parse(text).under(key),
            None => Ok(JsonPath::key(standard)),
        };
        let (refresh, absent) = match &written.refresh {
            None => (JsonPath::key("refresh_token"), Absent::Keep),
            Some(TextOr::Text(text)) => (JsonPath::parse(text).under("refresh")?, Absent::Keep),
            Some(TextOr::Table(table)) => {
                let path = JsonPath::parse(&table.path).under("path").under("refresh")?;
                (path, table.absent.unwrap_or(Absent::Keep))
            }
        };
        let standard_expiry = if introspecting {
            ExpirySource::Path(JsonPath::key("exp"), Unit::EpochS, None)
        } else {
            ExpirySource::Path(JsonPath::key("expires_in"), Unit::S, None)
        };
        let vars =
            written.vars.iter().map(|(name, text)| Ok((name.clone(), JsonPath::parse(text).under(name)?)));
        Ok(Self {
            access: path(&written.access, "access_token", "access")?,
            refresh,
            absent,
            expires: match &written.expires {
                Some(sources) => expiry::compile(sources).under("expires")?,
                None => vec![standard_expiry],
            },
            refresh_expires: match &written.refresh_expires {
                Some(sources) => expiry::compile(sources).under("refresh_expires")?,
                None => Vec::new(),
            },
            scope: path(&written.scope, "scope", "scope")?,
            token_type: path(&written.token_type, "token_type", "token_type")?,
            active: path(&written.active, "active", "active")?,
            vars: vars.collect::<Result<_, _>>().under("vars")?,
        })
    }
}
