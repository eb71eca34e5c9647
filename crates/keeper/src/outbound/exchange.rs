//! One exchange with a token endpoint: on a fresh connection, sent once, and never sent late.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::{OutboundRequest, Reply};
use jeton_core::time::Clock;
use rustls::{AlertDescription, ProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::dial::{Dialer, QueuedBytes};
use super::guard::{GuardedStream, WriteWindow};
use super::request_bytes::request_bytes;
use super::response::{Ending, ResponseReader, Unfinished};
use super::stream::Stream;
use crate::node::Node;

/// How long connecting may take: name lookup, TCP and TLS together. An endpoint that does not answer gives its turn to
/// others long before the end of the exchange.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reply may pause once it holds a whole JSON document: then its length is wrong, and nothing more comes.
const PAUSE: Duration = Duration::from_secs(1);

/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;

/// What became of an exchange.
#[derive(Debug)]
pub(crate) enum ExchangeOutcome {
    /// A whole reply came.
    Replied(Reply),
    /// Nothing was sent, or a server refused TLS before it read anything.
    NotSent {
        why: String,
        /// The reason lies in this process or its machine, and says nothing about the server.
        is_ours: bool,
    },
    /// Something was sent, and no whole reply came.
    Broken {
        why: String,
        /// The status and what came of the body.
        received: Option<(u16, Zeroizing<Vec<u8>>)>,
    },
}

/// Sends requests to token endpoints.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) node: Arc<Node>,
    dialer: Dialer,
}

impl Outbound {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let dialer = Dialer::new(&node.settings.outbound);
        Self { node, dialer }
    }

    /// As [`exchange`], by the clock of this node.
    pub(crate) async fn exchange(
        &self,
        request: OutboundRequest,
        timeout: Duration,
        write_until: Duration,
        recheck: impl Future<Output = Result<(), String>>,
    ) -> ExchangeOutcome {
        let clock = Arc::clone(&self.node.clock) as _;
        exchange(&self.dialer, &clock, request, timeout, write_until, recheck).await
    }
}

/// Sends `request` once, within `timeout`. No byte of it is written once the clock that counts suspension has
/// reached `write_until`, nor when `recheck`, which runs once the connection is ready, objects.
pub(crate) async fn exchange(
    dialer: &Dialer,
    clock: &Arc<dyn Clock>,
    request: OutboundRequest,
    timeout: Duration,
    write_until: Duration,
    recheck: impl Future<Output = Result<(), String>>,
) -> ExchangeOutcome {
    let deadline = Instant::now() + timeout;
    let connecting = async {
        let ours = |why| (why, true);
        let bytes = request_bytes(&request).map_err(ours)?;
        let queued = QueuedBytes::DropAt(deadline);
        let limit = CONNECT_TIMEOUT.min(timeout);
        let dialled = dialer.connect(&request.endpoint(), queued, limit).await;
        let stream = dialled.map_err(|error| (error.to_string(), error.is_ours()))?;
        recheck.await.map_err(ours)?;
        Ok((bytes, stream))
    };
    let late = |_| Err((format!("the provider was not reached within {} s", timeout.as_secs_f32()), false));
    let (bytes, stream) = match timeout_at(deadline, connecting).await.unwrap_or_else(late) {
        Ok(connected) => connected,
        Err((why, is_ours)) => return ExchangeOutcome::NotSent { why, is_ours },
    };
    let window = Arc::new(WriteWindow::new(Arc::clone(clock), write_until));
    let host = request.url.host_str().unwrap_or_default();
    let server =
        Server { name: format!("`{host}` at {}", stream.peer), tls: stream.tls_version(), deadline, timeout };
    server.talk(GuardedStream::new(stream, Arc::clone(&window)), &window, &bytes).await
}

/// Who is talked to, and until when.
struct Server {
    name: String,
    tls: Option<ProtocolVersion>,
    deadline: Instant,
    timeout: Duration,
}

