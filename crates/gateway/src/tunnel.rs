//! Upgraded connections: bytes in both directions until one side ends, or nothing moves any more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::io::InspectReader;
use tokio_util::sync::CancellationToken;

use crate::access_log::AccessLogEntry;
use crate::replay_body::AccessEnded;

/// The caller's side of an upgraded connection.
pub(crate) struct Tunnel {
    pub(crate) caller: OnUpgrade,
    pub(crate) access_ended: AccessEnded,
    /// Counts it among those that are open.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Tunnel {
    /// Copies bytes between both sides, once both have been upgraded.
    pub(crate) async fn run(
        self,
        api: OnUpgrade,
        idle: Duration,
        closing: CancellationToken,
        mut entry: AccessLogEntry,
    ) {
        let upgraded = async { tokio::try_join!(self.caller, api) };
        tokio::select! {
            upgraded = upgraded => match upgraded {
                Ok((caller, api)) => {
                    tokio::select! {
                        () = copy(caller, api, idle, &mut entry) => {}
                        () = self.access_ended => tracing::debug!("a tunnel ends, for its caller's access has ended"),
                        () = closing.cancelled() => {}
                    }
                }
                Err(error) => tracing::debug!(%error, "both sides agreed to an upgrade, and it failed"),
            },
            () = closing.cancelled() => {}
        }
    }
}

/// Copies until one side ends, or nothing moves any more.
async fn copy(caller: Upgraded, api: Upgraded, idle: Duration, entry: &mut AccessLogEntry) {
    let (received, sent) = (entry.received.clone(), entry.sent.clone());
    let count = |counter: &AtomicU64, bytes: &[u8]| {
        counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    };
    let mut caller = InspectReader::new(TokioIo::new(caller), |bytes: &[u8]| count(&received, bytes));
    let mut api = InspectReader::new(TokioIo::new(api), |bytes: &[u8]| count(&sent, bytes));
    let total = || received.load(Ordering::Relaxed).wrapping_add(sent.load(Ordering::Relaxed));
    let stalled = async {
        loop {
            let before = total();
            sleep(idle).await;
            if total() == before {
                return;
            }
        }
    };
    tokio::select! {
        ended = copy_bidirectional(&mut caller, &mut api) => entry.whole = ended.is_ok(),
        () = stalled => {}
    }
}
