//! The way to a server, as a network makes it: it may go silent, with nobody told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// A way to a server of this machine. It ends with the runtime of its test.
pub(super) struct Proxy {
    port: u16,
    cut: watch::Sender<()>,
    open: Arc<AtomicBool>,
    server: Arc<AtomicU16>,
}

impl Proxy {
    pub(super) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cut, cuts) = watch::channel(());
        let (open, tasks) = (Arc::new(AtomicBool::new(true)), TaskTracker::new());
        let server = Arc::new(AtomicU16::new(server));
        let (is_open, matches_template) = (Arc::clone(&open), Arc::clone(&server));
        tasks.clone().spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut cuts = cuts.clone();
                let (is_open, server) =
                    (is_open.load(Ordering::SeqCst), matches_template.load(Ordering::SeqCst));
                cuts.mark_unchanged();
                tasks.spawn(async move {
                    if !is_open {
                        std::future::pending::<()>().await;
                    }
                    let mut far = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::select! {
                        ended = copy_bidirectional(&mut near, &mut far) => drop(ended),
                        // Both ends stay open, and neither hears of the other any more.
                        Ok(()) = cuts.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, cut, open, server }
    }

    /// The URL of a database behind it.
    pub(super) fn url(&self, direct: &str, server: u16) -> String {
        direct.replace(&format!(":{server}/"), &format!(":{}/", self.port))
    }

    /// Who connects from now on hears nothing, or gets through again.
    pub(super) fn let_in(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }

    /// Who connects from now on comes to this server.
    pub(super) fn lead_to(&self, server: u16) {
        self.server.store(server, Ordering::SeqCst);
    }

    /// Whatever is connected now is silent from here on; who connects later is not.
    pub(super) fn fall_silent(&self) {
        self.cut.send_replace(());
    }
}

/// A place that takes connections and never says a word.
pub(super) struct SilentServer {
    listener: std::net::TcpListener,
}

impl SilentServer {
    pub(super) fn new() -> Self {
        Self { listener: std::net::TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }
}
