//! A request body that streams, and can be sent once more while it is small.
//!
//! What has been read is kept up to a limit. A second sending begins with that and goes on with what the caller still
//! sends: the API may refuse a call before it has read all of it. What all calls under way keep shares one [`Room`]: a body
//! that finds none is like one beyond the limit.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures_util::FutureExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::reply::Over;

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Torn {
    #[error("the caller broke its body off")]
    ByCaller,
    #[error("the body is sent elsewhere now")]
    Elsewhere,
    #[error("the caller would not be let in any more")]
    Over,
}

/// How much all calls under way may keep together.
#[derive(Debug)]
pub(crate) struct Room {
    /// In bytes.
    left: AtomicUsize,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes) }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = |left: usize| left.checked_sub(bytes);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A body of a caller, and what has been read of it.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    length: Option<u64>,
    limit: usize,
    room: Arc<Room>,
    received: Arc<AtomicU64>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Ok(state) = self.state.get_mut() {
            self.room.give_back(state.beginning.len());
        }
    }
}

/// What may still come from the caller.
enum Source {
    Open(Body),
    Ended,
    /// The caller broke it off, or would not be let in any more.
    Torn,
}

struct State {
    source: Source,
    /// What was read, while all of it is kept.
    beginning: Vec<u8>,
    size: usize,
    /// More was read than is kept.
    over: bool,
    /// Which sending may read.
    sending: u32,
    moved_at: Instant,
    /// The sending under way wants more than the caller has sent: this wakes it.
    waiting: Option<Waker>,
    /// Ends it, also where its answer has gone long before.
    until: Option<Over>,
}

impl Kept {
    /// Keeps up to `limit` bytes of `source` while there is room, and counts what arrives.
    pub(crate) fn new(source: Body, limit: usize, room: Arc<Room>, received: Arc<AtomicU64>) -> Self {
        let length = source.size_hint().exact();
        let state = State {
            source: if source.is_end_stream() { Source::Ended } else { Source::Open(source) },
            beginning: Vec::new(),
            size: 0,
            over: length.is_some_and(|length| length > limit as u64),
            sending: 0,
            moved_at: Instant::now(),
            waiting: None,
            until: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), length, limit, room, received }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic happens under this lock")
    }

    /// Takes nothing more of the caller once `over` ends.
    pub(crate) fn end_with(&self, over: Over) {
        self.lock().until = Some(over);
    }

    /// A sending of the whole body; those before it end. `None` where its beginning is gone.
    pub(crate) fn sending(&self) -> Option<Body> {
        let mut state = self.lock();
        if state.over && (state.size > 0 || state.sending > 0) {
            return None;
        }
        state.sending += 1;
        state.moved_at = Instant::now();
        // The source wakes the latest alone; the one before it learns here that its connection ends.
        if let Some(before) = state.waiting.take() {
            before.wake();
        }
        Some(Body::new(Sending { kept: self.clone(), number: state.sending, next: 0 }))
    }

    /// Whether it could be sent once more.
    pub(crate) fn can_repeat(&self) -> bool {
        !self.lock().over
    }

    /// Whether the caller broke it off.
    pub(crate) fn is_torn(&self) -> bool {
        matches!(self.lock().source, Source::Torn)
    }

    /// Since when nothing moves, and whether that is for the caller to change.
    pub(crate) fn stillness(&self) -> (Instant, bool) {
        let state = self.lock();
        (state.moved_at, state.waiting.is_some())
    }

    /// All of it, where it is small enough to be kept.
    pub(crate) async fn whole(&self) -> Result<Option<Bytes>, Torn> {
        let Some(sending) = self.sending() else { return Ok(None) };
        let mut sending = sending.into_data_stream();
        let mut whole = Vec::new();
        while let Some(piece) = futures_util::StreamExt::next(&mut sending).await {
            whole.extend_from_slice(&piece.map_err(|_| Torn::ByCaller)?);
            if !self.can_repeat() {
                return Ok(None);
            }
        }
        Ok(Some(whole.into()))
    }

    fn poll(&self, number: u32, next: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Torn>>> {
        let mut state = self.lock();
        if state.sending != number {
            return Poll::Ready(Some(Err(Torn::Elsewhere)));
        }
        if let Some(rest) = state.beginning.get(next..).filter(|rest| !rest.is_empty()) {
            let rest = Bytes::copy_from_slice(rest);
            state.moved_at = Instant::now();
            return Poll::Ready(Some(Ok(rest)));
        }
        let is_over = |until: &mut Over| until.poll_unpin(cx).is_ready();
        if matches!(state.source, Source::Open(_)) && state.until.as_mut().is_some_and(is_over) {
            state.source = Source::Torn;
            return Poll::Ready(Some(Err(Torn::Over)));
        }
        loop {
            let source = match &mut state.source {
                Source::Open(source) => source,
                Source::Ended => return Poll::Ready(None),
                // Never an end like any other: half a body must not look whole, on a second sending neither.
                Source::Torn => return Poll::Ready(Some(Err(Torn::ByCaller))),
            };
            let polled = Pin::new(source).poll_frame(cx);
            state.waiting = polled.is_pending().then(|| cx.waker().clone());
            let frame = ready!(polled);
            state.moved_at = Instant::now();
            match frame {
                None => state.source = Source::Ended,
                Some(Err(_)) => {
                    state.source = Source::Torn;
                    return Poll::Ready(Some(Err(Torn::ByCaller)));
                }
                // Trailers are between neighbours; nothing of them goes on.
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.0.received.fetch_add(piece.len() as u64, Ordering::Relaxed);
                        state.keep(&piece, self.0.limit, &self.0.room);
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
            }
        }
    }
}

