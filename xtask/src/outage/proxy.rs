//! A proxy in front of a token endpoint, which makes its outages and remembers every request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jeton_emulator::SeededEntropy;
use jeton_testkit::{FreePort, TestAuthority, TestServer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::journal::Journal;
use super::kind::{OutageKind, TLS_ALERT};

/// How requests are treated from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Treatment {
    /// How the endpoint is down; absent while it is not.
    pub(super) kind: Option<OutageKind>,
    /// How many of 100 requests meet the outage.
    pub(super) percent: u64,
    /// Replies that are on their way when the outage begins are lost.
    pub(super) loses_replies: bool,
    /// What `Retry-After` says, in seconds.
    pub(super) retry_after: u64,
    /// How long each reply of the provider takes.
    pub(super) latency: Duration,
}

impl Treatment {
    /// No outage.
    pub(super) const NONE: Self = Self {
        kind: None,
        percent: 100,
        loses_replies: false,
        retry_after: 1,
        latency: Duration::from_millis(20),
    };

    /// Every request meets an outage of this kind.
    pub(super) fn down(kind: OutageKind) -> Self {
        Self { kind: Some(kind), ..Self::NONE }
    }
}

/// A running proxy. It ends when it is dropped.
pub(super) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Reads requests, behind TLS where there is any.
    _inner: TestServer,
    /// TLS with a certificate that clients trust, and with another one.
    _tls: Option<[TestServer; 2]>,
    _end: DropGuard,
}

struct Shared {
    upstream: SocketAddr,
    began: Instant,
    treatment: watch::Sender<Treatment>,
    random: SeededEntropy,
    journal: Mutex<Journal>,
}

/// Where accepted connections go.
#[derive(Clone, Copy)]
struct Inside {
    usual: SocketAddr,
    /// The terminator of TLS whose certificate nobody trusts.
    untrusted: SocketAddr,
}

impl FaultProxy {
    /// A proxy by plain http.
    pub(super) async fn start(upstream: SocketAddr, seed: u64) -> Result<Self> {
        Self::begin(upstream, seed, None).await
    }

    /// A proxy with TLS, under this name.
    pub(super) async fn start_tls(
        upstream: SocketAddr,
        seed: u64,
        name: &str,
        authority: &TestAuthority,
    ) -> Result<Self> {
        Self::begin(upstream, seed, Some((name, authority))).await
    }

    async fn begin(upstream: SocketAddr, seed: u64, tls: Option<(&str, &TestAuthority)>) -> Result<Self> {
        let shared = Arc::new(Shared {
            upstream,
            began: Instant::now(),
            treatment: watch::Sender::new(Treatment::NONE),
            random: SeededEntropy::new(seed),
            journal: Mutex::default(),
        });
        let reading = Arc::clone(&shared);
        let inner = TestServer::accepting(move |client| {
            let shared = Arc::clone(&reading);
            async move { shared.exchange(client).await }
        });
        let inner = inner.await;
        let tls = match tls {
            None => None,
            Some((name, authority)) => {
                let untrusted = TestAuthority::new().tls_in_front_of(inner.address, name).await;
                Some([authority.tls_in_front_of(inner.address, name).await, untrusted])
            }
        };
        let inside = tls
            .as_ref()
            .map_or(Inside { usual: inner.address, untrusted: inner.address }, |[trusted, untrusted]| {
                Inside { usual: trusted.address, untrusted: untrusted.address }
            });
        // Found again after it was closed.
        let port = FreePort::find()?;
        let address = port.address();
        let listener = TcpListener::bind(address).await.context("listening as a proxy")?;
        let end = CancellationToken::new();
        let tasks = TaskTracker::new();
        let accepting = Arc::clone(&shared).accept(listener, port, inside, tasks.clone(), end.clone());
        tasks.spawn(end.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, shared, _inner: inner, _tls: tls, _end: end.drop_guard() })
    }

    /// Where clients find it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long it has run.
    pub(super) fn uptime(&self) -> Duration {
        self.shared.uptime()
    }

    /// Treats the requests to come like this.
    pub(super) fn treat(&self, treatment: Treatment) {
        self.shared.treatment.send_replace(treatment);
    }

    /// A refresh token belongs to a connection.
    pub(super) fn own(&self, connection: &str, refresh_token: &str) {
        self.shared.journal.lock().own(connection, refresh_token);
    }

    /// What it saw so far.
    pub(super) fn journal(&self) -> Journal {
        self.shared.journal.lock().clone()
    }

    /// How many requests are in progress.
    pub(super) fn in_progress(&self) -> usize {
        self.shared.journal.lock().requests.iter().filter(|request| request.ended.is_none()).count()
    }
}

