//! The socket of a caller, below HTTP: how it closes, and what it says to a request that HTTP could not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::RequestError;
use crate::limits::Limits;
use crate::open_connections::OpenConnection;
use crate::write_timeout::WriteTimeout;

/// How long a caller may send nothing of a request that was answered before it was read whole.
const LINGER_IDLE: Duration = Duration::from_secs(2);

/// How long such a caller may go on sending in all.
const LINGER: Duration = Duration::from_secs(30);

/// The longest answer that HTTP itself writes to a request that it cannot read.
const LONGEST_BARE_ANSWER: usize = 256;

/// The socket of a caller.
pub(crate) struct CallerStream {
    stream: WriteTimeout<TcpStream>,
    open: Arc<OpenConnection>,
    limits: Limits,
    /// Bytes came since the last request was answered.
    has_read_more: bool,
    /// What is left to write of the answer in the place of the one that HTTP wrote itself.
    refusal: Option<Vec<u8>>,
    close: Close,
}

/// How far closing has come.
enum Close {
    NotBegun,
    /// What the caller still sends is read, until it closes too.
    Lingering {
        until: Instant,
        idle: Pin<Box<Sleep>>,
    },
    Done,
}

impl CallerStream {
    pub(crate) fn new(stream: TcpStream, open: Arc<OpenConnection>, limits: Limits) -> Self {
        let stream = WriteTimeout::new(stream, limits.write_timeout);
        Self { stream, open, limits, has_read_more: false, refusal: None, close: Close::NotBegun }
    }

    /// The answer in the place of one that HTTP wrote itself, because it could not read the request: without a body, that one
    /// says nothing. HTTP writes it while no request is under way and after it has read something.
    fn begin_refusal(&mut self, bytes: &[u8]) {
        if self.has_read_more
            && bytes.len() <= LONGEST_BARE_ANSWER
            && self.open.is_idle()
            && let Some(status) = bare_status(bytes)
        {
            self.has_read_more = false;
            self.refusal = Some(refusal(status, &self.limits));
            // The rest of the request may still be on its way.
            self.open.leave_unread();
        }
    }

    /// Writes what is left of the refusal. Ready without one, and once it is written.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = &mut self.refusal {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            rest.drain(..written);
            if rest.is_empty() {
                self.refusal = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and drops what the caller still sends. Closing while bytes lie unread would reset the connection, and the caller
    /// would lose the answer (RFC 9112, section 9.6).
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Close::Lingering { until, idle } = &mut self.close else { return Poll::Ready(()) };
        let mut bytes = [0; 8 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    idle.as_mut().reset((Instant::now() + LINGER_IDLE).min(*until));
                    if Instant::now() >= *until {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return idle.as_mut().poll(cx),
            }
        }
    }
}

/// The status of an answer that HTTP wrote itself: nothing but these headers, and no body.
fn bare_status(bytes: &[u8]) -> Option<StatusCode> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.strip_prefix("HTTP/1.1 ")?.strip_suffix("\r\n\r\n")?.split("\r\n");
    let status: StatusCode = lines.next()?.get(..3)?.parse().ok()?;
    let known = ["connection: close", "content-length: 0"];
    let is_bare = lines.all(|line| known.contains(&line) || line.starts_with("date: "));
    (is_bare && text.contains("\r\ncontent-length: 0\r\n") && status.is_client_error()).then_some(status)
}

fn refusal(status: StatusCode, limits: &Limits) -> Vec<u8> {
    let error = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
            RequestError::HeadTooLarge { bytes: limits.header_bytes, lines: limits.header_lines }
        }
        _ => RequestError::UnreadableHead,
    };
    let problem = error.problem();
    let body = serde_json::to_string(&problem).expect("texts and numbers are always JSON");
    let reason = status.canonical_reason().unwrap_or_default();
    let (status, code, length) = (problem.status, problem.code, body.len());
    format!(
        "HTTP/1.1 {status} {reason}\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nx-jeton-error: {code}\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Drop for CallerStream {
    /// Where an answer ends with its connection, a regular end would make a half look whole (HTTP/1.0, RFC 9112, section 8).
    fn drop(&mut self) {
        if matches!(self.close, Close::NotBegun)
            && self.open.answers_end_with_connection()
            && let Err(error) = self.stream.get_ref().set_zero_linger()
        {
            tracing::debug!(%error, "a connection cannot be reset, and an answer may look whole");
        }
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.has_read_more |= buf.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refusal.is_none() {
            self.begin_refusal(bytes);
        }
        if self.refusal.is_some() {
            ready!(self.poll_refusal(cx))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [one] => self.poll_write(cx, one),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.close, Close::NotBegun) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let until = Instant::now() + LINGER;
            self.close = if self.open.has_left_unread() {
                Close::Lingering { until, idle: Box::pin(sleep_until(Instant::now() + LINGER_IDLE)) }
            } else {
                Close::Done
            };
        }
        ready!(self.poll_linger(cx));
        self.close = Close::Done;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_http_wrote_itself_is_replaced() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\
                    date: Sat, 28 Nov 2026 00:00:00 GMT\r\n\r\n";
        assert_eq!(bare_status(bare.as_bytes()).unwrap(), 431);
        for ours in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nx-own: 1\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "",
        ] {
            assert_eq!(bare_status(ours.as_bytes()), None, "{ours}");
        }
    }
}
