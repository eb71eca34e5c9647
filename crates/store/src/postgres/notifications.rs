//! What goes on in the background: listening to what other nodes announce, announcing to them, and looking for what nobody
//! announced.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::Revision;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::{AsyncMessage, Notification};

use super::PostgresShared;
use super::batch::{Changed, FIRST_PAUSE};
use super::database_identity::DatabaseIdentity;
use super::errors::PostgresError;
use super::feed;

/// The channel of NOTIFY, as a text in SQL. Other databases of the same server do not hear it; what keeps the stores of
/// several schemas of one database apart is the number of a table.
const CHANNEL: &str = "'jeton_changes_' || 'store'::regclass::oid";

/// How often what nobody announced is looked for.
const PASS: Duration = Duration::from_secs(2);

/// The same where a pooler keeps announcements from us.
const PASS_BEHIND_A_POOLER: Duration = Duration::from_millis(500);

/// The longest pause between two tries to listen.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long it may take to connect and to begin to listen.
const BEGINNING: Duration = Duration::from_secs(10);

/// The most rows that one announcement names: PostgreSQL takes less than 8000 bytes. More of them say only "look".
const MOST_NAMED: usize = 80;

/// What is still to be announced.
#[derive(Default)]
pub(super) struct Announcements {
    waiting: Mutex<Changed>,
    some: Notify,
}

impl Announcements {
    pub(super) fn add(&self, changed: Changed) {
        if !changed.is_empty() {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(changed);
            self.some.notify_one();
        }
    }

    fn take(&self) -> Changed {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Begins all of it.
pub(super) fn begin(shared: &Arc<PostgresShared>) {
    spawn(shared, |shared| async move { pass_often(&shared).await });
    let announcer = Arc::clone(shared);
    shared.watchers.spawn(async move { announce(&announcer).await });
    if !shared.address.pooler {
        spawn(shared, |shared| async move { listen(&shared).await });
    }
}

fn spawn<F: Future<Output = ()> + Send + 'static>(
    shared: &Arc<PostgresShared>,
    work: impl FnOnce(Arc<PostgresShared>) -> F,
) {
    let (ended, work) = (shared.ended.clone(), work(Arc::clone(shared)));
    shared.watchers.spawn(async move {
        ended.run_until_cancelled(work).await;
    });
}

/// What an announcement says: who made it, and the rows, or "look".
fn announcement(tag: &str, changed: &Changed) -> String {
    if changed.len() > MOST_NAMED {
        return format!("{tag} look");
    }
    let rows = changed.iter().map(|(Revision(revision), name)| format!("{revision}={name}"));
    std::iter::once(tag.to_owned()).chain(rows).collect::<Vec<_>>().join(" ")
}

/// Reads an announcement of another process; `None` for our own. Rows that cannot be read are left to the next pass.
fn read_announcement(tag: &str, payload: &str) -> Option<Changed> {
    let (from, rows) = payload.split_once(' ')?;
    let read = |row: &str| {
        let (revision, name) = row.split_once('=')?;
        Some((Revision(revision.parse().ok()?), name.parse::<ConnectionName>().ok()?))
    };
    (from != tag).then(|| rows.split(' ').filter_map(read).collect())
}

/// Tells other nodes what this one committed, to the last commit before the store is closed. It is a hint, sent after the
/// commit and without waiting for the disk: a lock of the whole database is held while a NOTIFY commits.
async fn announce(shared: &PostgresShared) {
    loop {
        let ends = tokio::select! {
            () = shared.announcements.some.notified() => false,
            () = shared.ended.cancelled() => true,
        };
        let changed = shared.announcements.take();
        if !changed.is_empty()
            && let Err(failure) = notify(shared, &announcement(&shared.tag, &changed)).await
        {
            tracing::debug!(?failure, "other nodes could not be told of a change; they will find it");
        }
        if ends {
            return;
        }
    }
}

/// The text holds names, whose alphabet is small, and numbers: there is nothing to be quoted in it.
async fn notify(shared: &PostgresShared, text: &str) -> Result<(), PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let script =
        format!("BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_notify({CHANNEL}, '{text}'); COMMIT");
    session.script(&script).await?;
    session.release();
    Ok(())
}

