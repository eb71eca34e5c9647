//! Reading every connection into memory once, behind the first answers.

use std::time::Duration;

use futures_util::future::join;
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::{ListedConnection, name_of};

use super::apply::Memory;

/// How many rows are read at once.
const PAGE: usize = 2_000;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts every row into memory, in the order of their names, unless the vault closes before that.
pub(crate) async fn load(memory: &Memory) {
    let mut page = read(memory, None).await;
    while let Some(Page { asked_at, rows }) = page {
        let last = rows.last().filter(|_| rows.len() == PAGE).map(|row| name_of(row).clone());
        let apply = async {
            for row in rows {
                memory.apply_listed(row, asked_at);
            }
        };
        let Some(last) = last else {
            apply.await;
            // Nobody else sets it, and a vault that is started twice is loaded once it was loaded first.
            let _ = memory.loaded.set(());
            return;
        };
        // The store reads the next page while this one is opened.
        page = join(read(memory, Some(&last)), apply).await.0;
    }
}

/// Some rows, and the instant before the store was asked for them.
struct Page {
    asked_at: Duration,
    rows: Vec<ListedConnection>,
}

/// The rows after this name, from a store that may have to be asked again; `None` once the vault closes.
async fn read(memory: &Memory, after: Option<&ConnectionName>) -> Option<Page> {
    loop {
        let asked_at = memory.node.clock.uptime();
        match memory.store.ports.connections.list(after, PAGE).await {
            Ok(rows) => return Some(Page { asked_at, rows }),
            Err(error) => {
                tracing::warn!(%error, "the connections cannot be read yet; tried again in a second");
            }
        }
        if !memory.lifecycle.pause(PAUSE).await {
            return None;
        }
    }
}
