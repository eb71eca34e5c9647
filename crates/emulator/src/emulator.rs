//! One running emulator.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::secret::Secret;
use jeton_core::time::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::behaviour::{Behaviour, Fault};
use crate::grants::EmulatedGrant;
use crate::provider_server::ProviderServer;
use crate::record::{EmulatedGrantId, RequestRecord, Stats};
use crate::server::Server;
use crate::settings::Settings;
use crate::state::SharedState;

/// A running emulated provider. It stops when it is shut down or dropped.
pub struct Emulator {
    address: SocketAddr,
    server: Server,
    /// The task that accepts connections, and what ends it; absent while the port is closed.
    listening: Option<(JoinHandle<Option<()>>, CancellationToken)>,
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
        let server = Server {
            shared: Arc::new(SharedState::new(&settings, clock)),
            provider: settings.emulation.clone().map(|emulation| Arc::new(ProviderServer::new(emulation))),
            settings: Arc::new(settings),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let mut emulator = Self { address, server, listening: None };
        emulator.listen(listener);
        Ok(emulator)
    }

    fn listen(&mut self, listener: TcpListener) {
        let close = self.server.stop.child_token();
        let accepting = close.clone().run_until_cancelled_owned(self.server.clone().listen(listener));
        self.listening = Some((self.server.tasks.spawn(accepting), close));
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

    /// The protected resource: any method, any path below it.
    pub fn api_base(&self) -> String {
        format!("{}/api", self.base_url())
    }

    /// Makes `count` grants; answers the first refresh token of each.
    pub fn mint(&self, count: usize) -> Vec<Secret> {
        let now = self.server.shared.now();
        let mut state = self.server.shared.lock();
        (0..count).map(|_| state.grants.mint(now)).collect()
    }

    /// The grant that a refresh token belongs to, whether it is spent or not.
    pub fn grant_of(&self, refresh_token: &str) -> Option<EmulatedGrantId> {
        self.server.shared.lock().grants.grant_of(refresh_token)
    }

    /// How every grant stands, in the order they were minted.
    pub fn grants(&self) -> Vec<EmulatedGrant> {
        self.server.shared.lock().grants.states()
    }

    /// Ends an access token early, as a provider may at any time. False when it was not alive.
    pub fn revoke_access(&self, access_token: &str) -> bool {
        self.server.shared.lock().grants.revoke_access(access_token)
    }

    /// Ends the grant that a refresh token belongs to. False when there is none that lives.
    pub fn revoke_grant(&self, refresh_token: &str) -> bool {
        self.server.shared.lock().grants.revoke_refresh(refresh_token)
    }

    /// Whether an access token is good now.
    pub fn accepts(&self, access_token: &str) -> bool {
        let now = self.server.shared.now();
        self.server.shared.lock().grants.accepts(access_token, now)
    }

    /// Whether an access token died because its grant was ended, and not of age or by itself.
    pub fn died_with_grant(&self, access_token: &str) -> bool {
        self.server.shared.lock().grants.died_with_grant(access_token)
    }

    /// Changes how the requests to come are treated; those under way keep their fault.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.server.shared.lock().behaviour = behaviour;
    }

    /// Adds faults to the end of the queue; chances stay as they are.
    pub fn enqueue(&self, faults: impl IntoIterator<Item = Fault>) {
        self.server.shared.lock().behaviour.queue.extend(faults);
    }

    /// The counts since the start.
    pub fn stats(&self) -> Stats {
        self.server.shared.lock().stats
    }

    /// The token requests, oldest first.
    pub fn records(&self) -> Vec<RequestRecord> {
        self.server.shared.records()
    }

    /// Waits until no token request is under way. False when that took longer than `patience`.
    pub async fn wait_until_idle(&self, patience: Duration) -> bool {
        let settled = async {
            loop {
                let finished = self.server.shared.finished.notified();
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
    pub async fn refuse_connections(&mut self) {
        if let Some((task, close)) = self.listening.take() {
            close.cancel();
            // The port is closed once the task is gone, however it ended.
            let _ = task.await;
        }
    }

    /// Opens the port again after [`refuse_connections`](Self::refuse_connections).
    ///
    /// # Errors
    /// Somebody else has taken the port meanwhile.
    pub async fn accept_connections(&mut self) -> io::Result<()> {
        if self.listening.is_none() {
            self.listen(TcpListener::bind(self.address).await?);
        }
        Ok(())
    }

    /// Stops: open connections are cut, and all tasks have ended when this returns.
    pub async fn shutdown(self) {
        self.server.stop.cancel();
        self.server.tasks.close();
        self.server.tasks.wait().await;
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
        self.server.stop.cancel();
    }
}
