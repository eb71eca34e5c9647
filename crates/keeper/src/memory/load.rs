//! Reading every connection into memory once, behind the first answers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use jeton_core::id::ConnectionName;
use jeton_core::keep::ports::{ListedConnection, StoreError, name_of};

use super::apply::Memory;
use crate::background::{Run, Step};

/// How many rows are read at once.
const PAGE: usize = 2_000;

/// How long a store that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Puts every row into memory, in the order of their names.
pub(crate) struct LoadAll {
    memory: Arc<Memory>,
    /// The last name that was read.
    after: Option<ConnectionName>,
}

/// Some rows, and the instant before the store was asked for them.
struct Page {
    asked_at: Duration,
    rows: Vec<ListedConnection>,
}

impl LoadAll {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, after: None }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        let mut page = self.read(self.after.as_ref()).await?;
        loop {
            let last = page.rows.last().filter(|_| page.rows.len() == PAGE).map(|row| name_of(row).clone());
            let apply = async {
                for row in page.rows {
                    self.memory.apply_listed(row, page.asked_at);
                }
            };
            let Some(last) = last else {
                apply.await;
                return Ok(());
            };
            // The store reads the next page while this one is opened.
            let (next, ()) = join(self.read(Some(&last)), apply).await;
            self.after = Some(last);
            page = next?;
        }
    }

    async fn read(&self, after: Option<&ConnectionName>) -> Result<Page, StoreError> {
        let asked_at = self.memory.node.clock.uptime();
        Ok(Page { asked_at, rows: self.memory.store.ports.connections.list(after, PAGE).await? })
    }
}

impl Step for LoadAll {
    async fn run(&mut self) -> Run {
        match self.load().await {
            Ok(()) => {
                // A vault that is started twice is loaded once it was loaded first.
                let _ = self.memory.loaded.set(());
                Run::done(Duration::MAX)
            }
            Err(error) => Run::failed(PAUSE, &error),
        }
    }
}
