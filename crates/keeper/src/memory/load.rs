//! Reading every connection into memory once, behind the first answers.

use std::time::Duration;

use futures_util::future::join;
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::{ListedConnection, name_of};

use crate::shared::Shared;

/// How many rows are read at once.
const PAGE: usize = 2_000;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts every row into memory, in the order of their names, unless the vault closes before that.
pub(crate) async fn load(shared: &Shared) {
    let mut page = read(shared, None).await;
    while let Some(Page { asked_at, rows }) = page {
        let last = rows.last().filter(|_| rows.len() == PAGE).map(|row| name_of(row).clone());
        let publish = async {
            for row in rows {
                shared.apply_listed(row, asked_at);
            }
        };
        let Some(last) = last else {
            publish.await;
            // Nobody else sets it, and a vault that is started twice is loaded once it was loaded first.
            drop(shared.loaded.set(()));
            return;
        };
        // The store looks for the next page while this one is opened.
        page = join(read(shared, Some(&last)), publish).await.0;
    }
}

/// Some rows, and the instant before the store was asked for them.
struct Page {
    asked_at: Duration,
    rows: Vec<ListedConnection>,
}

/// The rows after this name, from a store that may have to be asked again; `None` once the vault closes.
async fn read(shared: &Shared, after: Option<&ConnectionName>) -> Option<Page> {
    loop {
        let asked_at = shared.clock.uptime();
        match shared.ports.connections.list(after, PAGE).await {
            Ok(rows) => return Some(Page { asked_at, rows }),
            Err(error) => {
                tracing::warn!(%error, "the connections cannot be read yet; tried again in a second");
            }
        }
        if !shared.pause(PAUSE).await {
            return None;
        }
    }
}
