//! One look at the store at a time, shared by all who need one.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// How far apart looks begin at least: however many wrong tokens are presented, the store is asked no oftener.
const APART: Duration = Duration::from_millis(20);

/// How a look ended: with the message of the store where it failed.
pub(crate) type Outcome = Result<(), String>;

/// Hands out the outcome of looks. Whoever asks gets that of one that began after it asked.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    begun: std::sync::atomic::AtomicU64,
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    number: u64,
    began: Instant,
    outcome: Outcome,
}

impl Looks {
    /// Looks, or shares the look of somebody else who began after this call. A look whose caller leaves is broken off, and
    /// whoever waits for it looks in turn.
    pub(crate) async fn share(&self, look: impl AsyncFnOnce() -> Outcome) -> Outcome {
        use std::sync::atomic::Ordering::SeqCst;
        let asked = self.begun.load(SeqCst);
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref() {
            if last.number > asked {
                return last.outcome.clone();
            }
            sleep_until(last.began + APART).await;
        }
        let (number, began) = (self.begun.fetch_add(1, SeqCst) + 1, Instant::now());
        let outcome = look().await;
        *last = Some(Last { number, began, outcome: outcome.clone() });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_who_ask_at_once_share_two_looks_at_most() {
        let (looks, counted) = (Looks::default(), AtomicUsize::new(0));
        let look = || {
            looks.share(async || {
                counted.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(5)).await;
                Err("away".to_owned())
            })
        };
        let outcomes = join_all((0..1_000).map(|_| look())).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Err("away".to_owned())), "failures are shared too");
        assert!(counted.load(Ordering::SeqCst) <= 2, "{counted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn however_often_somebody_asks_looks_keep_their_distance() {
        let (looks, begun) = (Looks::default(), Instant::now());
        for _ in 0..11 {
            assert_eq!(looks.share(async || Ok(())).await, Ok(()));
        }
        assert_eq!(begun.elapsed().as_millis() / 10, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_began_before_is_never_shared() {
        let (looks, counted) = (Looks::default(), AtomicUsize::new(0));
        let slow = looks.share(async || {
            counted.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(50)).await;
            Ok(())
        });
        let late = async {
            sleep(Duration::from_millis(10)).await;
            looks
                .share(async || {
                    counted.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                })
                .await
        };
        let (one, two) = futures_util::future::join(slow, late).await;
        assert_eq!((one, two, counted.load(Ordering::SeqCst)), (Ok(()), Ok(()), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_leaves_leaves_nobody_waiting() {
        let looks = Looks::default();
        let leaving = timeout(Duration::from_millis(5), looks.share(async || std::future::pending().await));
        let (left, stayed) = futures_util::future::join(leaving, looks.share(async || Ok(()))).await;
        assert!(left.is_err());
        assert_eq!(stayed, Ok(()));
    }
}
