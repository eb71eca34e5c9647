//! Connections to APIs that are open and idle, each for the connection of jeton that opened it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use http::Method;
use hyper::client::conn::http1::SendRequest;
use tokio::time::{Instant, timeout};

/// How long an open connection is kept for the next call.
const KEPT: Duration = Duration::from_secs(30);

/// The same for a call that must not be repeated where the API closes the connection just then: few servers close
/// sooner.
const KEPT_FOR_UNREPEATABLE: Duration = Duration::from_secs(2);

/// How many are kept for one connection of jeton.
const MOST: usize = 64;

/// How long a connection that has just answered may take to be ready for the next call.
const GETTING_READY: Duration = Duration::from_millis(20);

/// Whose calls a connection carries, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// The connection of jeton: nobody's calls travel with another's.
    pub(crate) name: String,
    /// Scheme, host and port.
    pub(crate) host: String,
    /// The host came from outside, so that the connection was made by stricter rules.
    pub(crate) captured: bool,
}

/// An open connection to an API.
pub(crate) type Sender = SendRequest<Body>;

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

/// Open connections by origin; nothing at all once it is closed.
#[derive(Debug)]
pub(crate) struct Pool(Mutex<Option<HashMap<Origin, Vec<Idle>>>>);

impl Default for Pool {
    fn default() -> Self {
        Self(Mutex::new(Some(HashMap::new())))
    }
}

impl Pool {
    /// A connection that is ready for a call, if there is one.
    pub(crate) async fn take(&self, origin: &Origin, method: &Method) -> Option<Sender> {
        let longest = if method.is_safe() { KEPT } else { KEPT_FOR_UNREPEATABLE };
        while let Some(Idle { mut sender, .. }) = self.latest(origin, longest) {
            if sender.is_ready() || matches!(timeout(GETTING_READY, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
        None
    }

    fn latest(&self, origin: &Origin, longest: Duration) -> Option<Idle> {
        let mut all = self.0.lock().expect("no panic happens under this lock");
        let idle = all.as_mut()?.get_mut(origin)?;
        idle.retain(|one| !one.sender.is_closed() && one.since.elapsed() < KEPT);
        let index = idle.iter().rposition(|one| one.since.elapsed() < longest)?;
        Some(idle.remove(index))
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(crate) fn put(&self, origin: &Origin, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut all = self.0.lock().expect("no panic happens under this lock");
        let Some(all) = all.as_mut() else { return };
        let idle = all.entry(origin.clone()).or_default();
        idle.push(Idle { sender, since: Instant::now() });
        let surplus = idle.len().saturating_sub(MOST);
        idle.drain(..surplus);
    }

    /// Closes what is idle, and keeps nothing from now on.
    pub(crate) fn close(&self) {
        *self.0.lock().expect("no panic happens under this lock") = None;
    }
}
