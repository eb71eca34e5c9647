//! The statements that write what a batch changed: one for each table, whatever the number of rows.

use std::sync::LazyLock;

use jeton_core::id::{AttemptId, ConnectionName, GrantId};
use jeton_core::keep::attempt::{Attempt, Trigger};
use jeton_core::keep::connection::{Connection, OrphanReply, SealedTokens};
use jeton_core::seal::Fingerprint;
use jeton_core::time::Timestamp;

use super::audit;
use super::batch_tx::{LoadedRows, PendingWrites};
use super::connections_table::StoredConnection;
use super::statement::Statement;
use crate::row_reader::{ATTEMPT_COLUMNS, CONNECTION_COLUMNS, TOKEN_COLUMNS, micros, signed};

/// What a batch sends before its COMMIT. The first statement, where there are connections to write, answers their names and
/// new revisions.
pub(super) struct Writes {
    pub(super) statements: Vec<Statement>,
    pub(super) rows: usize,
}

/// Puts the changes into statements. Token sets and strays follow their connections, which may be new.
pub(super) fn of(loaded: &LoadedRows, changes: &PendingWrites) -> Writes {
    let pairs: Vec<(Option<&StoredConnection>, &StoredConnection)> = changes
        .order
        .iter()
        .filter_map(|name| Some((loaded.rows.get(name), changes.rows.get(name)?)))
        .filter(|(was, now)| was.is_none_or(|was| was.row != now.row))
        .collect();
    let mut statements = Vec::new();
    if !pairs.is_empty() {
        let rows: Vec<_> = pairs.iter().map(|(_, held)| &held.row).collect();
        statements.push(connections(&rows));
    }
    statements.extend(token_sets(&pairs));
    statements.extend(strays(&pairs));
    if !changes.closings.is_empty() {
        statements.push(closings(changes, loaded.now));
    }
    if !changes.attempts.is_empty() {
        let rows: Vec<_> = changes.attempts.values().collect();
        statements.push(attempts(&rows));
    }
    statements.extend(replies(changes));
    if !changes.operations.is_empty() {
        statements.push(operations(changes, loaded.now));
    }
    if !changes.record.is_empty() {
        statements.push(audit::insert(&changes.record));
    }
    Writes { statements, rows: pairs.len() }
}

/// `a, b` as `a = excluded.a, b = excluded.b`.
fn set_excluded(columns: &str, but: &[&str]) -> String {
    let columns = columns.split(", ").filter(|column| !but.contains(column));
    columns.map(|column| format!("{column} = excluded.{column}")).collect::<Vec<_>>().join(", ")
}

/// `$1, $2` and so on, for as many columns.
fn parameters(columns: &str) -> String {
    (1..=columns.split(", ").count()).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

fn upsert(table: &str, columns: &str, key: &str, fixed: &[&str]) -> String {
    format!(
        "INSERT INTO {table} ({columns}) SELECT * FROM unnest({}) ON CONFLICT ({key}) DO UPDATE SET {}",
        parameters(columns),
        set_excluded(columns, fixed)
    )
}

fn connections(rows: &[&Connection]) -> Statement {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let given = CONNECTION_COLUMNS.replace("revision, ", "");
        format!(
            "INSERT INTO connections (revision, {given}) SELECT nextval('revisions'), given.* FROM unnest({}) AS given \
             ON CONFLICT (name) DO UPDATE SET {} RETURNING name, revision",
            parameters(&given),
            set_excluded(CONNECTION_COLUMNS, &["name", "created_at"])
        )
    });
    let of = || rows.iter().copied();
    let lease = || of().map(|row| row.lease.as_ref());
    let brake = || of().map(|row| row.backoff.as_ref());
    Statement::new(SQL.as_str())
        .texts(of().map(|row| Some(row.name.as_str())))
        .texts(of().map(|row| Some(row.provider.as_str())))
        .blobs(of().map(|row| Some(&row.grant.as_bytes()[..])))
        .texts(of().map(|row| Some(row.state.as_str())))
        .texts(of().map(|row| row.state_code.as_deref()))
        .truths(of().map(|row| row.paused))
        .numbers(of().map(|row| Some(signed(row.generation.0))))
        .texts(of().map(|row| row.refresh_trigger.map(Trigger::as_str)))
        .blobs(lease().map(|lease| lease.map(|lease| &lease.attempt.as_bytes()[..])))
        .blobs(lease().map(|lease| lease.map(|lease| &lease.node.as_bytes()[..])))
        .numbers(lease().map(|lease| lease.map(|lease| lease.until.as_micros())))
        .blobs(of().map(|row| row.open_attempt.as_ref().map(|open| &open.as_bytes()[..])))
        .numbers(of().map(|row| row.due_at.map(Timestamp::as_micros)))
        .numbers(of().map(|row| row.cooling_until.map(Timestamp::as_micros)))
        .numbers(of().map(|row| Some(i64::from(row.failures))))
        .texts(of().map(|row| row.last_error.as_deref()))
        .numbers(brake().map(|brake| brake.map(|brake| signed(brake.generation.0))))
        .numbers(brake().map(|brake| brake.map(|brake| brake.until.as_micros())))
        .numbers(brake().map(|brake| brake.map(|brake| micros(brake.step))))
        .numbers(of().map(|row| Some(row.created_at.as_micros())))
}

