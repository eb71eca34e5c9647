//! The check of the clock before every write.
//!
//! Between winning a lease and writing the request, a process may be stopped, or its machine may sleep, for longer
//! than the lease. So the stream itself looks at the clock, right before every write: once the lease has lapsed,
//! nothing goes out; nor does what a layer below, such as TLS, has taken in and not sent yet. It also knows whether anything ever went out, which decides between "not sent" and "nobody knows".

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
pub(super) struct WriteWindow {
    clock: Arc<dyn Clock>,
    write_until: Duration,
    touched: AtomicBool,
}

impl WriteWindow {
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
                "the time in which it may be sent ended before the request was written",
            ));
        }
        // Noted before the write, not after it: a task that is dropped in between must count as touched.
        self.touched.store(true, Ordering::Release);
        Ok(())
    }
}

/// A stream that asks its [`WriteWindow`] before every write, and before a flush that may write.
#[derive(Debug)]
pub(super) struct GuardedStream<S> {
    stream: S,
    window: Arc<WriteWindow>,
    /// Something was written since the last flush, and may lie in a buffer below.
    unflushed: bool,
}

impl<S> GuardedStream<S> {
    pub(super) fn new(stream: S, window: Arc<WriteWindow>) -> Self {
        Self { stream, window, unflushed: false }
    }

    fn permit_write(&mut self) -> io::Result<()> {
        self.window.permit()?;
        self.unflushed = true;
        Ok(())
    }

    /// With nothing left to flush, flushing and closing write no byte of the request: then neither a lapsed lease stands
    /// in their way, nor do they make a request that never began look like one that did.
    fn permit_flush(&self) -> io::Result<()> {
        if self.unflushed { self.window.permit() } else { Ok(()) }
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
        this.permit_write()?;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.permit_flush()?;
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.unflushed = false;
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.permit_flush()?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.permit_write()?;
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
    use tokio::io::{AsyncWriteExt as _, BufWriter};
    use tokio::time::sleep;

    fn window(write_until: Duration) -> Arc<WriteWindow> {
        Arc::new(WriteWindow::new(Arc::new(SystemClock), write_until))
    }

    #[tokio::test]
    async fn nothing_is_written_once_the_lease_has_lapsed() {
        let window = window(Duration::ZERO);
        let mut sent = Vec::new();
        let error = GuardedStream::new(&mut sent, Arc::clone(&window)).write_all(b"token").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(window.untouched());
        assert!(sent.is_empty());
    }

    /// A stream that has taken a token into its buffer, and whose lease lapses before any of it goes out.
    async fn lapsed_with_a_full_buffer(sent: &mut Vec<u8>) -> GuardedStream<BufWriter<&mut Vec<u8>>> {
        let life = Duration::from_millis(200);
        let mut stream = GuardedStream::new(BufWriter::new(sent), window(SystemClock.uptime() + life));
        stream.write_all(b"token").await.unwrap();
        sleep(life).await;
        stream
    }

    #[tokio::test]
    async fn what_a_layer_below_still_holds_is_not_flushed_once_the_lease_has_lapsed() {
        let mut sent = Vec::new();
        let refused = lapsed_with_a_full_buffer(&mut sent).await.flush().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(sent.is_empty());
    }

    #[tokio::test]
    async fn closing_sends_nothing_once_the_lease_has_lapsed() {
        let mut sent = Vec::new();
        let refused = lapsed_with_a_full_buffer(&mut sent).await.shutdown().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        assert!(sent.is_empty());
    }

    #[tokio::test]
    async fn with_nothing_to_flush_a_flush_neither_fails_nor_counts_as_a_write() {
        let window = window(Duration::ZERO);
        let mut sent = Vec::new();
        let mut stream = GuardedStream::new(&mut sent, Arc::clone(&window));
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(window.untouched());
    }

    #[tokio::test]
    async fn a_flush_after_the_request_has_gone_out_does_not_end_the_waiting_for_its_reply() {
        let life = Duration::from_millis(200);
        let mut sent = Vec::new();
        let mut stream = GuardedStream::new(BufWriter::new(&mut sent), window(SystemClock.uptime() + life));
        stream.write_all(b"token").await.unwrap();
        stream.flush().await.unwrap();
        sleep(life).await;
        stream.flush().await.unwrap();
        drop(stream);
        assert_eq!(sent, b"token");
    }

    #[tokio::test]
    async fn a_single_byte_written_means_that_nobody_knows() {
        let window = window(Duration::MAX);
        let mut sent = Vec::new();
        GuardedStream::new(&mut sent, Arc::clone(&window)).write_all(b"t").await.unwrap();
        assert!(!window.untouched());
    }
}
