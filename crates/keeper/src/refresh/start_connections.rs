//! Connections that start by themselves: the client's own credentials are enough, and nobody needs to connect them.

use std::sync::Arc;
use std::time::Duration;

use super::run::Refresher;
use crate::background::{Run, Step};
use crate::definitions::ConnectionDef;
use crate::error::TokenError;
use crate::operator::take_over::begin;

/// How long a store that failed, or an installation on hold, is left alone.
const PAUSE: Duration = Duration::from_secs(2);

/// Makes the rows of those that have none, once every row was read. Their first token is due then, as any other.
pub(crate) struct StartConnections(pub(crate) Arc<Refresher>);

impl Step for StartConnections {
    async fn run(&mut self) -> Run {
        let Self(parts) = &*self;
        tokio::select! {
            () = parts.lifecycle.closed() => return Run::done(Duration::ZERO),
            () = parts.memory.loaded.wait() => {}
        }
        if parts.store.hold().is_some() {
            return Run::done(PAUSE);
        }
        for def in parts.definitions.all().filter(|def| self.is_to_start(def)) {
            match begin(&parts.node, &parts.store, &parts.memory, def).await {
                Ok(_) => parts.memory.changed.notify_one(),
                Err(error @ TokenError::Store { .. }) => return Run::failed(PAUSE, &error),
                Err(error) => tracing::warn!(connection = %def.name, %error, "it could not be started"),
            }
        }
        Run::done(Duration::MAX)
    }
}

impl StartConnections {
    /// A row that cannot be read is there all the same.
    fn is_to_start(&self, def: &ConnectionDef) -> bool {
        let entry = self.0.memory.cache.find(def.name.as_str());
        let is_there = entry.is_some_and(|entry| entry.known().is_some() || entry.is_unreadable());
        !is_there && def.definition.starts_itself()
    }
}
