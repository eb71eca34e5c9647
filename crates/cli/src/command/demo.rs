//! `jeton demo`: a real jeton with emulated providers, to watch.
//!
//! * Which connections are there, and how do their providers behave? [`scenarios`], [`faults`].
//! * What runs? [`run`], in a [`workdir`] and a [`scratch`] schema, with [`callers`].
//! * What is shown? What [`watch`] observes, as [`events`], by a [`display`]: [`view`] and [`table`] on a [`screen`].
//! * What does the summary count? [`result`].

mod callers;
mod colors;
mod display;
mod events;
mod faults;
mod result;
mod run;
mod scenarios;
mod scratch;
mod screen;
mod table;
mod view;
mod watch;
mod workdir;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::time::Duration;

use jeton_core::entropy::SystemEntropy;
use jeton_core::keep::provider::DurationText;
use jeton_core::secret::Secret;
use jeton_emulator::SeededEntropy;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::colors::TextStyle;
use self::display::{Display, add_events};
use self::events::Event;
use self::result::DemoResult;
use self::run::DemoRun;
use self::scratch::Scratch;
use self::view::ViewData;
use self::watch::{Observation, Watcher};
use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::SettingSources;
use crate::stop_signals::{StopSignals, listen, stopped_by};

/// How often the demo is observed.
const TICK: Duration = Duration::from_millis(250);

/// When the user of the connection `doomed` revokes its grant: a span in milliseconds from the start.
const REVOKE_SPAN: (u64, u64) = (15_000, 25_000);

/// Watch jeton keep seven connections alive at providers that fail in different ways
///
/// Only the providers are emulated: store, keeper and server are real, in a temporary folder, and so are the callers that
/// request tokens and use them. A terminal shows a live table, anything else lines. Ctrl-C ends it: refreshes under way
/// finish, and a summary counts what became of every token. The exit code is 0 if no token was lost and no dead token was
/// served.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// End after this long, such as 60s [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<DurationText>,
    /// The behaviour of the providers follows from this number [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Listen here [default: 127.0.0.1:9095, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Store the tokens in this PostgreSQL database, in a schema that is removed in the end [default: a file]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl DemoArgs {
    pub(crate) async fn run(self, sources: &SettingSources, output: Output) -> Result<(), CommandError> {
        if sources.config.is_some() {
            let text = "the demo makes its own settings and would ignore these; leave `--config` out, or run `jeton serve`";
            return Err(CommandError::usage(text));
        }
        let mut signals = DemoSignals {
            stop: StopSignals::listen()?,
            hangup: listen(SignalKind::hangup())?,
            resized: listen(SignalKind::window_change())?,
        };
        let scratch = match &self.store {
            Some(url) => Some(Scratch::create(url, &SystemEntropy).await?),
            None => None,
        };
        let url = scratch.as_ref().map(Scratch::url);
        let result = self.run_in(url.as_ref(), &mut signals, sources, output).await;
        let removed = match scratch {
            Some(scratch) => scratch.remove().await,
            None => Ok(()),
        };
        let result = result?;
        removed?;
        result.into_result()
    }

    /// Runs the demo in this store, and removes its files.
    async fn run_in(
        &self,
        store: Option<&Secret>,
        signals: &mut DemoSignals,
        sources: &SettingSources,
        output: Output,
    ) -> Result<DemoResult, CommandError> {
        let quiet = Display::draws_table(output, &sources.environment) && io::stderr().is_terminal();
        let mut run = DemoRun::start(self.seed, self.listen, store, &sources.flags, quiet).await?;
        let result = self.show(&mut run, signals, sources, output).await;
        let removed = run.remove_files();
        let result = result?;
        removed?;
        Ok(result)
    }

    /// Shows the demo until it is time to end, and ends it.
    async fn show(
        &self,
        run: &mut DemoRun,
        signals: &mut DemoSignals,
        sources: &SettingSources,
        output: Output,
    ) -> Result<DemoResult, CommandError> {
        let mut show = Show {
            display: Display::new(output, &sources.environment)?,
            style: TextStyle::of(&sources.environment),
            watcher: Watcher::default(),
            observation: Observation::default(),
            events: VecDeque::new(),
            length: self.length.map(|length| length.0),
        };
        let shown = show.until_end(run, signals).await;
        // Refreshes under way finish, unless a second signal says that nobody waits for them.
        let result = tokio::select! {
            result = run.finish() => result,
            signal = signals.stop.next() => Err(stopped_by(signal)),
        };
        shown?;
        let result = result?;
        show.observe(run).await?;
        if !show.display.is_table() {
            show.update(run, true)?;
        }
        let Show { display, style, observation, events, length, .. } = show;
        display.print_summary(&view_data(run, length, true, &observation, &events), &result, style)?;
        Ok(result)
    }
}

