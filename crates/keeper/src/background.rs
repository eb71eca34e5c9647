//! The driver of background tasks: each is a step that takes no input, runs again and again, one run at a time, and may be
//! killed at any moment.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jeton_core::keep::ports::BackgroundTask;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::lifecycle::Lifecycle;
use crate::node::Node;

/// How long a step that panicked is left alone.
const PANIC_PAUSE: Duration = Duration::from_secs(5);

/// One run: how long to wait until the next, and why this one failed.
#[derive(Debug)]
pub(crate) struct Run {
    next: Duration,
    error: Option<String>,
}

impl Run {
    pub(crate) fn done(next: Duration) -> Self {
        Self { next, error: None }
    }

    pub(crate) fn failed(next: Duration, error: &impl ToString) -> Self {
        Self { next, error: Some(error.to_string()) }
    }
}

/// What a background task does.
pub(crate) trait Step: Send + 'static {
    /// Does what there is to do.
    fn run(&mut self) -> impl Future<Output = Run> + Send;

    /// Returns when there is something to do before the time.
    fn woken(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Runs once, when the vault closes.
    fn end(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Runs background tasks until the vault closes, and knows how they do.
#[derive(Debug)]
pub(crate) struct BackgroundTasks {
    node: Arc<Node>,
    lifecycle: Arc<Lifecycle>,
    tasks: Mutex<Vec<BackgroundTask>>,
}

impl BackgroundTasks {
    pub(crate) fn new(node: Arc<Node>, lifecycle: Arc<Lifecycle>) -> Self {
        Self { node, lifecycle, tasks: Mutex::default() }
    }

    /// The state of each task.
    pub(crate) fn list(&self) -> Vec<BackgroundTask> {
        self.tasks.lock().clone()
    }

    /// Why the last run of the task of this name failed, if it did.
    pub(crate) fn last_error(&self, name: &str) -> Option<String> {
        self.tasks.lock().iter().find(|task| task.name == name)?.last_error.clone()
    }

    /// Runs `step` at once, and again whenever it is time or it is woken.
    pub(crate) fn start(self: &Arc<Self>, name: &'static str, mut step: impl Step) {
        let index = {
            let mut tasks = self.tasks.lock();
            tasks.push(BackgroundTask {
                name: name.to_owned(),
                runs: 0,
                last_run: None,
                last_error: None,
                panics: 0,
            });
            tasks.len() - 1
        };
        let tasks = Arc::clone(self);
        self.lifecycle.background.spawn(async move {
            while !tasks.lifecycle.is_closing() {
                let run = AssertUnwindSafe(step.run()).catch_unwind().await.ok();
                let failed = run.as_ref().is_none_or(|run| run.error.is_some());
                let next = tasks.record(index, run);
                tokio::select! {
                    () = tasks.lifecycle.closed() => {}
                    () = sleep(next) => {}
                    // What failed is not tried again before the time, however often it is woken.
                    () = step.woken(), if !failed => {}
                }
            }
            step.end().await;
        });
    }

    /// Notes how a run ended, a panic where there is none; answers how long to wait.
    fn record(&self, index: usize, run: Option<Run>) -> Duration {
        let mut tasks = self.tasks.lock();
        let task = &mut tasks[index];
        task.runs += 1;
        task.last_run = Some(self.node.clock.now());
        let panicked = run.is_none();
        task.panics += u64::from(panicked);
        let run = run.unwrap_or_else(|| Run::failed(PANIC_PAUSE, &"a defect of jeton, which the log shows"));
        // Said when it begins, and not again with each run.
        if let Some(error) =
            run.error.as_ref().filter(|error| panicked || task.last_error.as_ref() != Some(error))
        {
            tracing::warn!(task = task.name, error, "a background task failed, and is tried again");
        }
        task.last_error = run.error;
        run.next
    }
}

/// A step that runs in a fixed period.
pub(crate) struct Periodic<F> {
    pub(crate) period: Duration,
    pub(crate) step: F,
}

impl<F, Fut> Step for Periodic<F>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), String>> + Send,
{
    async fn run(&mut self) -> Run {
        match (self.step)().await {
            Ok(()) => Run::done(self.period),
            Err(error) => Run::failed(self.period, &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use jeton_core::clocks::StoreReading;
    use jeton_core::entropy::SystemEntropy;
    use jeton_core::id::NodeId;
    use jeton_core::keep::ports::NodeHost;
    use jeton_core::seal::{KeyRing, Sealer};
    use jeton_core::time::{Clock as _, SystemClock};

    use super::*;
    use crate::settings::Settings;
    use crate::store_time::StoreTime;

    fn tasks() -> Arc<BackgroundTasks> {
        let (sealer, _) = Sealer::create(KeyRing::generate(&SystemEntropy), &SystemEntropy);
        let reading = StoreReading { now: SystemClock.now(), civil: None };
        let node = Node {
            id: NodeId::from_bytes([1; 16]),
            data_dir: "unused".into(),
            host: NodeHost::default(),
            sealer,
            settings: Settings::default(),
            clock: Arc::new(StoreTime::new(Arc::new(SystemClock), reading, SystemClock.uptime())),
            entropy: Arc::new(SystemEntropy),
        };
        Arc::new(BackgroundTasks::new(Arc::new(node), Arc::default()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_fails_or_panics_runs_again_and_its_state_says_so_until_one_succeeds() {
        let tasks = tasks();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let step = move || {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => Err("the store is away".to_owned()),
                    1 => panic!("a defect"),
                    _ => Ok(()),
                }
            }
        };
        tasks.start("example", Periodic { period: Duration::from_secs(1), step });
        sleep(Duration::from_millis(500)).await;
        let state = tasks.list().remove(0);
        assert_eq!((state.name.as_str(), state.runs, state.panics), ("example", 1, 0));
        assert_eq!(state.last_error.as_deref(), Some("the store is away"));
        sleep(Duration::from_secs(1)).await;
        let state = tasks.list().remove(0);
        assert_eq!((state.runs, state.panics, state.last_error.is_some()), (2, 1, true));
        sleep(PANIC_PAUSE).await;
        let state = tasks.list().remove(0);
        assert_eq!((state.runs, state.panics, state.last_error), (3, 1, None));
        tasks.lifecycle.drain(Duration::from_secs(1)).await;
        let ended = runs.load(Ordering::SeqCst);
        sleep(Duration::from_mins(1)).await;
        assert_eq!(runs.load(Ordering::SeqCst), ended, "nothing runs once the vault has closed");
    }
}
