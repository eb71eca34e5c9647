//! The rights that the statements of the store need, asked for before one of them is refused in the middle of work.

use std::sync::Arc;

use jeton_core::keep::ports::StoreError;

use super::address::Address;
use super::errors::{PostgresError, lacks_a_right};
use super::session::Sessions;
use crate::sql::row_reader::{RowReader, SqlRow};
use crate::sql::statement::Statement;

/// The rights that are missing to what is there, by relation. Who owns a table may do all of it. Without a record of migrations
/// the tables are not ours; and another program may have a table under the name of the sequence.
const MISSING: &str = "
    SELECT quote_ident(current_user), format('%I.%I', space.nspname, there.relname), there.relkind = 'S',
        string_agg(held, ', ' ORDER BY number)
    FROM (VALUES
        ('jeton_migrations', '{SELECT}'), ('store', '{SELECT,UPDATE}'), ('revisions', '{USAGE}'),
        ('settings', '{SELECT,INSERT,UPDATE}'), ('connections', '{SELECT,INSERT,UPDATE}'),
        ('tokens', '{SELECT,INSERT,UPDATE,DELETE}'), ('strays', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('attempts', '{SELECT,INSERT,UPDATE}'), ('kept_replies', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('operations', '{SELECT,INSERT}'), ('consents', '{SELECT,INSERT,UPDATE,DELETE}'),
        ('nodes', '{SELECT,INSERT,UPDATE,DELETE}'), ('service_tokens', '{SELECT,INSERT,UPDATE}'),
        ('audit', '{SELECT,INSERT}')
    ) AS needed (name, rights)
    CROSS JOIN LATERAL unnest(rights::text[]) WITH ORDINALITY AS one (held, number)
    JOIN pg_class AS there ON there.oid = to_regclass(name)
    JOIN pg_namespace AS space ON space.oid = there.relnamespace
    WHERE to_regclass('jeton_migrations') IS NOT NULL AND NOT CASE
        WHEN held <> 'USAGE' THEN has_table_privilege(there.oid, held)
        WHEN there.relkind = 'S' THEN has_sequence_privilege(there.oid, 'USAGE, UPDATE') END
    GROUP BY space.nspname, there.relname, there.relkind
    ORDER BY there.relname";

/// Sees that the user may do to the tables that are there what the store does to them.
pub(super) async fn check(sessions: &Arc<Sessions>, address: &Address) -> Result<(), PostgresError> {
    let rows = sessions.rows(&Statement::new(MISSING, Vec::new())).await?;
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
fn grant(row: &SqlRow) -> Result<String, StoreError> {
    let mut columns = RowReader::new(row, "(rights)");
    let text = |found: &str| Some(found.to_owned());
    let (user, relation) = (columns.named("user", text)?, columns.named("relation", text)?);
    let kind = if columns.truth("is_sequence")? { "SEQUENCE " } else { "" };
    Ok(format!("GRANT {} ON {kind}{relation} TO {user}", columns.named("rights", text)?))
}

/// Sees that the user may make the tables that are lacking.
pub(super) async fn check_making(sessions: &Arc<Sessions>, address: &Address) -> Result<(), PostgresError> {
    let ask = "SELECT current_schema()::text WHERE NOT has_schema_privilege(current_schema(), 'CREATE')";
    let Some(row) = sessions.rows(&Statement::new(ask, Vec::new())).await?.pop() else { return Ok(()) };
    let schema = RowReader::new(&row, "(rights)").text_or_null("schema")?.unwrap_or_default();
    Err(lacks_a_right(address, &format!("it may make no tables in the schema {schema}")).into())
}
