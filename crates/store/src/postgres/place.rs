//! What tells a database from its copies.
//!
//! A dump that is restored, here or on another server, has a database or tables of other numbers; a cluster that is made anew
//! has another system identifier. The data of one cluster keep all of them wherever they go: on a standby that is promoted,
//! and in a copy of the whole data directory. So a failover is no copy; and a clone of the whole server, such as a
//! snapshot, is not known for one by this.
//!
//! The place where the database was first opened, or was adopted last, is kept among its settings.

use jeton_core::keep::ports::StoreError;

use super::errors::Failure;
use super::session::Sessions;
use super::statement::Statement;
use crate::rows::Columns;

/// The name of the setting. Its value is the place as text.
pub(super) const SETTING: &str = "postgres.place";

const RECORDED: &str = "SELECT value FROM settings WHERE name = 'postgres.place'";

const NUMBERS: &str =
    "SELECT oid::bigint, 'store'::regclass::oid::bigint FROM pg_database WHERE datname = current_database()";

/// Alone, for an administrator may withhold the function, and other servers do not have it.
const SYSTEM: &str = "SELECT system_identifier::bigint FROM pg_control_system()";

/// A cluster, a database of it, and our tables in that. What cannot be learned is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place([Option<i64>; 3]);

impl Place {
    /// Where the database is.
    pub(super) async fn here(sessions: &Sessions) -> Result<Self, Failure> {
        let system = match sessions.rows(&Statement::new(SYSTEM)).await {
            Ok(rows) => rows.first().map(|row| row.try_get(0)).transpose()?,
            Err(failure) if failure.is_withheld() => None,
            Err(failure) => return Err(failure),
        };
        let rows = sessions.rows(&Statement::new(NUMBERS)).await?;
        let row = rows.first().ok_or(Failure::Lost)?;
        Ok(Self([system, row.try_get(0)?, row.try_get(1)?]))
    }

    /// Where the database was, if that was ever noted.
    pub(super) async fn recorded(sessions: &Sessions) -> Result<Option<Self>, Failure> {
        let rows = sessions.rows(&Statement::new(RECORDED)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let value = Columns::new(row, "settings").keyed(&SETTING).blob_or_null("value")?;
        Ok(Some(Self::parse(&value.unwrap_or_default())?))
    }

    /// As it is kept.
    pub(super) fn text(self) -> String {
        self.0.map(|part| part.map_or_else(|| "-".to_owned(), |number| number.to_string())).join("/")
    }

    pub(super) fn parse(value: &[u8]) -> Result<Self, StoreError> {
        let read = |part: &str| if part == "-" { Some(None) } else { part.parse().ok().map(Some) };
        let parts: Option<Vec<_>> =
            std::str::from_utf8(value).ok().and_then(|text| text.split('/').map(read).collect());
        parts.and_then(|parts| parts.try_into().ok()).map(Self).ok_or_else(|| StoreError::Inconsistent {
            table: "settings",
            column: "value",
            row: SETTING.into(),
            what: "is not the place of a database".into(),
        })
    }

    /// Whether the one is certainly not the other. What is not known of either says nothing.
    pub(super) fn differs(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(one, other)| one.is_some() && other.is_some() && *one != other)
    }

    /// Whether it says something that `other` leaves open.
    pub(super) fn knows_more(self, other: Self) -> bool {
        self.0.iter().zip(other.0).any(|(one, other)| one.is_some() && other.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_as_text_and_what_is_unknown_says_nothing() {
        let known = Place([Some(-7_301_000_000_000_000_001), Some(16_384), Some(16_390)]);
        let unknown = Place([None, Some(16_384), Some(16_390)]);
        for place in [known, unknown] {
            assert_eq!(Place::parse(place.text().as_bytes()).unwrap(), place);
        }
        assert!(!known.differs(unknown) && !unknown.differs(known) && known.knows_more(unknown));
        assert!(!unknown.knows_more(known) && !known.knows_more(known));
        for other in
            [[Some(1), Some(16_384), Some(16_390)], [None, Some(16_385), Some(16_390)], [None, None, Some(7)]]
        {
            assert!(known.differs(Place(other)), "{other:?}");
        }
        for torn in ["", "1/2", "1/2/3/4", "1/x/3", "-"] {
            assert!(Place::parse(torn.as_bytes()).is_err(), "{torn:?}");
        }
    }
}