/// The parameters of [`TOKEN_COLUMNS`].
fn with_tokens(statement: Statement, sets: &[&SealedTokens]) -> Statement {
    fn print(of: Option<&Fingerprint>) -> Option<&[u8]> {
        of.map(|print| &print.as_bytes()[..])
    }
    let of = || sets.iter().copied();
    statement
        .blobs(of().map(|tokens| tokens.access.as_deref()))
        .blobs(of().map(|tokens| tokens.refresh.as_deref()))
        .blobs(of().map(|tokens| tokens.extras.as_deref()))
        .blobs(of().map(|tokens| print(tokens.access_fingerprint.as_ref())))
        .blobs(of().map(|tokens| print(tokens.refresh_fingerprint.as_ref())))
        .numbers(of().map(|tokens| Some(tokens.obtained_at.as_micros())))
        .numbers(of().map(|tokens| tokens.access_expires_at.map(Timestamp::as_micros)))
        .numbers(of().map(|tokens| tokens.refresh_expires_at.map(Timestamp::as_micros)))
}

fn token_sets(pairs: &[(Option<&StoredConnection>, &StoredConnection)]) -> Vec<Statement> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let columns = format!("connection, generation, attempt, {TOKEN_COLUMNS}");
        upsert("tokens", &columns, "connection", &["connection"])
    });
    let changed = pairs.iter().filter(|(was, now)| {
        was.is_none_or(|was| was.row.tokens != now.row.tokens || was.row.generation != now.row.generation)
    });
    let mut fresh: Vec<(&Connection, AttemptId, &SealedTokens)> = Vec::new();
    let mut wiped: Vec<&ConnectionName> = Vec::new();
    for (was, now) in changed {
        match (&now.row.tokens, now.origin) {
            (Some(tokens), Some(origin)) => fresh.push((&now.row, origin, tokens)),
            _ if was.is_some_and(|was| was.row.tokens.is_some()) => wiped.push(&now.row.name),
            _ => {}
        }
    }
    let mut statements = Vec::new();
    if !wiped.is_empty() {
        let wipe = Statement::new("DELETE FROM tokens WHERE connection = ANY ($1)");
        statements.push(wipe.texts(wiped.iter().map(|name| Some(name.as_str()))));
    }
    if !fresh.is_empty() {
        let put = Statement::new(SQL.as_str())
            .texts(fresh.iter().map(|(row, ..)| Some(row.name.as_str())))
            .numbers(fresh.iter().map(|(row, ..)| Some(signed(row.generation.0))))
            .blobs(fresh.iter().map(|(_, origin, _)| Some(&origin.as_bytes()[..])));
        statements.push(with_tokens(put, &fresh.iter().map(|(.., tokens)| *tokens).collect::<Vec<_>>()));
    }
    statements
}

fn strays(pairs: &[(Option<&StoredConnection>, &StoredConnection)]) -> Vec<Statement> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let columns = format!("attempt, connection, grant_id, generation, {TOKEN_COLUMNS}");
        format!("INSERT INTO strays ({columns}) SELECT * FROM unnest({})", parameters(&columns))
    });
    let mut gone: Vec<AttemptId> = Vec::new();
    let mut come: Vec<(&Connection, &OrphanReply)> = Vec::new();
    for (was, now) in pairs {
        let before = was.map_or(&[][..], |was| &was.row.orphans);
        gone.extend(
            before.iter().filter(|stray| !now.row.orphans.contains(stray)).map(|stray| stray.attempt),
        );
        let new = now.row.orphans.iter().filter(|stray| !before.contains(stray));
        come.extend(new.map(|stray| (&now.row, stray)));
    }
    let mut statements = Vec::new();
    if !gone.is_empty() {
        let wipe = Statement::new("DELETE FROM strays WHERE attempt = ANY ($1)");
        statements.push(wipe.blobs(gone.iter().map(|attempt| Some(&attempt.as_bytes()[..]))));
    }
    if !come.is_empty() {
        let put = Statement::new(SQL.as_str())
            .blobs(come.iter().map(|(_, stray)| Some(&stray.attempt.as_bytes()[..])))
            .texts(come.iter().map(|(row, _)| Some(row.name.as_str())))
            .blobs(come.iter().map(|(_, stray)| Some(&stray.grant.as_bytes()[..])))
            .numbers(come.iter().map(|(_, stray)| Some(signed(stray.generation.0))));
        statements.push(with_tokens(put, &come.iter().map(|(_, stray)| &stray.tokens).collect::<Vec<_>>()));
    }
    statements
}

