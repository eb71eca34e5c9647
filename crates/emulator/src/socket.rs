//! The socket under a connection, and what it knows about an answer: was it handed over whole, is the client still there?

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use jeton_core::secret::Secret;
use tokio::net::TcpStream;

use crate::state::SharedState;

/// What is known about the answer of the one token request of a connection.
pub(crate) struct Delivery {
    shared: Arc<SharedState>,
    exchange: OnceLock<(u64, Option<Secret>)>,
    /// The last byte of the answer has been taken by the writer of the connection.
    body_taken: AtomicBool,
}

impl Delivery {
    pub(crate) fn new(shared: Arc<SharedState>) -> Self {
        Self { shared, exchange: OnceLock::new(), body_taken: AtomicBool::new(false) }
    }

    /// Says which record the connection is about. A token answer closes its connection, so there is one at most.
    pub(crate) fn belongs_to(&self, sequence: u64, presented: Option<&str>) {
        self.exchange
            .set((sequence, presented.map(Secret::new)))
            .expect("a connection closes after its first token request");
    }

    pub(crate) fn body_taken(&self) {
        self.body_taken.store(true, Ordering::Release);
    }

    pub(crate) fn client_left(&self) {
        if let Some((sequence, presented)) = self.exchange.get() {
            self.shared.client_left(*sequence, presented.as_ref().map(Secret::reveal));
        }
    }

    /// The writer has no byte left that the system has not taken.
    fn flushed(&self) {
        if self.body_taken.load(Ordering::Acquire) {
            self.finish(true);
        }
    }

    fn finish(&self, reply_written: bool) {
        if let Some((sequence, presented)) = self.exchange.get() {
            self.shared.finish(*sequence, presented.as_ref().map(Secret::reveal), reply_written);
        }
    }
}

impl Drop for Delivery {
    /// The connection is gone: what was not written by now never will be.
    fn drop(&mut self) {
        self.finish(false);
    }
}

/// A TCP stream that tells a [`Delivery`] when everything has been written.
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    delivery: Arc<Delivery>,
}

impl Socket {
    pub(crate) fn new(stream: Arc<TcpStream>, delivery: Arc<Delivery>) -> Self {
        Self { stream, delivery }
    }
}

/// Waits until the other side has closed its connection.
pub(crate) async fn closed_by_peer(stream: &TcpStream) {
    let mut byte = [0];
    loop {
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            // Bytes beyond the request: the peer is there, and will not be looked at again before the answer is written.
            Ok(_) => std::future::pending().await,
        }
    }
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 8 * 1024];
        let room = buffer.remaining().min(bytes.len());
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(&mut bytes[..room]) {
                Ok(count) => {
                    buffer.put_slice(&bytes[..count]);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Write for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Called once the writer's own buffer is empty; TCP keeps nothing back that could be flushed further.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.delivery.flushed();
        Poll::Ready(Ok(()))
    }

    /// The stream closes when its last owner drops it, which follows at once.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