impl Server {
    /// Sends a request and reads its reply, both at once: a server may answer before it has read all, and close.
    async fn talk(
        &self,
        stream: GuardedStream<Stream>,
        window: &WriteWindow,
        request: &[u8],
    ) -> ExchangeOutcome {
        let (mut incoming, mut outgoing) = tokio::io::split(stream);
        let mut sending = pin!(async {
            outgoing.write_all(request).await?;
            outgoing.flush().await
        });
        let mut sent: Option<io::Result<()>> = None;
        let mut reader = ResponseReader::new();
        let mut piece = Zeroizing::new(vec![0; PIECE]);
        let mut wake = self.deadline;
        let ending = loop {
            let read = tokio::select! {
                biased;
                result = &mut sending, if sent.is_none() => match result {
                    Err(error) if window.untouched() => {
                        return ExchangeOutcome::NotSent { why: error.to_string(), is_ours: true };
                    }
                    // A server that refused to read on may have said why.
                    result => {
                        sent = Some(result);
                        continue;
                    }
                },
                read = timeout_at(wake, incoming.read(&mut piece)) => read,
            };
            match read {
                Ok(Ok(0)) => break self.closed(),
                Ok(Ok(length)) => match reader.push(&piece[..length]) {
                    Ok(()) if reader.is_complete() => break self.closed(),
                    Ok(()) => wake = self.deadline.min(Instant::now() + PAUSE),
                    Err(why) => return ExchangeOutcome::Broken { why, received: None },
                },
                Ok(Err(error)) => {
                    if let Some(alert) = self.refusal_of_handshake(&error).filter(|_| reader.is_empty()) {
                        let server = &self.name;
                        let why =
                            format!("no TLS with {server}: the server sent the fatal alert `{alert:?}`");
                        return ExchangeOutcome::NotSent { why, is_ours: false };
                    }
                    break self.failed(&error);
                }
                Err(_) if wake == self.deadline => {
                    let what = format!("{} s had passed", self.timeout.as_secs_f32());
                    break Ending { in_order: false, what };
                }
                Err(_) if reader.holds_whole_document() => {
                    break Ending {
                        in_order: false,
                        what: format!("nothing more came for {} s", PAUSE.as_secs_f32()),
                    };
                }
                Err(_) => wake = self.deadline,
            }
        };
        let unsent = sent.and_then(Result::err).filter(|_| reader.is_empty());
        match (reader.finish(&ending), unsent) {
            (Ok(reply), _) => ExchangeOutcome::Replied(reply),
            (Err(Unfinished { received, .. }), Some(error)) => {
                ExchangeOutcome::Broken { why: format!("it could not be sent whole: {error}"), received }
            }
            (Err(Unfinished { why, received }), None) => ExchangeOutcome::Broken { why, received },
        }
    }

    /// An alert that says that the server did not accept the handshake, and so has read nothing that came after it. With TLS 1.3
    /// a client may send before the server has judged its certificate (RFC 8446, section 4.4.2.4); with TLS 1.2 it may not.
    fn refusal_of_handshake(&self, error: &io::Error) -> Option<AlertDescription> {
        alert_of(error)
            .filter(|alert| self.tls == Some(ProtocolVersion::TLSv1_3) && refuses_handshake(*alert))
    }

    /// The server closed the connection as its protocols ask for.
    fn closed(&self) -> Ending {
        let how = if self.tls.is_some() { "ended TLS" } else { "closed the TCP connection" };
        Ending { in_order: true, what: format!("the server {how}") }
    }

    /// The connection ended otherwise.
    fn failed(&self, error: &io::Error) -> Ending {
        let what = match (error.kind(), alert_of(error)) {
            (_, Some(alert)) => format!("the server sent the TLS alert `{alert:?}`"),
            (io::ErrorKind::UnexpectedEof, _) if self.tls.is_some() => {
                "the server closed the TCP connection without ending TLS (no close_notify)".to_owned()
            }
            (io::ErrorKind::ConnectionReset, _) => "the TCP connection was reset".to_owned(),
            _ => {
                let layer = if self.tls.is_some() { "TLS" } else { "TCP" };
                format!("the {layer} connection failed ({error})")
            }
        };
        Ending { in_order: false, what }
    }
}

fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Whether an alert is one with which a server refuses a client, its certificate or what it offers.
fn refuses_handshake(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity
            | AlertDescription::UnrecognisedName
            | AlertDescription::NoApplicationProtocol
    )
}
