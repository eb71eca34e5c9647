//! The port `ConsentStore`. Each write locks its consent first, and decides in a second round trip.

use async_trait::async_trait;
use jeton_core::id::{AttemptId, ConnectionName};
use jeton_core::keep::consent::{Consent, ConsentOutcome};
use jeton_core::keep::ports::{
    Callback, CallbackAnswer, ConsentKey, ConsentStart, ConsentStartAnswer, ConsentStore, FailExchange,
    FoundConsent, Invite, StoreError,
};
use jeton_core::time::Timestamp;
use tokio_postgres::Row;

use super::connections_table::{self, STATEMENT_INSTANT, capped};
use super::errors::PostgresError;
use super::statement::Statement;
use super::transaction::{end, locked};
use super::{PostgresShared, PostgresStore, attempts, audit, writes};
use crate::consent_rules::{self, REMEMBERED};
use crate::row_reader::{self, ATTEMPT_COLUMNS, CONSENT_COLUMNS, RowReader, micros};

fn find(key: ConsentKey, lock: &str) -> Statement {
    let (column, bytes) = match key {
        ConsentKey::Id(id) => ("id", *id.as_bytes()),
        ConsentKey::Ticket(ticket) => ("ticket", *ticket.as_bytes()),
        ConsentKey::State(state) => ("state", *state.as_bytes()),
    };
    Statement::new(format!("SELECT {CONSENT_COLUMNS} FROM consents WHERE {column} = $1 {lock}"))
        .bytes(&bytes[..])
}

async fn open(shared: &PostgresShared, opening: &ConsentStart) -> Result<ConsentStartAnswer, PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let row = find(ConsentKey::Ticket(opening.ticket), "FOR UPDATE");
    let (rows, now) = locked(shared, &mut session, [row]).await?;
    let found = rows.first().map(|row| row_reader::consent(row)).transpose()?;
    let stays = consent_rules::stays(found.as_ref(), opening, now);
    let (Some(consent), None) = (found, stays) else {
        end(session, Vec::new()).await?;
        return Ok(stays.unwrap_or(ConsentStartAnswer::Unknown));
    };
    let until = now + opening.life;
    let open = Statement::new(
        "UPDATE consents SET state = $2, browser = $3, verifier = $4, asked_at = $5, asked_until = $6 WHERE id = $1",
    )
    .bytes(&consent.id.as_bytes()[..])
    .bytes(&opening.state.as_bytes()[..])
    .bytes(opening.browser.as_ref().map(|browser| &browser.as_bytes()[..]))
    .bytes(opening.verifier.as_slice())
    .number(now.as_micros())
    .number(until.as_micros());
    end(session, vec![open]).await?;
    Ok(ConsentStartAnswer::Started { until })
}

async fn record_callback(
    shared: &PostgresShared,
    callback: &Callback,
) -> Result<CallbackAnswer, PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let row = find(ConsentKey::State(callback.state), "FOR UPDATE");
    let (rows, now) = locked(shared, &mut session, [row]).await?;
    let found = rows.first().map(|row| row_reader::consent(row)).transpose()?;
    let unfit = consent_rules::unfit(found.as_ref(), callback, now);
    let (Some(consent), None) = (found, unfit) else {
        end(session, Vec::new()).await?;
        return Ok(unfit.unwrap_or(CallbackAnswer::Unknown));
    };
    let (attempt, code, message) = row_reader::ending_columns(&callback.action);
    let take = Statement::new(
        "UPDATE consents SET attempt = $2, refused_code = $3, refused_message = $4, verifier = NULL WHERE id = $1",
    )
    .bytes(&consent.id.as_bytes()[..])
    .bytes(attempt.as_ref().map(|attempt| &attempt.as_bytes()[..]))
    .text(code)
    .text(message);
    let row = connections_table::by_name(std::iter::once(consent.connection.as_str()));
    let found = session.pipeline(&[row]).await?;
    let row = connections_table::read_rows(found.first().map_or(&[], Vec::as_slice))?.pop();
    let attempt = consent_rules::attempt(consent, &callback.action, row, now);
    let record = writes::attempts(&[&(attempt, callback.action.grant())]);
    end(session, vec![take, record]).await?;
    Ok(CallbackAnswer::Taken)
}

async fn fail_exchange(shared: &PostgresShared, fail: &FailExchange) -> Result<(), PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let row = Statement::new(format!("SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE id = $1 FOR UPDATE"));
    let (rows, now) = locked(shared, &mut session, [row.bytes(&fail.attempt.as_bytes()[..])]).await?;
    let Some(found) = rows.first().map(|row| row_reader::attempt(row)).transpose()? else {
        end(session, Vec::new()).await?;
        return Err(consent_rules::no_attempt(fail.attempt).into());
    };
    let (mut attempt, grant) = found;
    let mut statements = Vec::new();
    if consent_rules::fail(&mut attempt, fail, now) {
        let kept = fail.kept_reply.as_ref().map(|reply| (attempt.id, &attempt.connection, reply.as_slice()));
        statements.extend(kept.map(|kept| writes::kept_replies(&[kept])));
        statements.insert(0, writes::attempts(&[&(attempt, grant)]));
    }
    end(session, statements).await?;
    Ok(())
}

