//! The open connections of a server: how many there may be, and which give way to a new one.
//!
//! Anybody can open connections and say nothing. So a new connection is always admitted while another one is idle: the idle
//! one is closed, first those whose caller never showed a valid credential, the longest idle one first. One that has a
//! request under way is never closed for another, but for one that sends its request where no credential is needed: it may never
//! send the rest.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use hyper::Version;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use jeton_issuer::Caller;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a connection must be idle to give way: what has just been accepted may have a request that was not read yet.
const MIN_IDLE: Duration = Duration::from_secs(1);

/// How often it is looked whether one may give way, while one more waits.
const RETRY_DELAY: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct IdleConnection {
    since: Instant,
    give_way: CancellationToken,
}

/// The idle ones, numbered in the order in which they became idle.
#[derive(Debug, Default)]
struct IdleConnections {
    unauthenticated: BTreeMap<u64, IdleConnection>,
    authenticated: BTreeMap<u64, IdleConnection>,
    last_number: u64,
}

impl IdleConnections {
    fn class(&mut self, authenticated: bool) -> &mut BTreeMap<u64, IdleConnection> {
        if authenticated { &mut self.authenticated } else { &mut self.unauthenticated }
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct OpenConnections {
    permits: Arc<Semaphore>,
    idle: Mutex<IdleConnections>,
}

impl OpenConnections {
    /// Admits at most `limit` at once.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            idle: Mutex::default(),
        })
    }

    /// Waits until one more fits. If none does, an idle one is closed; while none is idle, it waits.
    pub(crate) async fn admit(self: &Arc<Self>) -> OpenConnection {
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        let mut wait = Duration::ZERO;
        let mut has_closed = false;
        let permit = loop {
            if let Ok(permit) = timeout(wait, &mut permit).await {
                break permit.expect("the semaphore is never closed");
            }
            wait = RETRY_DELAY;
            has_closed = has_closed || self.close_one_idle();
        };
        OpenConnection::new(Arc::clone(self), permit)
    }

    /// Closes the idle connection that gives way first; whether there is one.
    pub(crate) fn close_one_idle(&self) -> bool {
        let mut idle = self.idle.lock();
        for authenticated in [false, true] {
            let class = idle.class(authenticated);
            if let Some(oldest) = class.first_entry()
                && oldest.get().since.elapsed() >= MIN_IDLE
            {
                oldest.remove().give_way.cancel();
                return true;
            }
        }
        false
    }
}

/// One of them, with its permit.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    all: Arc<OpenConnections>,
    state: Mutex<ConnectionState>,
    give_way: CancellationToken,
    /// The caller speaks HTTP/1.0, where an answer may end with its connection.
    answers_end_with_connection: AtomicBool,
    /// A request was answered before it was read to its end.
    left_unread: AtomicBool,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct ConnectionState {
    authenticated: bool,
    /// Its number while it is idle.
    idle: Option<u64>,
    /// How many requests are under way: HTTP/2 carries several at once.
    under_way: usize,
}

impl OpenConnection {
    /// It is idle until its first request is read.
    fn new(all: Arc<OpenConnections>, permit: OwnedSemaphorePermit) -> Self {
        let new = Self {
            all,
            state: Mutex::default(),
            give_way: CancellationToken::new(),
            answers_end_with_connection: AtomicBool::new(false),
            left_unread: AtomicBool::new(false),
            _permit: permit,
        };
        new.become_idle(&mut new.state.lock());
        new
    }

    /// Ready once it must be closed at once, for another one.
    pub(crate) async fn must_give_way(&self) {
        self.give_way.cancelled().await;
    }

