//! One running emulator.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::behaviour::{Behaviour, Fault};
use crate::grants::EmulatedGrant;
use crate::provider_server::ProviderServer;
use crate::record::{EmulatedGrantId, RequestRecord, Stats};
use crate::server::{PortState, Server};
use crate::settings::Settings;
use crate::state::SharedState;

/// A running emulated provider. It stops when it is shut down or dropped.
pub struct Emulator {
    address: SocketAddr,
    shared: Arc<SharedState>,
    tasks: TaskTracker,
    stop: CancellationToken,
    open: watch::Sender<bool>,
    is_open: watch::Receiver<PortState>,
}

impl Emulator {
    /// Starts a provider on the clock of this machine.
    ///
    /// # Errors
    /// The address is not a loopback address, or is taken.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        Self::start_with_clock(settings, Arc::new(SystemClock)).await
    }

    /// Starts a provider whose tokens expire by `clock`; delays run on the timer of the runtime.
    ///
    /// # Errors
    /// The address is not a loopback address, or is taken.
    pub async fn start_with_clock(settings: Settings, clock: Arc<dyn Clock>) -> io::Result<Self> {
        if !settings.listen.ip().is_loopback() {
            let why = format!("the emulator listens on loopback only, not on {}", settings.listen.ip());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(SharedState::new(&settings, clock));
        let (open, wanted) = watch::channel(true);
        let (opened, is_open) = watch::channel(PortState::Open);
        let provider = settings.emulation.clone().map(|emulation| Arc::new(ProviderServer::new(emulation)));
        let server = Server {
            settings: Arc::new(settings),
            provider,
            shared: Arc::clone(&shared),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let (tasks, stop) = (server.tasks.clone(), server.stop.clone());
        tasks.spawn(server.listen(listener, wanted, opened));
        Ok(Self { address, shared, tasks, stop, open, is_open })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.base_url())
    }

    /// The revocation endpoint (RFC 7009).
    pub fn revoke_url(&self) -> String {
        format!("{}/revoke", self.base_url())
    }

    /// The protected resource: any method, any path below it.
    pub fn api_base(&self) -> String {
        format!("{}/api", self.base_url())
    }

    /// Makes `count` grants; answers the first refresh token of each.
    pub fn mint(&self, count: usize) -> Vec<Secret> {
        let now = self.shared.now();
        let mut state = self.shared.lock();
        (0..count).map(|_| state.grants.mint(now)).collect()
    }

    /// The grant that a refresh token belongs to, whether it is spent or not.
    pub fn grant_of(&self, refresh_token: &str) -> Option<EmulatedGrantId> {
        self.shared.lock().grants.grant_of(refresh_token)
    }

    /// How every grant stands, in the order they were minted.
    pub fn grants(&self) -> Vec<EmulatedGrant> {
        self.shared.lock().grants.states()
    }

    /// Ends an access token early, as a provider may at any time. False when it was not alive.
    pub fn revoke_access(&self, access_token: &str) -> bool {
        self.shared.lock().grants.revoke_access(access_token)
    }

    /// Ends the grant that a refresh token belongs to. False when there is none that lives.
    pub fn revoke_grant(&self, refresh_token: &str) -> bool {
        self.shared.lock().grants.revoke_refresh(refresh_token)
    }

    /// Whether an access token is good now.
    pub fn accepts(&self, access_token: &str) -> bool {
        let now = self.shared.now();
        self.shared.lock().grants.accepts(access_token, now)
    }

    /// Whether an access token died because its grant was ended, and not of age or by itself.
    pub fn died_with_grant(&self, access_token: &str) -> bool {
        self.shared.lock().grants.died_with_grant(access_token)
    }

    /// Changes how the requests to come are treated; those under way keep their fault.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.shared.lock().behaviour = behaviour;
    }

    /// Adds faults to the end of the queue; chances stay as they are.
    pub fn enqueue(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().behaviour.queue.extend(faults);
    }

    /// The counts since the start.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats
    }

    /// The token requests, oldest first.
    pub fn records(&self) -> Vec<RequestRecord> {
        self.shared.records()
    }

    /// Waits until no token request is under way. False when that took longer than `patience`.
    pub async fn wait_until_idle(&self, patience: Duration) -> bool {
        let settled = async {
            loop {
                let finished = self.shared.finished.notified();
                tokio::pin!(finished);
                // Registered before looking, so that an end between the look and the wait is not missed.
                finished.as_mut().enable();
                if self.stats().in_flight == 0 {
                    return;
                }
                finished.await;
            }
        };
        tokio::time::timeout(patience, settled).await.is_ok()
    }

    /// Closes the port, so that connections are refused. Those that stand are not touched.
    ///
    /// # Errors
    /// The emulator has been stopped.
    pub async fn refuse_connections(&mut self) -> io::Result<()> {
        self.set_open(false).await
    }

    /// Opens the port again after [`refuse_connections`](Self::refuse_connections).
    ///
    /// # Errors
    /// The emulator has been stopped, or somebody else has taken the port meanwhile.
    pub async fn accept_connections(&mut self) -> io::Result<()> {
        self.set_open(true).await
    }

    async fn set_open(&mut self, open: bool) -> io::Result<()> {
        let stopped = |_| io::Error::new(io::ErrorKind::NotConnected, "the emulator has been stopped");
        let is_open = *self.is_open.borrow_and_update() == PortState::Open;
        if is_open == open {
            // Also after an opening that failed: nothing listens, and nothing shall try again.
            self.open.send_replace(open);
            return Ok(());
        }
        self.open.send_replace(open);
        self.is_open.changed().await.map_err(stopped)?;
        match &*self.is_open.borrow_and_update() {
            PortState::Stuck(why) => Err(io::Error::new(io::ErrorKind::AddrInUse, why.clone())),
            PortState::Open | PortState::Closed => Ok(()),
        }
    }

    /// Stops: open connections are cut, and all tasks have ended when this returns.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Emulator")
            .field("address", &self.address)
            .field("stats", &stats)
            .finish_non_exhaustive()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