struct DemoSignals {
    stop: StopSignals,
    /// The terminal was closed.
    hangup: Signal,
    /// The size of the terminal has changed.
    resized: Signal,
}

/// What is shown, and what was observed so far.
struct Show {
    display: Display,
    style: TextStyle,
    watcher: Watcher,
    observation: Observation,
    events: VecDeque<Event>,
    length: Option<Duration>,
}

impl Show {
    async fn until_end(&mut self, run: &DemoRun, signals: &mut DemoSignals) -> Result<(), CommandError> {
        let mut revoke_at = Some(revoke_at(run.seed, self.length));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.observe(run).await?;
        self.display.print_start(&view_data(run, self.length, false, &self.observation, &self.events))?;
        loop {
            self.update(run, false)?;
            tokio::select! {
                _ = ticks.tick() => {}
                _ = signals.resized.recv() => {}
                _ = signals.stop.next() => break,
                _ = signals.hangup.recv() => break,
                () = sleep_for(self.length.map(|length| length.saturating_sub(run.elapsed()))) => break,
            }
            if revoke_at.is_some_and(|at| at <= run.elapsed()) {
                revoke_at = None;
                if let Some(connection) = run.doomed() {
                    connection.revoke();
                    let now = run.app.host.clock.now();
                    self.watcher.add(Event::revoked(connection.scenario.name, now));
                }
            }
            self.observe(run).await?;
        }
        self.observation.new_events.clear();
        self.update(run, true)
    }

    async fn observe(&mut self, run: &DemoRun) -> Result<(), CommandError> {
        self.observation = self.watcher.observe(run).await?;
        add_events(&mut self.events, &self.observation.new_events);
        Ok(())
    }

    fn update(&mut self, run: &DemoRun, ending: bool) -> Result<(), CommandError> {
        let data = view_data(run, self.length, ending, &self.observation, &self.events);
        Ok(self.display.update(&data, self.style)?)
    }
}

fn view_data<'a>(
    run: &'a DemoRun,
    length: Option<Duration>,
    ending: bool,
    observation: &'a Observation,
    events: &'a VecDeque<Event>,
) -> ViewData<'a> {
    ViewData {
        base_url: format!("http://{}", run.address),
        port_note: run.port_note.as_deref(),
        hints: &run.hints,
        seed: run.seed,
        began_at: run.began_at,
        elapsed: run.elapsed(),
        length,
        ending,
        observation,
        events,
    }
}

/// When the grant is revoked: early enough in a short run.
fn revoke_at(seed: u64, length: Option<Duration>) -> Duration {
    let at = Duration::from_millis(SeededEntropy::new(seed).between(REVOKE_SPAN.0, REVOKE_SPAN.1));
    length.map_or(at, |length| at.min(length * 2 / 5))
}

/// Sleeps for `rest`, or forever.
async fn sleep_for(rest: Option<Duration>) {
    match rest {
        Some(rest) => sleep(rest).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grant_is_revoked_early_enough_to_see_what_follows() {
        for seed in 0..50 {
            let at = revoke_at(seed, None);
            assert!((15..25).contains(&at.as_secs()), "{at:?}");
            assert_eq!(revoke_at(seed, Some(Duration::from_mins(1))), at.min(Duration::from_secs(24)));
            assert_eq!(revoke_at(seed, Some(Duration::from_secs(5))), Duration::from_secs(2));
        }
    }
}