fn closings(changes: &PendingWrites, now: Timestamp) -> Statement {
    Statement::new(
        "UPDATE attempts SET status = 'interrupted', completed_at = coalesce(completed_at, $3),
            code = coalesce(attempts.code, closing.code)
         FROM unnest($1, $2) AS closing (id, code)
         WHERE attempts.id = closing.id AND status IN ('running', 'interrupted')",
    )
    .blobs(changes.closings.keys().map(|attempt| Some(&attempt.as_bytes()[..])))
    .texts(changes.closings.values().map(|code| Some(*code)))
    .number(now.as_micros())
}

/// Writes attempts, new or changed.
pub(super) fn attempts(rows: &[&(Attempt, GrantId)]) -> Statement {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let fixed = [
            "id",
            "connection",
            "provider",
            "grant_id",
            "trigger",
            "act",
            "node",
            "generation",
            "fingerprint",
            "recovers",
            "started_at",
            "lease_until",
            "old_expires_at",
        ];
        upsert("attempts", ATTEMPT_COLUMNS, "id", &fixed)
    });
    let of = || rows.iter().map(|(attempt, _)| attempt);
    let moment = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    Statement::new(SQL.as_str())
        .blobs(of().map(|attempt| Some(&attempt.id.as_bytes()[..])))
        .texts(of().map(|attempt| Some(attempt.connection.as_str())))
        .texts(of().map(|attempt| Some(attempt.provider.as_str())))
        .texts(of().map(|attempt| Some(attempt.trigger.as_str())))
        .texts(of().map(|attempt| Some(attempt.act.as_str())))
        .texts(of().map(|attempt| Some(attempt.status.as_str())))
        .blobs(of().map(|attempt| Some(&attempt.node.as_bytes()[..])))
        .numbers(of().map(|attempt| Some(signed(attempt.generation.0))))
        .numbers(of().map(|attempt| attempt.new_generation.map(|generation| signed(generation.0))))
        .blobs(of().map(|attempt| attempt.fingerprint.as_ref().map(|print| &print.as_bytes()[..])))
        .blobs(of().map(|attempt| attempt.recovers.as_ref().map(|recovers| &recovers.as_bytes()[..])))
        .numbers(of().map(|attempt| Some(attempt.started_at.as_micros())))
        .numbers(of().map(|attempt| moment(attempt.completed_at)))
        .numbers(of().map(|attempt| moment(attempt.lease_until)))
        .texts(of().map(|attempt| attempt.code.as_deref()))
        .numbers(of().map(|attempt| attempt.http_status.map(i64::from)))
        .texts(of().map(|attempt| attempt.message.as_deref()))
        .numbers(of().map(|attempt| moment(attempt.old_expires_at)))
        .numbers(of().map(|attempt| moment(attempt.new_expires_at)))
        .blobs(rows.iter().map(|(_, grant)| Some(&grant.as_bytes()[..])))
}

fn replies(changes: &PendingWrites) -> Vec<Statement> {
    let mut statements = Vec::new();
    if !changes.dropped_replies_of.is_empty() {
        let drop = Statement::new("DELETE FROM kept_replies WHERE connection = ANY ($1)");
        statements.push(drop.texts(changes.dropped_replies_of.iter().map(|name| Some(name.as_str()))));
    }
    if !changes.dropped_replies.is_empty() {
        let drop = Statement::new("DELETE FROM kept_replies WHERE attempt = ANY ($1)");
        statements
            .push(drop.blobs(changes.dropped_replies.iter().map(|attempt| Some(&attempt.as_bytes()[..]))));
    }
    if !changes.kept_replies.is_empty() {
        let kept = changes.kept_replies.iter();
        let kept: Vec<_> = kept.map(|(attempt, (name, reply))| (*attempt, name, reply.as_slice())).collect();
        statements.push(kept_replies(&kept));
    }
    statements
}

/// Keeps sealed replies with their attempts.
pub(super) fn kept_replies(kept: &[(AttemptId, &ConnectionName, &[u8])]) -> Statement {
    let keep = Statement::new(
        "INSERT INTO kept_replies (attempt, connection, reply) SELECT * FROM unnest($1, $2, $3)
         ON CONFLICT (attempt) DO UPDATE SET reply = excluded.reply",
    );
    keep.blobs(kept.iter().map(|(attempt, ..)| Some(&attempt.as_bytes()[..])))
        .texts(kept.iter().map(|(_, name, _)| Some(name.as_str())))
        .blobs(kept.iter().map(|(.., reply)| Some(*reply)))
}

fn operations(changes: &PendingWrites, now: Timestamp) -> Statement {
    Statement::new(
        "INSERT INTO operations (id, connection, act, done_at)
         SELECT id, connection, act, $4 FROM unnest($1, $2, $3) AS ordered (id, connection, act)",
    )
    .blobs(changes.operations.iter().map(|(id, ..)| Some(&id.as_bytes()[..])))
    .texts(changes.operations.iter().map(|(_, name, _)| Some(name.as_str())))
    .texts(changes.operations.iter().map(|(.., act)| Some(*act)))
    .number(now.as_micros())
}
