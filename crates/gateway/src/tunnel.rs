//! Upgraded connections: bytes in both directions until one side ends, or nothing moves any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::journal::Entry;
use crate::reply::Over;

/// A tunnel that is about to be: the caller's side of it, and what bounds it.
pub(crate) struct Tunnel {
    pub(crate) to: OnUpgrade,
    /// Ends once the caller would not be let in any more.
    pub(crate) over: Over,
    /// Counts it among those that are open.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Tunnel {
    /// Carries bytes between the two sides of an upgrade, once both have made it.
    pub(crate) async fn carry(
        self,
        api: OnUpgrade,
        idle: Duration,
        closing: CancellationToken,
        mut entry: Entry,
    ) {
        let made = async { tokio::try_join!(self.to, api) };
        tokio::select! {
            made = made => match made {
                Ok((caller, api)) => {
                    tokio::select! {
                        () = copy(caller, api, idle, &mut entry) => {}
                        () = self.over => tracing::debug!("a tunnel ends with the service token of its caller"),
                        () = closing.cancelled() => {}
                    }
                }
                Err(error) => tracing::debug!(%error, "an upgrade was agreed on and not made"),
            },
            () = closing.cancelled() => {}
        }
    }
}

/// Copies until one side ends, or nothing moves any more.
async fn copy(caller: Upgraded, api: Upgraded, idle: Duration, entry: &mut Entry) {
    let mut caller = Counted::new(caller, &entry.received);
    let mut api = Counted::new(api, &entry.sent);
    let (received, sent) = (Arc::clone(&entry.received), Arc::clone(&entry.sent));
    let moved = || received.load(Ordering::Relaxed).wrapping_add(sent.load(Ordering::Relaxed));
    let stands_still = async {
        loop {
            let before = moved();
            sleep(idle).await;
            if moved() == before {
                return;
            }
        }
    };
    tokio::select! {
        ended = copy_bidirectional(&mut caller, &mut api) => entry.whole = ended.is_ok(),
        () = stands_still => {}
    }
}

/// A side whose bytes are counted as they are read.
struct Counted {
    side: TokioIo<Upgraded>,
    count: Arc<AtomicU64>,
}

impl Counted {
    fn new(side: Upgraded, count: &Arc<AtomicU64>) -> Self {
        Self { side: TokioIo::new(side), count: Arc::clone(count) }
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.side).poll_read(cx, buf);
        this.count.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().side).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().side).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().side).poll_shutdown(cx)
    }
}