impl Shared {
    fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// How the next request is treated, where it meets an outage.
    fn draw(&self) -> Option<OutageKind> {
        let treatment = *self.treatment.borrow();
        treatment.kind.filter(|_| self.random.between(0, 100) < treatment.percent)
    }

    /// Accepts connections, and closes the port where the outage asks for it.
    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        port: FreePort,
        inside: Inside,
        tasks: TaskTracker,
        end: CancellationToken,
    ) {
        let mut treatment = self.treatment.subscribe();
        let mut open = Some(listener);
        loop {
            let closed = treatment.borrow_and_update().kind == Some(OutageKind::Refused);
            if closed {
                open = None;
            } else if open.is_none() {
                open = TcpListener::bind(port.address()).await.ok();
            }
            let accepted = async {
                match &open {
                    Some(listener) => listener.accept().await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = treatment.changed() => if changed.is_err() { return },
                accepted = accepted => if let Some((stream, _)) = accepted {
                    let passing = Arc::clone(&self).pass(stream, inside);
                    tasks.spawn(end.clone().run_until_cancelled_owned(passing));
                },
            }
        }
    }

    /// Passes a connection on to where requests are read, unless the outage ends it before.
    async fn pass(self: Arc<Self>, mut client: TcpStream, inside: Inside) {
        let kind = self.treatment.borrow().kind;
        let target = match kind {
            Some(OutageKind::ResetBefore) => {
                self.turn_away();
                // Closed with a reset, whatever was sent.
                let _ = client.set_zero_linger();
                return;
            }
            Some(OutageKind::TlsAlert) => {
                self.turn_away();
                // The client may have gone.
                let _ = client.read(&mut [0; 4096]).await;
                let _ = client.write_all(&TLS_ALERT).await;
                return;
            }
            Some(OutageKind::WrongCertificate) => {
                self.turn_away();
                inside.untrusted
            }
            _ => inside.usual,
        };
        let Ok(mut server) = TcpStream::connect(target).await else { return };
        if copy_bidirectional(&mut client, &mut server).await.is_err() {
            // Either end was reset, and the other learns of it.
            let _ = client.set_zero_linger();
            let _ = server.set_zero_linger();
        }
    }

    fn turn_away(&self) {
        self.journal.lock().turned_away.push(self.uptime());
    }

    async fn exchange(&self, mut client: TcpStream) {
        let Some(request) = read_request(&mut client).await else { return };
        let number = self.journal.lock().begin(&request, self.uptime());
        let delivered = self.answer(&mut client, number, &request).await;
        let mut journal = self.journal.lock();
        journal.requests[number].ended = Some(self.uptime());
        journal.requests[number].delivered = delivered;
    }

    /// Answers a request; says whether the provider's reply was delivered.
    async fn answer(&self, client: &mut TcpStream, number: usize, request: &str) -> bool {
        match self.draw().filter(|kind| *kind != OutageKind::LostReply) {
            None => {}
            Some(OutageKind::Hang) => {
                // Until the client gives up.
                while matches!(client.read(&mut [0; 64]).await, Ok(1..)) {}
                return false;
            }
            Some(kind) => {
                let asked = self.treatment.borrow().retry_after;
                match kind.reply(asked) {
                    // The client may have gone.
                    Some(reply) => drop(client.write_all(reply.as_bytes()).await),
                    None => drop(client.set_zero_linger()),
                }
                return false;
            }
        }
        let Ok(reply) = self.forward(request).await else { return false };
        self.journal.lock().note_reply(number, &String::from_utf8_lossy(&reply));
        let latency = self.treatment.borrow().latency;
        sleep(latency).await;
        let now = *self.treatment.borrow();
        if now.loses_replies || now.kind == Some(OutageKind::LostReply) {
            // Closed with a reset.
            let _ = client.set_zero_linger();
            return false;
        }
        client.write_all(&reply).await.is_ok() && client.shutdown().await.is_ok()
    }

    async fn forward(&self, request: &str) -> std::io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.upstream).await?;
        server.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        server.read_to_end(&mut reply).await?;
        Ok(reply)
    }
}

/// The whole request; absent when the client goes before.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lines = head.to_ascii_lowercase();
        let length = lines.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}