    /// Whether its caller has shown a valid credential.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.state.lock().authenticated
    }

    /// Whether no request is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.state.lock().idle.is_some()
    }

    /// Whether the end of the connection may be all that says where an answer ends.
    pub(crate) fn answers_end_with_connection(&self) -> bool {
        self.answers_end_with_connection.load(Ordering::Relaxed)
    }

    /// Whether the caller may still be sending what nobody reads.
    pub(crate) fn has_left_unread(&self) -> bool {
        self.left_unread.load(Ordering::Relaxed)
    }

    /// Remembers that the caller may still be sending what nobody reads.
    pub(crate) fn leave_unread(&self) {
        self.left_unread.store(true, Ordering::Relaxed);
    }

    /// Remembers by the version of a request how its answer may end.
    pub(crate) fn note_version(&self, version: Version) {
        self.answers_end_with_connection.store(version < Version::HTTP_11, Ordering::Relaxed);
    }

    /// A request was read. `None` if the connection is being closed for another one: then nothing of it may be done.
    pub(crate) fn begin_request(self: &Arc<Self>) -> Option<RequestUnderWay> {
        let mut state = self.state.lock();
        // HTTP/2 carries several at once.
        let begins = if state.idle.is_some() { self.end_idle(&mut state) } else { state.under_way > 0 };
        state.under_way += usize::from(begins);
        begins.then(|| RequestUnderWay(Arc::clone(self)))
    }

    /// What `read` comes to, which waits for the rest of a request without a credential: meanwhile the connection gives way as an
    /// idle one does, unless it carries other requests. `None` if it is being closed for another one.
    pub(crate) async fn idle_while<T>(&self, read: impl Future<Output = T>) -> Option<T> {
        {
            let mut state = self.state.lock();
            if state.under_way <= 1 {
                self.become_idle(&mut state);
            }
        }
        let done = read.await;
        let mut state = self.state.lock();
        let stays =
            if state.idle.is_some() { self.end_idle(&mut state) } else { !self.give_way.is_cancelled() };
        stays.then_some(done)
    }

    /// Ready once no request has been under way for this long.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let number = self.state.lock().idle;
            sleep(limit).await;
            if number.is_some() && self.state.lock().idle == number {
                return;
            }
        }
    }

    /// Whoever stops waiting in [`OpenConnection::idle_while`] leaves it idle.
    fn become_idle(&self, state: &mut ConnectionState) {
        if state.idle.is_some() {
            return;
        }
        let mut idle = self.all.idle.lock();
        idle.last_number += 1;
        let number = idle.last_number;
        let connection = IdleConnection { since: Instant::now(), give_way: self.give_way.clone() };
        idle.class(state.authenticated).insert(number, connection);
        state.idle = Some(number);
    }

    /// Whether it was idle, and need not give way.
    fn end_idle(&self, state: &mut ConnectionState) -> bool {
        let Some(number) = state.idle.take() else { return false };
        self.all.idle.lock().class(state.authenticated).remove(&number).is_some()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.end_idle(&mut self.state.lock());
    }
}

/// A request of a connection that is not answered to its end. Dropped, it leaves the connection idle.
#[derive(Debug)]
pub(crate) struct RequestUnderWay(Arc<OpenConnection>);

impl RequestUnderWay {
    /// The answer, which ends the request when its body ends.
    pub(crate) fn answered(self, response: Response) -> Response {
        if response.extensions().get::<Caller>().is_some() {
            self.0.state.lock().authenticated = true;
        }
        response.map(|body| Body::new(AnswerBody { body, _under_way: self }))
    }
}

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            self.0.become_idle(&mut state);
        }
    }
}

struct AnswerBody {
    body: Body,
    _under_way: RequestUnderWay,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which is noted where nobody reads it to its end.
pub(crate) struct RequestBody {
    body: Incoming,
    ended: bool,
    open: Arc<OpenConnection>,
}

impl RequestBody {
    pub(crate) fn new(body: Incoming, open: Arc<OpenConnection>) -> Self {
        Self { ended: body.is_end_stream(), body, open }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.open.leave_unread();
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(all: &Arc<OpenConnections>, count: usize) -> Vec<Arc<OpenConnection>> {
        let mut open = Vec::new();
        for _ in 0..count {
            open.push(Arc::new(all.admit().await));
        }
        open
    }

    /// Which ones must give way so that one more is admitted.
    async fn given_way(all: &Arc<OpenConnections>, open: &[Arc<OpenConnection>]) -> Vec<usize> {
        assert!(timeout(MIN_IDLE * 2, all.admit()).await.is_err(), "nobody has left");
        (0..open.len()).filter(|index| open[*index].give_way.is_cancelled()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_one_gives_way_first_and_those_with_a_credential_last() {
        let all = OpenConnections::new(4);
        let open = open(&all, 4).await;
        let authenticated = open[0].begin_request().unwrap();
        open[0].state.lock().authenticated = true;
        drop(authenticated);
        // It is idle anew, and no longer the one that is idle longest.
        drop(open[1].begin_request());
        let busy = open[3].begin_request().unwrap();
        assert_eq!(given_way(&all, &open).await, [2]);
        assert_eq!(given_way(&all, &open).await, [1, 2]);
        assert_eq!(given_way(&all, &open).await, [0, 1, 2]);
        assert!(open[2].begin_request().is_none(), "what gives way begins nothing");
        assert_eq!(given_way(&all, &open).await, [0, 1, 2], "a request under way is left alone");
        drop(busy);
        assert_eq!(given_way(&all, &open).await, [0, 1, 2, 3]);
        drop(open);
        all.admit().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_just_accepted_has_time_for_its_request() {
        let all = OpenConnections::new(1);
        let first = Arc::new(all.admit().await);
        assert!(timeout(MIN_IDLE / 2, all.admit()).await.is_err());
        assert!(!first.give_way.is_cancelled());
        let gives_way = async {
            first.must_give_way().await;
            drop(first);
        };
        let begun = Instant::now();
        tokio::join!(all.admit(), gives_way);
        assert!(begun.elapsed() <= MIN_IDLE, "{:?}", begun.elapsed());
    }
}
