//! Tasks that call until they are stopped, and what they counted together.

use std::sync::Arc;

use jeton_emulator::SeededEntropy;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Callers at work.
pub(crate) struct Callers<C> {
    tasks: TaskTracker,
    stop: CancellationToken,
    counts: Arc<Mutex<C>>,
}

impl<C: Default + Clone> Callers<C> {
    /// Starts `count` callers; `call` is what one does until it is stopped.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        count: u64,
        seed: u64,
        call: impl Fn(SeededEntropy, Arc<Mutex<C>>) -> F,
    ) -> Self {
        let callers =
            Self { tasks: TaskTracker::new(), stop: CancellationToken::new(), counts: Arc::default() };
        for number in 0..count {
            let random = SeededEntropy::new(seed.wrapping_add(number));
            let (call, stop) = (call(random, Arc::clone(&callers.counts)), callers.stop.clone());
            callers.tasks.spawn(async move { stop.run_until_cancelled(call).await });
        }
        callers.tasks.close();
        callers
    }

    /// Stops them; returns what they counted.
    pub(crate) async fn stop(self) -> C {
        self.stop.cancel();
        self.tasks.wait().await;
        self.counts.lock().clone()
    }
}

/// Any of `items`.
pub(crate) fn any<'a, T>(random: &SeededEntropy, items: &'a [T]) -> &'a T {
    let count = u64::try_from(items.len()).expect("a few items");
    &items[usize::try_from(random.between(0, count)).expect("below the count")]
}
