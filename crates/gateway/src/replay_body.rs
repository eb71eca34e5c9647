//! A request body that streams, and can be sent once more while it is small.
//!
//! What has been read is kept up to a limit. A second pass begins with that and goes on with what the caller still sends: the
//! API may refuse a call before it has read all of it. All calls share one [`ReplayBudget`]: a body that exceeds what is left
//! of it is treated like one beyond the limit.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Completes once the caller would not be admitted any more. Every part of its call holds a clone.
pub(crate) type AccessEnded = Shared<BoxFuture<'static, ()>>;

/// Why a body breaks off, in either direction.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyAborted {
    #[error("the caller broke off the body of its request")]
    ByCaller,
    #[error("the body is being sent again on another connection")]
    SentAgain,
    #[error("the caller's access has ended")]
    AccessEnded,
    #[error("the API broke off the body of its answer")]
    ByApi,
    #[error("the API sent nothing for too long")]
    Stalled,
}

/// The bytes that the bodies of all calls under way may still occupy.
#[derive(Debug)]
pub(crate) struct ReplayBudget(AtomicUsize);

impl ReplayBudget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn reserve(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The body of a caller's request, and what has been read of it.
#[derive(Clone)]
pub(crate) struct ReplayBody(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    length: Option<u64>,
    limit: usize,
    budget: Arc<ReplayBudget>,
    received: Arc<AtomicU64>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.budget.release(self.state.get_mut().kept.len());
    }
}

/// What may still come from the caller.
enum Source {
    Open(Body),
    Ended,
    /// The caller broke it off, or its access ended.
    Aborted,
}

struct State {
    source: Source,
    /// What was read, as long as all of it can be kept.
    kept: Vec<u8>,
    /// How many bytes were read.
    size: usize,
    /// More was read than can be kept.
    exceeded: bool,
    /// The number of the pass that may read.
    pass: u32,
    moved_at: Instant,
    /// Wakes the pass under way, which waits for more from the caller.
    waiting: Option<Waker>,
    /// Aborts the body, even long after the answer has been sent.
    access_ended: Option<AccessEnded>,
}

impl ReplayBody {
    /// Keeps up to `limit` bytes of `source` within the budget, and counts what arrives.
    pub(crate) fn new(
        source: Body,
        limit: usize,
        budget: Arc<ReplayBudget>,
        received: Arc<AtomicU64>,
    ) -> Self {
        let length = source.size_hint().exact();
        let state = State {
            source: if source.is_end_stream() { Source::Ended } else { Source::Open(source) },
            kept: Vec::new(),
            size: 0,
            exceeded: length.is_some_and(|length| length > limit as u64),
            pass: 0,
            moved_at: Instant::now(),
            waiting: None,
            access_ended: None,
        };
        Self(Arc::new(Inner { state: Mutex::new(state), length, limit, budget, received }))
    }

    /// Reads nothing more from the caller once its access has ended.
    pub(crate) fn abort_on(&self, access_ended: AccessEnded) {
        self.0.state.lock().access_ended = Some(access_ended);
    }

    /// The whole body, to be sent; passes before this one end. `None` where its beginning is gone.
    pub(crate) fn start(&self) -> Option<Body> {
        let mut state = self.0.state.lock();
        if state.exceeded && (state.size > 0 || state.pass > 0) {
            return None;
        }
        state.pass += 1;
        state.moved_at = Instant::now();
        // The source wakes the latest pass alone; the one before learns here that it has ended.
        if let Some(before) = state.waiting.take() {
            before.wake();
        }
        Some(Body::new(Pass { body: self.clone(), number: state.pass, next: 0 }))
    }

    /// Whether it can be sent once more.
    pub(crate) fn can_repeat(&self) -> bool {
        !self.0.state.lock().exceeded
    }

    /// Whether the caller broke it off, or its access ended.
    pub(crate) fn is_aborted(&self) -> bool {
        matches!(self.0.state.lock().source, Source::Aborted)
    }

    /// When a byte moved last, and whether the next one has to come from the caller.
    pub(crate) fn progress(&self) -> (Instant, bool) {
        let state = self.0.state.lock();
        (state.moved_at, state.waiting.is_some())
    }

