//! Rows on their way from the store into memory, and what they contradict there.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::id::ConnectionName;
use jeton_core::keep::connection::Connection;
use jeton_core::keep::ports::{ListedConnection, StoreError};

use crate::error::TokenError;
use crate::extras::Extras;
use crate::memory::Known;
use crate::sealed::{Opened, does_not_open, open_tokens};
use crate::shared::Shared;
use crate::spill::Write;

impl Shared {
    /// Puts a row into memory, with its access token opened, unless it contradicts what is there. `asked_at`, by the clock
    /// that counts suspension, is the instant before the store was asked for it: a slow answer is as old as its question.
    pub(crate) fn publish(&self, row: Connection, asked_at: Duration) -> Arc<Known> {
        let slot = self.memory.slot(&row.name);
        if let Some(known) = slot.known().filter(|known| contradict(&known.row, &row)) {
            self.went_back(row.revision);
            return known;
        }
        self.high_water.see(row.revision);
        slot.publish(self.opened(row, asked_at))
    }

    /// Puts a row of a list into memory. One that cannot be read is passed over: the others go on.
    pub(crate) fn publish_listed(&self, row: ListedConnection, asked_at: Duration) {
        match row {
            Ok(row) => drop(self.publish(row, asked_at)),
            Err(unreadable) => {
                self.high_water.see(unreadable.revision);
                self.memory.slot(&unreadable.name).note_unreadable();
                tracing::error!(connection = %unreadable.name, "{unreadable}");
            }
        }
    }

    /// A row with its access token opened.
    fn opened(&self, row: Connection, asked_at: Duration) -> Known {
        let opened =
            row.tokens.as_ref().map(|tokens| open_tokens(&self.sealer, &row.name, row.generation, tokens));
        let opened = opened.transpose().unwrap_or_else(|error| {
            tracing::error!(connection = %row.name, %error, "{}", does_not_open(&row.name));
            None
        });
        let Opened { access, extras, .. } = opened.unwrap_or_default();
        let extras = Extras::from_text(extras.as_ref());
        let token_type = extras.token_type.unwrap_or_else(|| "Bearer".to_owned());
        Known { row, access, token_type, captured: extras.vars, asked_at }
    }

    /// Serves the token set of a reply that lies in its spill slot while the installation is on hold: the one before it may
    /// have died of this very refresh. The store is behind memory until a later process has given it the reply.
    pub(crate) fn serve_unstored(&self, write: &Write) {
        let Write::Commit(commit) = write else { return };
        let slot = self.memory.slot(&commit.connection);
        let Some(known) = slot.known().filter(|known| known.row.generation == commit.generation) else {
            return;
        };
        let row = Connection {
            generation: commit.generation.next(),
            revision: known.row.revision.next(),
            tokens: Some(commit.tokens.clone()),
            ..known.row.clone()
        };
        slot.publish(self.opened(row, self.clock.uptime()));
    }

    /// Looks at the store, for at most `claim_wait`, and publishes what is there.
    pub(crate) async fn look(&self, name: &ConnectionName) -> Result<Option<Arc<Known>>, TokenError> {
        Ok(self.patiently(|| self.look_once(name)).await?)
    }

    /// Looks at the store once, and publishes what is there. A row that was later before the store was asked shows that it
    /// is another store by now: a backup, or a replica that had not caught up.
    pub(crate) async fn look_once(&self, name: &ConnectionName) -> Result<Option<Arc<Known>>, StoreError> {
        let before = self.memory.find(name.as_str()).and_then(|slot| slot.known());
        let asked_at = self.clock.uptime();
        let row = self.ports.connections.find(name).await?;
        let Some(row) = row else { return Ok(None) };
        match before.filter(|before| row.revision < before.row.revision) {
            Some(before) => {
                self.went_back(row.revision);
                Ok(Some(before))
            }
            None => Ok(Some(self.publish(row, asked_at))),
        }
    }
}

/// Whether these rows of one connection cannot be of one store, in whatever order they were read: a later change never has
/// an earlier generation, and a generation names one token set.
fn contradict(known: &Connection, row: &Connection) -> bool {
    let went_back = row.revision > known.revision && row.generation < known.generation;
    let prints = |row: &Connection| {
        row.tokens.as_ref().map(|tokens| (tokens.access_fingerprint, tokens.refresh_fingerprint))
    };
    went_back || (row.generation == known.generation && prints(row) != prints(known))
}