async fn pass_often(shared: &PostgresShared) {
    let pause = if shared.address.pooler { PASS_BEHIND_A_POOLER } else { PASS };
    loop {
        let begun = Instant::now();
        if let Err(failure) = pass(shared).await {
            shared.invalidate(&failure, begun);
            tracing::debug!(?failure, "the store could not be looked at for changes");
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.feed.pass_wanted.notified() => {}
        }
    }
}

/// Looks at everything above the floor.
async fn pass(shared: &PostgresShared) -> Result<(), PostgresError> {
    let at = Instant::now();
    let Some(floor) = shared.feed.floor() else { return Ok(()) };
    let (highest, rows) = feed::look(shared, floor).await?;
    shared.feed.passed(at, rows, highest);
    Ok(())
}

/// Listens on a connection of its own, and connects anew whenever it is lost.
async fn listen(shared: &PostgresShared) {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        match listen_once(shared).await {
            Ok(()) => tracing::info!(store = %shared.address.shown, "the connection that listens was lost"),
            Err(failure) => {
                // Calls over older connections succeed, and say nothing of it.
                let leads_elsewhere = matches!(failure, PostgresError::WrongDatabase { .. });
                let error = failure.into_store_error(&shared.address);
                if leads_elsewhere {
                    tracing::warn!(%error, "changes of other nodes cannot be listened to");
                } else {
                    tracing::debug!(%error, "changes of other nodes cannot be listened to");
                }
            }
        }
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Listens until the connection ends.
async fn listen_once(shared: &PostgresShared) -> Result<(), PostgresError> {
    let late = |_| PostgresError::Silent(BEGINNING);
    let begins = Instant::now() + BEGINNING;
    let (client, mut connection) = timeout_at(begins, shared.sessions.open_one()).await.map_err(late)??;
    let opened = Instant::now();
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    let listen = async {
        shared.sessions.verify(DatabaseIdentity::of(&client).await?, opened)?;
        let channel = client.query_typed_one(&format!("SELECT {CHANNEL}"), &[]).await?;
        Ok::<_, PostgresError>(
            client.batch_execute(&format!("LISTEN {}", channel.try_get::<_, &str>(0)?)).await?,
        )
    };
    let mut listening = std::pin::pin!(timeout_at(begins, listen));
    let mut begun = false;
    loop {
        tokio::select! {
            answer = &mut listening, if !begun => {
                answer.map_err(late)??;
                begun = true;
                // What was announced while nobody listened is found by looking.
                shared.feed.pass_wanted.notify_one();
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(heard))) => hear(shared, &heard),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
        }
    }
}

fn hear(shared: &PostgresShared, heard: &Notification) {
    match read_announcement(&shared.tag, heard.payload()) {
        None => {}
        Some(changed) if changed.is_empty() => shared.feed.pass_wanted.notify_one(),
        Some(changed) => shared.feed.told(&changed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_names_its_rows_or_says_look() {
        let changed: Changed =
            vec![(Revision(7), "acme".parse().unwrap()), (Revision(8), "b-2".parse().unwrap())];
        let text = announcement("ab12", &changed);
        assert_eq!(text, "ab12 7=acme 8=b-2");
        assert_eq!(read_announcement("cd34", &text), Some(changed));
        assert_eq!(read_announcement("ab12", &text), None, "its own");
        let long = "x".repeat(64);
        let many: Changed = (0..=MOST_NAMED).map(|_| (Revision(u64::MAX), long.parse().unwrap())).collect();
        assert_eq!(announcement("ab12", &many), "ab12 look");
        assert_eq!(read_announcement("cd34", "ab12 look"), Some(Vec::new()));
        assert!(announcement(&"f".repeat(16), &many[1..].to_vec()).len() < 8000);
    }
}
