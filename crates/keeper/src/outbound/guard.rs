//! The last look before a byte is written.
//!
//! Between winning a lease and writing the request, a process may be stopped, or its machine may sleep, for longer
//! than the lease. So the stream itself looks at the clock, right before every write: once the lease has lapsed,
//! nothing goes out. It also knows whether anything ever went out, which decides between "not sent" and "nobody knows".

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use jeton_core::time::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known of the bytes of one request.
#[derive(Debug)]
pub(super) struct Wire {
    clock: Arc<dyn Clock>,
    write_until: Duration,
    touched: AtomicBool,
}

impl Wire {
    pub(super) fn new(clock: Arc<dyn Clock>, write_until: Duration) -> Self {
        Self { clock, write_until, touched: AtomicBool::new(false) }
    }

    /// Whether not a byte of the request was written.
    pub(super) fn untouched(&self) -> bool {
        !self.touched.load(Ordering::Acquire)
    }

    /// Refuses to write once the lease has lapsed; otherwise notes that bytes may go out.
    fn permit(&self) -> io::Result<()> {
        if self.clock.uptime() >= self.write_until {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the lease lapsed before the request was written",
            ));
        }
        // Noted before the write, not after it: a task that is dropped in between must count as touched.
        self.touched.store(true, Ordering::Release);
        Ok(())
    }
}

/// A stream that asks its [`Wire`] before every write.
#[derive(Debug)]
pub(super) struct GuardedStream<S> {
    stream: S,
    wire: Arc<Wire>,
}

impl<S> GuardedStream<S> {
    pub(super) fn new(stream: S, wire: Arc<Wire>) -> Self {
        Self { stream, wire }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.wire.permit()?;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.wire.permit()?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_core::time::SystemClock;
    use tokio::io::AsyncWriteExt as _;

    fn wire(write_until: Duration) -> Arc<Wire> {
        Arc::new(Wire::new(Arc::new(SystemClock), write_until))
    }

    #[tokio::test]
    async fn nothing_is_written_once_the_lease_has_lapsed() {
        let wire = wire(Duration::ZERO);
        let mut sent = Vec::new();
        let error = GuardedStream::new(&mut sent, Arc::clone(&wire)).write_all(b"token").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(wire.untouched());
        assert!(sent.is_empty());
    }

    #[tokio::test]
    async fn a_single_byte_written_means_that_nobody_knows() {
        let wire = wire(Duration::MAX);
        let mut sent = Vec::new();
        GuardedStream::new(&mut sent, Arc::clone(&wire)).write_all(b"t").await.unwrap();
        assert!(!wire.untouched());
    }
}
