//! One reload of the cache at a time, shared by all who need one.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use jeton_core::keep::ports::StoreError;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// The shortest time between the beginnings of two reloads: however many wrong tokens are presented, the store is asked no
/// more often.
const MIN_PERIOD: Duration = Duration::from_millis(20);

/// Hands out the results of reloads: each caller gets that of one which began after its call.
#[derive(Debug, Default)]
pub(crate) struct SharedReload {
    begun: AtomicU64,
    last: Mutex<Option<LastReload>>,
}

#[derive(Debug)]
struct LastReload {
    number: u64,
    began: Instant,
    result: Result<(), StoreError>,
}

impl SharedReload {
    /// Runs `reload`, or shares the run of another caller that began after this call. A caller who leaves cancels its run;
    /// those who wait for it then run their own in turn.
    pub(crate) async fn share(
        &self,
        reload: impl AsyncFnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let called_after = self.begun.load(SeqCst);
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref() {
            if last.number > called_after {
                return last.result.clone();
            }
            sleep_until(last.began + MIN_PERIOD).await;
        }
        let (number, began) = (self.begun.fetch_add(1, SeqCst) + 1, Instant::now());
        let result = reload().await;
        *last = Some(LastReload { number, began, result: result.clone() });
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::{join, join_all};
    use tokio::time::{sleep, timeout};

    use super::*;

    fn failed() -> Result<(), StoreError> {
        Err(StoreError::Unavailable("gone".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_callers_at_once_share_two_reloads_at_most() {
        let (shared, count) = (SharedReload::default(), AtomicUsize::new(0));
        let reload = || {
            shared.share(async || {
                count.fetch_add(1, SeqCst);
                sleep(Duration::from_millis(5)).await;
                failed()
            })
        };
        let results = join_all((0..1_000).map(|_| reload())).await;
        assert!(results.iter().all(Result::is_err), "errors are shared too");
        assert!(count.load(SeqCst) <= 2, "{count:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn reloads_keep_their_distance_however_often_they_are_called() {
        let (shared, begun) = (SharedReload::default(), Instant::now());
        for _ in 0..11 {
            shared.share(async || Ok(())).await.unwrap();
        }
        assert_eq!(begun.elapsed().as_millis() / 10, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_began_before_the_call_is_never_shared() {
        let (shared, count) = (SharedReload::default(), AtomicUsize::new(0));
        let slow = shared.share(async || {
            count.fetch_add(1, SeqCst);
            sleep(Duration::from_millis(50)).await;
            Ok(())
        });
        let late = async {
            sleep(Duration::from_millis(10)).await;
            shared
                .share(async || {
                    count.fetch_add(1, SeqCst);
                    Ok(())
                })
                .await
        };
        let (one, two) = join(slow, late).await;
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(count.load(SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_leaves_leaves_nobody_waiting() {
        let shared = SharedReload::default();
        let leaving = timeout(Duration::from_millis(5), shared.share(async || std::future::pending().await));
        let (left, stayed) = join(leaving, shared.share(async || Ok(()))).await;
        assert!(left.is_err());
        assert!(stayed.is_ok());
    }
}
