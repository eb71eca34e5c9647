//! Numbered schema changes. All stores share the numbers; each has its own SQL.
//!
//! A change that is out is never edited: its checksum is kept in every database that has it. Changes *expand* first
//! (add what the new binary needs, keep what the old one reads) and *contract* in a later release.

/// One change of a schema. A number that is about another store alone stands in the list with no statements, so that the
/// numbers of every store go on without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its number, counted from 1 without gaps.
    pub number: u32,
    /// What it is about: the rest of its file name.
    pub name: &'static str,
    /// The statements; empty where this store has nothing to change.
    pub sql: &'static str,
}

impl Migration {
    /// A number that is about another store alone.
    pub const fn for_other_store(number: u32, name: &'static str) -> Self {
        Self { number, name, sql: "" }
    }

    /// Tells whether the SQL is still what it was when it was applied (64-bit FNV-1a: it guards against slips, not
    /// against forgers, who could change the schema itself).
    pub fn checksum(&self) -> String {
        let hash = self.sql.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// What a database says of one migration that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedMigration {
    /// Its number.
    pub number: u32,
    /// Its checksum then.
    pub checksum: String,
}

/// Which of `known` a database still lacks.
///
/// # Errors
/// One sentence when the database is newer than `known`, or has something else under one of its numbers.
pub fn missing<'k>(known: &'k [Migration], applied: &[AppliedMigration]) -> Result<&'k [Migration], String> {
    let newest = known.last().map_or(0, |migration| migration.number);
    if let Some(newer) = applied.iter().map(|a| a.number).filter(|number| *number > newest).max() {
        return Err(format!(
            "has schema {newer}, and this jeton knows schemas up to {newest}: start the newer jeton that made it, or \
             restore a backup from before it"
        ));
    }
    for (migration, was) in known.iter().zip(applied) {
        if migration.number != was.number || migration.checksum() != was.checksum {
            return Err(format!(
                "has another migration {} than this jeton ({}): it was made by a changed build; start that build, or \
                 restore a backup",
                was.number, migration.name
            ));
        }
    }
    Ok(&known[applied.len().min(known.len())..])
}

/// Logs, in one line, that a schema was brought up to date by these migrations.
pub fn log_applied(applied: &[Migration]) {
    if let [first, .., last] | [first @ last] = applied {
        tracing::info!(from = first.number - 1, to = last.number, "the schema of the store is migrated");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Migration] = &[
        Migration { number: 1, name: "one", sql: "CREATE TABLE a (b)" },
        Migration { number: 2, name: "two", sql: "CREATE TABLE c (d)" },
    ];

    fn applied(count: usize) -> Vec<AppliedMigration> {
        KNOWN[..count].iter().map(|m| AppliedMigration { number: m.number, checksum: m.checksum() }).collect()
    }

    #[test]
    fn a_database_lacks_what_comes_after_its_last_migration() {
        assert_eq!(missing(KNOWN, &[]).unwrap().len(), 2);
        assert_eq!(missing(KNOWN, &applied(1)).unwrap()[0].number, 2);
        assert!(missing(KNOWN, &applied(2)).unwrap().is_empty());
    }

    #[test]
    fn a_newer_database_and_an_edited_migration_are_refused_in_words() {
        let mut newer = applied(2);
        newer.push(AppliedMigration { number: 3, checksum: "x".into() });
        assert!(
            missing(KNOWN, &newer)
                .unwrap_err()
                .contains("has schema 3, and this jeton knows schemas up to 2")
        );
        let mut edited = applied(2);
        edited[0].checksum = "x".into();
        assert!(missing(KNOWN, &edited).unwrap_err().contains("another migration 1"));
    }
}
