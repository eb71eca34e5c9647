//! What tells a database from its copies.
//!
//! A dump that is restored, here or on another server, has a database or tables of other numbers; a cluster that is made anew
//! has another system identifier. The data of one cluster keep all of them wherever they go: on a standby that is promoted,
//! and in a copy of the whole data directory. So a failover is no copy; and a clone of the whole server, such as a
//! snapshot, is not known for one by this.
//!
//! The place where the database was first opened, or was adopted last, is kept among its settings. Besides, a store that is
//! open stays where its first session led: names and addresses may begin to lead to a copy at any time.

use std::fmt;

use jeton_core::keep::ports::StoreError;
use parking_lot::Mutex;

use crate::sql::SqlRow;
use crate::sql::row_reader::RowReader;

/// The name of the setting. Its value is the place as text.
pub(super) const SETTING: &str = "postgres.place";

/// What a SELECT names to learn a place. An administrator may withhold the function that tells of the system, and other servers
/// do not have it: then it is left out. The last number is absent until the schema is there.
pub(super) fn columns(with_system: bool) -> String {
    let system = if with_system {
        "(SELECT system_identifier::bigint FROM pg_control_system())"
    } else {
        "NULL::bigint"
    };
    format!(
        "{system}, (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
         to_regclass('store')::oid::bigint"
    )
}

/// A cluster, a database of it, and our tables in that. What cannot be learned is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DatabaseIdentity([Option<i64>; 3]);

impl DatabaseIdentity {
    /// Reads what [`columns`] found, from the column at `first` on.
    pub(super) fn read(row: &SqlRow, first: usize) -> Result<Self, StoreError> {
        let mut columns = RowReader::new(row, "(server)");
        columns.skip(first);
        let mut part = || columns.number_or_null("identity");
        Ok(Self([part()?, part()?, part()?]))
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

    /// What it says, and what `other` says besides.
    fn with(self, other: Self) -> Self {
        Self(std::array::from_fn(|part| self.0[part].or(other.0[part])))
    }
}

/// For people.
impl fmt::Display for DatabaseIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [system, database, tables] =
            self.0.map(|part| part.map_or_else(|| "unknown".to_owned(), |number| number.to_string()));
        write!(f, "system identifier {system}, database {database}, tables {tables}")
    }
}

/// A session leads to another database than the first session of the store did.
#[derive(Clone, Copy, Debug)]
pub struct WrongDatabase {
    /// Where the first one led.
    pub(super) expected: DatabaseIdentity,
    /// Where this leads.
    pub(super) found: DatabaseIdentity,
}

/// Where an opened store stands: where its first session led.
#[derive(Default)]
pub(super) struct ExpectedDatabase(Mutex<Option<DatabaseIdentity>>);

impl ExpectedDatabase {
    /// A session leads there. What the sessions before it could not learn is learned from it.
    ///
    /// # Errors
    /// Not where the first one led.
    pub(super) fn verify(&self, found: DatabaseIdentity) -> Result<(), WrongDatabase> {
        let mut expected = self.0.lock();
        match *expected {
            Some(expected) if expected.differs(found) => Err(WrongDatabase { expected, found }),
            known => {
                *expected = Some(known.map_or(found, |known| known.with(found)));
                Ok(())
            }
        }
    }

    /// Whether the server names its system.
    pub(super) fn names_its_system(&self) -> bool {
        self.0.lock().is_some_and(|DatabaseIdentity([system, ..])| system.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_as_text_and_what_is_unknown_says_nothing() {
        let known = DatabaseIdentity([Some(-7_301_000_000_000_000_001), Some(16_384), Some(16_390)]);
        let unknown = DatabaseIdentity([None, Some(16_384), Some(16_390)]);
        for place in [known, unknown] {
            assert_eq!(DatabaseIdentity::parse(place.text().as_bytes()).unwrap(), place);
        }
        assert!(!known.differs(unknown) && !unknown.differs(known) && known.knows_more(unknown));
        assert!(!unknown.knows_more(known) && !known.knows_more(known));
        for other in
            [[Some(1), Some(16_384), Some(16_390)], [None, Some(16_385), Some(16_390)], [None, None, Some(7)]]
        {
            assert!(known.differs(DatabaseIdentity(other)), "{other:?}");
        }
        for torn in ["", "1/2", "1/2/3/4", "1/x/3", "-"] {
            assert!(DatabaseIdentity::parse(torn.as_bytes()).is_err(), "{torn:?}");
        }
    }

    #[test]
    fn a_store_stays_where_its_first_session_led_and_learns_what_that_one_could_not() {
        let expected = ExpectedDatabase::default();
        for seen in [[Some(1), Some(2), None], [None, Some(2), Some(3)], [Some(1), Some(2), Some(3)]] {
            expected.verify(DatabaseIdentity(seen)).unwrap();
        }
        for other in [[Some(9), Some(2), Some(3)], [None, Some(9), Some(3)], [None, None, Some(9)]] {
            let refused = expected.verify(DatabaseIdentity(other)).unwrap_err();
            assert_eq!(refused.found, DatabaseIdentity(other));
        }
        expected.verify(DatabaseIdentity([Some(1), None, None])).unwrap();
    }
}
