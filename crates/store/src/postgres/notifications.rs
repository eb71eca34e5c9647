//! What goes on in the background: telling other nodes that something changed, and listening to them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::AsyncMessage;

use super::errors::PostgresError;
use super::shared::{FIRST_PAUSE, PostgresShared};

/// The channel of NOTIFY, as a text in SQL. Other databases of the same server do not hear it; what keeps the stores of
/// several schemas of one database apart is the number of a table.
const CHANNEL: &str = "'jeton_changes_' || 'store'::regclass::oid";

/// The longest pause between two tries to listen.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long it may take to connect and to begin to listen.
const BEGINNING: Duration = Duration::from_secs(10);

/// Begins all of it.
pub(super) fn begin(shared: &Arc<PostgresShared>) {
    let announcer = Arc::clone(shared);
    shared.watchers.spawn(async move { announce(&announcer).await });
    if !shared.address.pooler {
        let (ended, listener) = (shared.ended.clone(), Arc::clone(shared));
        shared.watchers.spawn(async move { ended.run_until_cancelled(listen(&listener)).await });
    }
}

/// Tells other nodes that this one committed changes, to the last commit before the store is closed. It is a hint, sent after
/// the commit and without waiting for the disk: a lock of the whole database is held while a NOTIFY commits.
async fn announce(shared: &PostgresShared) {
    loop {
        let ends = tokio::select! {
            () = shared.to_announce.notified() => false,
            () = shared.ended.cancelled() => true,
        };
        if shared.unannounced.swap(false, Ordering::SeqCst)
            && let Err(failure) = notify(shared).await
        {
            tracing::debug!(?failure, "other nodes could not be told of a change; they will find it");
        }
        if ends {
            return;
        }
    }
}

/// The tag consists of hexadecimal digits: there is nothing to be quoted in it.
async fn notify(shared: &PostgresShared) -> Result<(), PostgresError> {
    let mut session = shared.sessions.acquire().await?;
    let tag = &shared.tag;
    let script =
        format!("BEGIN; SET LOCAL synchronous_commit = off; SELECT pg_notify({CHANNEL}, '{tag}'); COMMIT");
    session.script(&script).await?;
    session.release();
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
                let is_wrong = matches!(failure, PostgresError::WrongDatabase { .. });
                let error = failure.into_store_error(&shared.address);
                if is_wrong {
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
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    let listen = async {
        shared.sessions.verify(&client).await?;
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
                shared.wake_followers();
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(heard))) if heard.payload() != shared.tag => shared.wake_followers(),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
        }
    }
}
