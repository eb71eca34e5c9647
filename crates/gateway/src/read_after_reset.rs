//! A connection to an API whose answer is read although the API reads no more.
//!
//! An API may answer before it has read the whole request, and close (RFC 9112, section 9.6). Then writing the rest fails
//! while the answer lies in this machine. So a failed write waits, and the reader finds the answer, or how it ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that can be read to its end after a write has failed.
#[derive(Debug)]
pub(crate) struct ReadAfterReset<S> {
    stream: S,
    /// The peer does not take what is written any more.
    refused: bool,
}

impl<S> ReadAfterReset<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, refused: false }
    }

    fn wait_if_refused<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) if is_reset(error.kind()) => {
                self.refused = true;
                // What lies there to be read may have come since it was looked for last.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }
}

fn is_reset(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
    )
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAfterReset<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        // The write took the error of the socket, whose reader sees a regular end then. It was none: an answer without a
        // length would look whole.
        if this.refused && matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAfterReset<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Pending;
        }
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wait_if_refused(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Pending;
        }
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, pieces);
        this.wait_if_refused(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refused {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.wait_if_refused(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_after_its_sender_closed_and_its_end_is_no_regular_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut client = ReadAfterReset::new(client);
        client.write_all(b"unread").await.unwrap();
        server.readable().await.unwrap();
        server.write_all(b"answer").await.unwrap();
        // What was not read makes it a reset.
        drop(server);
        let failing = async { while client.write_all(&vec![0; 64 * 1024]).await.is_ok() {} };
        assert!(timeout(Duration::from_millis(300), failing).await.is_err(), "a failed write waits");
        let mut answer = [0; 6];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        assert_eq!(client.read(&mut answer).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