fn invite(invite: &Invite, now: Option<i64>) -> Vec<Statement> {
    let forget = Statement::new(format!("DELETE FROM consents WHERE link_until < {STATEMENT_INSTANT} - $2"));
    let make = Statement::new(format!(
        "INSERT INTO consents (id, connection, provider, ticket, created_at, link_until)
         VALUES ($2, $3, $4, $5, {STATEMENT_INSTANT}, {STATEMENT_INSTANT} + $6) ON CONFLICT (id) DO NOTHING"
    ));
    let look = Statement::new("SELECT link_until FROM consents WHERE id = $1");
    vec![
        forget.number(now).number(micros(REMEMBERED)),
        make.number(now)
            .bytes(&invite.id.as_bytes()[..])
            .text(invite.connection.as_str())
            .text(invite.provider.as_str())
            .bytes(&invite.ticket.as_bytes()[..])
            .number(micros(invite.life)),
        audit::insert_invited(invite),
        look.bytes(&invite.id.as_bytes()[..]),
    ]
}

impl PostgresStore {
    async fn with_attempts(&self, rows: &[Row]) -> Result<Vec<FoundConsent>, StoreError> {
        let found: Vec<Consent> =
            rows.iter().map(|row| row_reader::consent(row)).collect::<Result<_, _>>()?;
        let of = |consent: &Consent| match consent.outcome {
            Some(ConsentOutcome::Exchange(attempt)) => Some(attempt),
            _ => None,
        };
        let ids: Vec<AttemptId> = found.iter().filter_map(of).collect();
        let mut made = Vec::new();
        if !ids.is_empty() {
            let find = Statement::new(format!("SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE id = ANY ($1)"));
            let rows = self.rows(&find.blobs(ids.iter().map(|id| Some(&id.as_bytes()[..])))).await?;
            made = rows.iter().map(attempts::alone).collect::<Result<_, _>>()?;
        }
        Ok(found
            .into_iter()
            .map(|consent| {
                let attempt = made.iter().find(|attempt| Some(attempt.id) == of(&consent)).cloned();
                FoundConsent { consent, attempt }
            })
            .collect())
    }
}

#[async_trait]
impl ConsentStore for PostgresStore {
    async fn invite(&self, order: Invite) -> Result<Timestamp, StoreError> {
        let mut answers = self.write_all(invite(&order, self.told_instant())).await?;
        let made = answers.pop().unwrap_or_default();
        let made =
            made.first().map(|row| RowReader::new(row, "consents").instant("link_until")).transpose()?;
        made.ok_or_else(|| {
            let (what, row) = ("is not there, though it was made".into(), order.id.to_string());
            StoreError::Inconsistent { table: "consents", column: "id", row, what }
        })
    }

    async fn start_consent(&self, opening: ConsentStart) -> Result<ConsentStartAnswer, StoreError> {
        let (shared, opening) = (&*self.shared, &opening);
        shared.retry(|| open(shared, opening)).await
    }

    async fn record_callback(&self, callback: Callback) -> Result<CallbackAnswer, StoreError> {
        let (shared, callback) = (&*self.shared, &callback);
        shared.retry(|| record_callback(shared, callback)).await
    }

    async fn fail_exchange(&self, fail: FailExchange) -> Result<(), StoreError> {
        let (shared, fail) = (&*self.shared, &fail);
        shared.retry(|| fail_exchange(shared, fail)).await
    }

    async fn find_consent(&self, key: ConsentKey) -> Result<Option<FoundConsent>, StoreError> {
        let rows = self.rows(&find(key, "")).await?;
        Ok(self.with_attempts(&rows).await?.pop())
    }

    async fn list_latest_consents(
        &self,
        after: Option<&ConnectionName>,
        limit: usize,
    ) -> Result<Vec<FoundConsent>, StoreError> {
        let latest = Statement::new(format!(
            "SELECT {CONSENT_COLUMNS} FROM consents WHERE connection > $1 AND NOT EXISTS
                (SELECT 1 FROM consents AS later WHERE later.connection = consents.connection AND later.id > consents.id)
             ORDER BY connection LIMIT $2"
        ));
        let latest = latest.text(after.map_or("", ConnectionName::as_str)).number(capped(limit));
        let rows = self.rows(&latest).await?;
        self.with_attempts(&rows).await
    }
}