    /// All of it, where it is small enough to be kept.
    pub(crate) async fn read_whole(&self) -> Result<Option<Bytes>, BodyAborted> {
        let Some(body) = self.start() else { return Ok(None) };
        let mut body = body.into_data_stream();
        let mut whole = Vec::new();
        while let Some(piece) = futures_util::StreamExt::next(&mut body).await {
            whole.extend_from_slice(&piece.map_err(|_| BodyAborted::ByCaller)?);
            if !self.can_repeat() {
                return Ok(None);
            }
        }
        Ok(Some(whole.into()))
    }

    fn poll(
        &self,
        number: u32,
        next: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyAborted>>> {
        let mut state = self.0.state.lock();
        if state.pass != number {
            return Poll::Ready(Some(Err(BodyAborted::SentAgain)));
        }
        if let Some(rest) = state.kept.get(next..).filter(|rest| !rest.is_empty()) {
            let rest = Bytes::copy_from_slice(rest);
            state.moved_at = Instant::now();
            return Poll::Ready(Some(Ok(rest)));
        }
        let has_ended = |access: &mut AccessEnded| access.poll_unpin(cx).is_ready();
        if matches!(state.source, Source::Open(_)) && state.access_ended.as_mut().is_some_and(has_ended) {
            state.source = Source::Aborted;
            return Poll::Ready(Some(Err(BodyAborted::AccessEnded)));
        }
        loop {
            let source = match &mut state.source {
                Source::Open(source) => source,
                Source::Ended => return Poll::Ready(None),
                // Never a regular end: half a body must not look whole, in a second pass neither.
                Source::Aborted => return Poll::Ready(Some(Err(BodyAborted::ByCaller))),
            };
            let polled = Pin::new(source).poll_frame(cx);
            state.waiting = polled.is_pending().then(|| cx.waker().clone());
            let frame = ready!(polled);
            state.moved_at = Instant::now();
            match frame {
                None => state.source = Source::Ended,
                Some(Err(_)) => {
                    state.source = Source::Aborted;
                    return Poll::Ready(Some(Err(BodyAborted::ByCaller)));
                }
                // Trailers concern one connection, and do not go on.
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.0.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
                        state.keep(&piece, self.0.limit, &self.0.budget);
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
            }
        }
    }
}

impl State {
    fn keep(&mut self, piece: &Bytes, limit: usize, budget: &ReplayBudget) {
        self.size = self.size.saturating_add(piece.len());
        if self.exceeded {
            return;
        }
        if self.size <= limit && budget.reserve(piece.len()) {
            // Copied: a slice would hold its whole buffer in memory, which the budget does not count.
            self.kept.extend_from_slice(piece);
        } else {
            self.exceeded = true;
            budget.release(self.kept.len());
            self.kept = Vec::new();
        }
    }
}

/// One pass over a body.
struct Pass {
    body: ReplayBody,
    number: u32,
    /// How many bytes it has sent.
    next: usize,
}

impl HttpBody for Pass {
    type Data = Bytes;
    type Error = BodyAborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyAborted>>> {
        let this = self.get_mut();
        let polled = ready!(this.body.poll(this.number, this.next, cx));
        if let Some(Ok(piece)) = &polled {
            this.next += piece.len();
        }
        Poll::Ready(polled.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.body.0.state.lock();
        matches!(state.source, Source::Ended) && state.pass == self.number && self.next >= state.kept.len()
    }

    fn size_hint(&self) -> SizeHint {
        // Read once, before the first piece, when the head is written.
        self.body.0.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    fn budget() -> Arc<ReplayBudget> {
        Arc::new(ReplayBudget::new(1024))
    }

    fn body(pieces: &[&'static str], limit: usize) -> ReplayBody {
        body_within(&budget(), pieces, limit)
    }

    fn body_within(budget: &Arc<ReplayBudget>, pieces: &[&'static str], limit: usize) -> ReplayBody {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes()))).collect();
        ReplayBody::new(Body::from_stream(stream::iter(pieces)), limit, Arc::clone(budget), Arc::default())
    }

    async fn text_of(body: Body) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_second_pass_repeats_what_was_read_and_goes_on_with_the_rest() {
        let body = body(&["ab", "cd", "ef"], 6);
        let mut first = body.start().unwrap();
        let piece = first.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece, "ab");
        let second = body.start().unwrap();
        assert!(first.frame().await.unwrap().is_err(), "only the latest pass reads on");
        assert_eq!(text_of(second).await, "abcdef");
        assert_eq!(text_of(body.start().unwrap()).await, "abcdef");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_sent_once() {
        let body = body(&["abc", "def"], 5);
        let first = body.start().unwrap();
        assert_eq!(text_of(first).await, "abcdef");
        assert!(!body.can_repeat());
        assert!(body.start().is_none());
    }

    #[tokio::test]
    async fn an_announced_length_beyond_the_limit_is_sent_once_and_nothing_is_kept() {
        let body = ReplayBody::new(Body::from("abcdef"), 5, budget(), Arc::default());
        assert!(!body.can_repeat());
        assert_eq!(text_of(body.start().unwrap()).await, "abcdef");
        assert!(body.0.state.lock().kept.is_empty());
        assert!(body.start().is_none());
    }

    #[tokio::test]
    async fn a_body_that_the_caller_broke_off_never_looks_whole() {
        let pieces = [Ok(Bytes::from_static(b"ab")), Err(std::io::Error::other("gone"))];
        let body = ReplayBody::new(Body::from_stream(stream::iter(pieces)), 6, budget(), Arc::default());
        assert!(body.start().unwrap().collect().await.is_err());
        assert!(body.is_aborted());
        assert!(body.start().unwrap().collect().await.is_err(), "nor does what is sent again");
        assert!(body.read_whole().await.is_err());
    }

    #[tokio::test]
    async fn a_whole_body_is_given_only_where_it_is_small() {
        assert_eq!(body(&["ab", "c"], 3).read_whole().await.unwrap().unwrap(), "abc");
        assert!(body(&["ab", "cd"], 3).read_whole().await.unwrap().is_none());
        assert_eq!(
            ReplayBody::new(Body::empty(), 3, budget(), Arc::default()).read_whole().await.unwrap().unwrap(),
            ""
        );
    }

    #[tokio::test]
    async fn a_body_beyond_the_budget_is_sent_once_and_each_call_returns_what_it_reserved() {
        let budget = Arc::new(ReplayBudget::new(6));
        let first = body_within(&budget, &["abcd"], 8);
        assert_eq!(text_of(first.start().unwrap()).await, "abcd");
        let second = body_within(&budget, &["ab", "cd", "ef"], 8);
        assert_eq!(text_of(second.start().unwrap()).await, "abcdef", "what is sent is whole");
        assert!(first.can_repeat() && !second.can_repeat());
        assert!(second.start().is_none());
        assert_eq!(budget.0.load(Ordering::Relaxed), 2, "what is not kept reserves nothing");
        drop(first);
        assert_eq!(budget.0.load(Ordering::Relaxed), 6);
        let third = body_within(&budget, &["abcdef"], 8);
        assert_eq!(text_of(third.start().unwrap()).await, "abcdef");
        assert!(third.can_repeat());
    }

    proptest! {
        #[test]
        fn no_more_than_the_limit_is_ever_kept(sizes in prop::collection::vec(0_usize..50, 0..20), limit in 0_usize..200) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let pieces: Vec<_> = sizes.iter().map(|size| Ok::<_, Infallible>(Bytes::from(vec![b'x'; *size]))).collect();
                let received = Arc::new(AtomicU64::new(0));
                let body = ReplayBody::new(Body::from_stream(stream::iter(pieces)), limit, budget(), Arc::clone(&received));
                let total: usize = sizes.iter().sum();
                let sent = body.start().unwrap().collect().await.unwrap().to_bytes();
                assert_eq!(sent.len(), total);
                assert_eq!(received.load(Ordering::Relaxed), total as u64);
                assert_eq!(body.can_repeat(), total <= limit);
                assert!(body.0.state.lock().kept.len() <= limit);
            });
        }
    }
}
