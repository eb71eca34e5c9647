//! What the migrations make, read from their own text, and what of it a database has.

use std::collections::BTreeSet;
use std::fmt;

use super::errors::PostgresError;
use super::session::Sessions;
use super::statement::Statement;
use crate::migration::Migration;

/// A table, a sequence, or a column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SchemaPart {
    pub(super) relation: &'static str,
    pub(super) column: Option<&'static str>,
    /// The number of the migration that makes it.
    migration: u32,
}

impl fmt::Display for SchemaPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.relation)?;
        self.column.map_or(Ok(()), |column| write!(f, ".{column}"))
    }
}

/// What these migrations make. They are written so that it can be read line by line.
pub(super) fn parts(schema: &[Migration]) -> Vec<SchemaPart> {
    let mut parts = Vec::new();
    for migration in schema {
        let part = |relation, column| SchemaPart { relation, column, migration: migration.number };
        let mut table = None;
        for line in migration.sql.lines() {
            if let Some(relation) = made(line, "CREATE TABLE ") {
                table = Some(relation);
                parts.push(part(relation, None));
            } else if let Some(sequence) = made(line, "CREATE SEQUENCE ") {
                parts.push(part(sequence, None));
            } else if line == ");" {
                table = None;
            } else if let (Some(relation), Some(rest)) = (table, line.strip_prefix("    ")) {
                // What begins with a capital letter is a rule.
                let column =
                    rest.split(' ').next().filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
                parts.extend(column.map(|column| part(relation, Some(column))));
            }
        }
    }
    parts
}

/// The name of what a line makes.
fn made(line: &'static str, how: &str) -> Option<&'static str> {
    line.strip_prefix(how)?.split([' ', ';']).next()
}

/// What a database has of a schema.
pub(super) struct SchemaState {
    parts: Vec<SchemaPart>,
    there: BTreeSet<SchemaPart>,
    /// Whether it has a record of migrations.
    pub(super) recorded: bool,
}

/// Looks for what these migrations make.
pub(super) async fn look(sessions: &Sessions, schema: &[Migration]) -> Result<SchemaState, PostgresError> {
    let parts = parts(schema);
    let ask = Statement::new(
        "SELECT to_regclass('jeton_migrations') IS NOT NULL,
            ARRAY(SELECT number - 1 FROM unnest($1, $2) WITH ORDINALITY AS wanted (relation, part, number)
                WHERE CASE WHEN part IS NULL THEN to_regclass(relation) IS NOT NULL
                    ELSE EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(relation) AND attname = part
                        AND NOT attisdropped) END)",
    )
    .texts(parts.iter().map(|part| Some(part.relation)))
    .texts(parts.iter().map(|part| part.column));
    let rows = sessions.rows(&ask).await?;
    let row = rows.first().ok_or(PostgresError::Lost)?;
    let found: Vec<i64> = row.try_get(1)?;
    let there =
        found.into_iter().filter_map(|number| parts.get(usize::try_from(number).ok()?).copied()).collect();
    Ok(SchemaState { parts, there, recorded: row.try_get(0)? })
}

impl SchemaState {
    /// What contradicts the record of migrations, by which these are still to come.
    pub(super) fn contradiction(&self, lacking: &[Migration]) -> Option<String> {
        let to_come = |part: &SchemaPart| lacking.iter().any(|migration| migration.number == part.migration);
        let (early, made): (Vec<&SchemaPart>, Vec<&SchemaPart>) =
            self.parts.iter().partition(|part| to_come(part));
        let (early, absent) = (self.listed(early, true), self.listed(made, false));
        match (early.as_str(), absent.as_str(), lacking.first()) {
            ("", "", _) => None,
            ("", absent, None) => {
                Some(format!("its record of migrations is complete, and it lacks {absent}"))
            }
            ("", absent, Some(next)) => Some(format!(
                "its record of migrations goes up to {}, and it lacks {absent}",
                next.number - 1
            )),
            (early, _, _) if !self.recorded => {
                Some(format!("it has {early} under our names and no record of migrations"))
            }
            (early, _, next) => {
                let next = next.map_or(0, |next| next.number);
                Some(format!(
                    "its record of migrations does not hold {next}, and it has {early} under our names"
                ))
            }
        }
    }

    /// Those of the parts that are there, or are not, by name; columns only of tables that are in no such list.
    fn listed(&self, parts: Vec<&SchemaPart>, there: bool) -> String {
        let mut listed: Vec<&SchemaPart> =
            parts.into_iter().filter(|part| self.there.contains(part) == there).collect();
        listed.sort_unstable();
        listed.dedup_by(|next, kept| kept.column.is_none() && kept.relation == next.relation);
        listed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &[Migration] = &[
        Migration {
            number: 1,
            name: "one",
            sql: "CREATE SEQUENCE s AS bigint;\nCREATE TABLE a (\n    b text,\n    CHECK (b)\n);",
        },
        Migration { number: 2, name: "two", sql: "CREATE TABLE c (\n    d text\n);" },
    ];

    fn look(there: &[&str], recorded: bool) -> SchemaState {
        let parts = parts(SCHEMA);
        let there = parts.iter().copied().filter(|part| there.contains(&part.to_string().as_str())).collect();
        SchemaState { parts, there, recorded }
    }

    #[test]
    fn a_record_and_what_is_there_must_agree() {
        let names: Vec<_> = parts(SCHEMA).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["s", "a", "a.b", "c", "c.d"]);
        assert_eq!(look(&[], false).contradiction(SCHEMA), None);
        assert_eq!(look(&["s", "a", "a.b"], true).contradiction(&SCHEMA[1..]), None);
        assert_eq!(look(&["s", "a", "a.b", "c", "c.d"], true).contradiction(&[]), None);
        for (there, recorded, lacking, what) in [
            (&["c", "c.d"][..], false, SCHEMA, "it has c under our names and no record of migrations"),
            (&["s"], true, &[], "its record of migrations is complete, and it lacks a, c"),
            (&["a", "a.b", "c"], true, &[], "its record of migrations is complete, and it lacks c.d, s"),
            (&["s", "a"], true, &SCHEMA[1..], "its record of migrations goes up to 1, and it lacks a.b"),
            (
                &["s", "a", "a.b", "c", "c.d"],
                true,
                &SCHEMA[1..],
                "its record of migrations does not hold 2, and it has c under our names",
            ),
        ] {
            assert_eq!(look(there, recorded).contradiction(lacking).as_deref(), Some(what));
        }
    }
}
