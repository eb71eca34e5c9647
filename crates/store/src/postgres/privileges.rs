//! The rights that the statements of the store need, asked for before one of them is refused in the middle of work.

use jeton_core::keep::ports::StoreError;
use tokio_postgres::Row;

use super::address::Address;
use super::errors::{PostgresError, lacks_a_right};
use super::session::Sessions;
use super::statement::Statement;

/// What is done to each table, and to the sequence. Who owns them may do all of it.
const NEEDED: [(&str, &[&str]); 14] = [
    ("jeton_migrations", &["SELECT"]),
    ("store", &["SELECT", "UPDATE"]),
    ("revisions", &["USAGE"]),
    ("settings", &["SELECT", "INSERT", "UPDATE"]),
    ("connections", &["SELECT", "INSERT", "UPDATE"]),
    ("tokens", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("strays", &["SELECT", "INSERT", "DELETE"]),
    ("attempts", &["SELECT", "INSERT", "UPDATE"]),
    ("kept_replies", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("operations", &["SELECT", "INSERT"]),
    ("consents", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("nodes", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("service_tokens", &["SELECT", "INSERT", "UPDATE"]),
    ("audit", &["SELECT", "INSERT"]),
];

/// The rights that are missing to what is there, by relation. Without a record of migrations the tables are not ours; and another
/// program may have a table under the name of the sequence.
const MISSING: &str = "
    SELECT quote_ident(current_user), format('%I.%I', space.nspname, there.relname), there.relkind = 'S',
        string_agg(held, ', ' ORDER BY number)
    FROM unnest($1, $2) WITH ORDINALITY AS needed (name, held, number)
    JOIN pg_class AS there ON there.oid = to_regclass(needed.name)
    JOIN pg_namespace AS space ON space.oid = there.relnamespace
    WHERE to_regclass('jeton_migrations') IS NOT NULL AND NOT CASE
        WHEN held <> 'USAGE' THEN has_table_privilege(there.oid, held)
        WHEN there.relkind = 'S' THEN has_sequence_privilege(there.oid, 'USAGE, UPDATE') END
    GROUP BY space.nspname, there.relname, there.relkind
    ORDER BY min(number)";

/// Sees that the user may do to the tables that are there what the store does to them.
pub(super) async fn check(sessions: &Sessions, address: &Address) -> Result<(), PostgresError> {
    let needed = || NEEDED.iter().flat_map(|(name, rights)| rights.iter().map(move |right| (*name, *right)));
    let ask = Statement::new(MISSING)
        .texts(needed().map(|(name, _)| Some(name)))
        .texts(needed().map(|(_, right)| Some(right)));
    let rows = sessions.rows(&ask).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let grants = rows.iter().map(grant).collect::<Result<Vec<_>, _>>()?.join("; ");
    Err(StoreError::Refused(format!(
        "the user {user} lacks rights in {place}: as an administrator run `{grants}` there, or let {user} own the tables by \
         `REASSIGN OWNED`",
        user = address.user(),
        place = address.shown
    ))
    .into())
}

/// The statement that gives what a row of [`MISSING`] says is missing.
fn grant(row: &Row) -> Result<String, PostgresError> {
    let (user, relation, rights): (String, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
    let kind = if row.try_get(2)? { "SEQUENCE " } else { "" };
    Ok(format!("GRANT {rights} ON {kind}{relation} TO {user}"))
}

/// Sees that the user may make the tables that are lacking.
pub(super) async fn check_making(sessions: &Sessions, address: &Address) -> Result<(), PostgresError> {
    let ask = Statement::new(
        "SELECT current_schema()::text WHERE NOT has_schema_privilege(current_schema(), 'CREATE')",
    );
    let Some(row) = sessions.rows(&ask).await?.pop() else { return Ok(()) };
    let schema: String = row.try_get(0)?;
    Err(lacks_a_right(address, &format!("it may make no tables in the schema {schema}")).into())
}

#[cfg(test)]
mod tests {
    use super::super::migrate::MIGRATIONS;
    use super::super::schema::parts;
    use super::*;

    #[test]
    fn what_the_migrations_make_is_what_rights_are_asked_for() {
        let mut made: Vec<_> = parts(MIGRATIONS)
            .into_iter()
            .filter(|part| part.column.is_none())
            .map(|part| part.relation)
            .collect();
        made.push("jeton_migrations");
        made.sort_unstable();
        let mut asked: Vec<_> = NEEDED.iter().map(|(name, _)| *name).collect();
        asked.sort_unstable();
        assert_eq!(asked, made);
    }
}