impl State {
    fn keep(&mut self, piece: &Bytes, limit: usize, room: &Room) {
        self.size = self.size.saturating_add(piece.len());
        if self.over {
            return;
        }
        if self.size <= limit && room.take(piece.len()) {
            // Copied: a piece of a buffer would keep the whole buffer, which nobody counts.
            self.beginning.extend_from_slice(piece);
        } else {
            self.over = true;
            room.give_back(self.beginning.len());
            self.beginning = Vec::new();
        }
    }
}

/// One sending of a kept body.
struct Sending {
    kept: Kept,
    number: u32,
    /// How many bytes it has sent.
    next: usize,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        let this = self.get_mut();
        let polled = ready!(this.kept.poll(this.number, this.next, cx));
        if let Some(Ok(piece)) = &polled {
            this.next += piece.len();
        }
        Poll::Ready(polled.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.kept.lock();
        matches!(state.source, Source::Ended)
            && state.sending == self.number
            && self.next >= state.beginning.len()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the first piece only, by whoever writes the head.
        self.kept.0.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    fn room() -> Arc<Room> {
        Arc::new(Room::new(1024))
    }

    fn kept(pieces: &[&'static str], limit: usize) -> Kept {
        kept_in(&room(), pieces, limit)
    }

    fn kept_in(room: &Arc<Room>, pieces: &[&'static str], limit: usize) -> Kept {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes()))).collect();
        Kept::new(Body::from_stream(stream::iter(pieces)), limit, Arc::clone(room), Arc::default())
    }

    async fn read(body: Body) -> String {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_second_sending_repeats_what_was_read_and_goes_on_with_the_rest() {
        let kept = kept(&["ab", "cd", "ef"], 6);
        let mut first = kept.sending().unwrap();
        let piece = first.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece, "ab");
        let second = kept.sending().unwrap();
        assert!(first.frame().await.unwrap().is_err(), "only the latest sending reads on");
        assert_eq!(read(second).await, "abcdef");
        assert_eq!(read(kept.sending().unwrap()).await, "abcdef");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_sent_once() {
        let kept = kept(&["abc", "def"], 5);
        let first = kept.sending().unwrap();
        assert_eq!(read(first).await, "abcdef");
        assert!(!kept.can_repeat());
        assert!(kept.sending().is_none());
    }

    #[tokio::test]
    async fn an_announced_length_beyond_the_limit_is_sent_once_and_nothing_is_kept() {
        let kept = Kept::new(Body::from("abcdef"), 5, room(), Arc::default());
        assert!(!kept.can_repeat());
        assert_eq!(read(kept.sending().unwrap()).await, "abcdef");
        assert!(kept.lock().beginning.is_empty());
        assert!(kept.sending().is_none());
    }

    #[tokio::test]
    async fn a_body_that_the_caller_broke_off_never_looks_whole() {
        let pieces = [Ok(Bytes::from_static(b"ab")), Err(std::io::Error::other("gone"))];
        let kept = Kept::new(Body::from_stream(stream::iter(pieces)), 6, room(), Arc::default());
        assert!(kept.sending().unwrap().collect().await.is_err());
        assert!(kept.is_torn());
        assert!(kept.sending().unwrap().collect().await.is_err(), "nor does what is sent again");
        assert!(kept.whole().await.is_err());
    }

    #[tokio::test]
    async fn a_whole_body_is_given_only_where_it_is_small() {
        assert_eq!(kept(&["ab", "c"], 3).whole().await.unwrap().unwrap(), "abc");
        assert!(kept(&["ab", "cd"], 3).whole().await.unwrap().is_none());
        assert_eq!(Kept::new(Body::empty(), 3, room(), Arc::default()).whole().await.unwrap().unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_that_finds_no_room_is_sent_once_and_room_comes_back_with_the_calls() {
        let room = Arc::new(Room::new(6));
        let first = kept_in(&room, &["abcd"], 8);
        assert_eq!(read(first.sending().unwrap()).await, "abcd");
        let second = kept_in(&room, &["ab", "cd", "ef"], 8);
        assert_eq!(read(second.sending().unwrap()).await, "abcdef", "what goes on is whole");
        assert!(first.can_repeat() && !second.can_repeat());
        assert!(second.sending().is_none());
        assert_eq!(room.left.load(Ordering::Relaxed), 2, "what is not kept takes none");
        drop(first);
        assert_eq!(room.left.load(Ordering::Relaxed), 6);
        let third = kept_in(&room, &["abcdef"], 8);
        assert_eq!(read(third.sending().unwrap()).await, "abcdef");
        assert!(third.can_repeat());
    }

    proptest! {
        #[test]
        fn no_more_than_the_limit_is_ever_kept(sizes in prop::collection::vec(0_usize..50, 0..20), limit in 0_usize..200) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let pieces: Vec<_> = sizes.iter().map(|size| Ok::<_, Infallible>(Bytes::from(vec![b'x'; *size]))).collect();
                let received = Arc::new(AtomicU64::new(0));
                let kept = Kept::new(Body::from_stream(stream::iter(pieces)), limit, room(), Arc::clone(&received));
                let total: usize = sizes.iter().sum();
                let sent = kept.sending().unwrap().collect().await.unwrap().to_bytes();
                assert_eq!(sent.len(), total);
                assert_eq!(received.load(Ordering::Relaxed), total as u64);
                assert_eq!(kept.can_repeat(), total <= limit);
                assert!(kept.lock().beginning.len() <= limit);
            });
        }
    }
}
