//! `jeton demo`: what jeton does, to be watched. Everything is real but the providers.
//!
//! * Who takes part? [`scenarios`]; how do their providers behave? [`faults`].
//! * What runs? [`run`], in its [`workdir`] and [`scratch`] schema, with [`callers`].
//! * What is seen? [`watch`], told by [`events`], shown by [`display`]: [`view`] and [`table`] on a [`screen`].
//! * Was it good? [`result`].

mod callers;
mod colors;
mod display;
mod events;
mod faults;
mod http;
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
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::colors::TextStyle;
use self::display::{Display, remember};
use self::events::Event;
use self::result::DemoResult;
use self::run::DemoRun;
use self::scratch::Scratch;
use self::view::ViewData;
use self::watch::{Observation, Watcher};
use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::Output;
use crate::settings::SettingSources;
use crate::stop_signals::StopSignals;
use crate::stop_signals::stopped_by;

/// How often the table is drawn.
const TICK: Duration = Duration::from_millis(250);

/// The span in which the user of the doomed connection revokes its grant, in milliseconds from the start.
const DOOM: (u64, u64) = (15_000, 25_000);

/// Watch jeton keep seven connections alive at providers of every temper
///
/// Everything is real but the providers: the store in a temporary folder, the keeper, the server, and callers that ask
/// for tokens and use them. On a terminal it is a live table, elsewhere lines. Ctrl-C ends it: refreshes under way go to
/// their end, and a summary says what became of every token. The exit code is 0 when none was lost and none was given
/// out dead.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// End after this long, such as 60s [default: at Ctrl-C]
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<DurationText>,
    /// What the providers do follows from this number [default: any]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Listen here [default: 127.0.0.1:9095, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Keep the tokens in this database of PostgreSQL, in a schema that is removed in the end [default: a file]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

impl DemoArgs {
    pub(crate) async fn run(self, sources: &SettingSources, output: Output) -> Result<(), CommandError> {
        if sources.config.is_some() {
            let text = "the demo makes its own settings and would ignore these; leave `--config` out, or run `jeton serve`";
            return Err(CommandError::usage(text));
        }
        let mut signals = Signals::listen()?;
        let quiet = Display::is_drawn(output, &sources.environment) && io::stderr().is_terminal();
        let scratch = match &self.store {
            Some(url) => Some(Scratch::make(url, &SystemEntropy).await?),
            None => None,
        };
        let url = scratch.as_ref().map(Scratch::url);
        let played = self.play(url.as_ref(), quiet, &mut signals, sources, output).await;
        let removed = match scratch {
            Some(scratch) => scratch.remove().await,
            None => Ok(()),
        };
        let result = played?;
        removed?;
        result.into_result()
    }

    async fn play(
        &self,
        store: Option<&Secret>,
        quiet: bool,
        signals: &mut Signals,
        sources: &SettingSources,
        output: Output,
    ) -> Result<DemoResult, CommandError> {
        let mut run = DemoRun::open(self.seed, self.listen, store, &sources.flags, quiet).await?;
        let shown = self.show(&mut run, signals, sources, output).await;
        let cleared = run.clear();
        let result = shown?;
        cleared?;
        Ok(result)
    }

    /// Shows what runs until it is time to end, ends it, and says how it was.
    async fn show(
        &self,
        run: &mut DemoRun,
        signals: &mut Signals,
        sources: &SettingSources,
        output: Output,
    ) -> Result<DemoResult, CommandError> {
        let style = TextStyle::of(&sources.environment);
        let mut show = Show {
            display: Display::fitting(output, &sources.environment)?,
            style,
            watch: Watcher::default(),
            observation: Observation::default(),
            feed: VecDeque::new(),
            length: self.length.map(|length| length.0),
        };
        let ran = show.run(run, signals).await;
        // However it ends: what is under way goes to its end, unless a second signal says that nobody waits for that.
        let result = tokio::select! {
            result = run.drain() => result,
            signal = signals.stop.next() => Err(stopped_by(signal)),
        };
        ran?;
        let result = result?;
        show.look(run).await?;
        if !show.display.is_table() {
            show.display.show(&data(run, show.length, true, &show.observation, &show.feed), style)?;
        }
        let Show { display, observation, feed, length, .. } = show;
        display.close(&data(run, length, true, &observation, &feed), &result, style)?;
        Ok(result)
    }
}

/// What the demo listens to.
struct Signals {
    stop: StopSignals,
    /// The terminal was closed.
    hangup: Signal,
    /// The terminal has another size.
    resized: Signal,
}

impl Signals {
    fn listen() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CommandError::new(ErrorCode::SystemRefused, format!("signals cannot be heard: {error}"))
            })
        };
        Ok(Self {
            stop: StopSignals::listen()?,
            hangup: listen(SignalKind::hangup())?,
            resized: listen(SignalKind::window_change())?,
        })
    }
}

/// What is shown, and what was shown before.
struct Show {
    display: Display,
    style: TextStyle,
    watch: Watcher,
    observation: Observation,
    feed: VecDeque<Event>,
    length: Option<Duration>,
}

impl Show {
    async fn run(&mut self, run: &DemoRun, signals: &mut Signals) -> Result<(), CommandError> {
        let mut doom = Some(doom(run.seed, self.length));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look(run).await?;
        self.display.open(&data(run, self.length, false, &self.observation, &self.feed))?;
        loop {
            self.display.show(&data(run, self.length, false, &self.observation, &self.feed), self.style)?;
            tokio::select! {
                _ = ticks.tick() => {}
                _ = signals.resized.recv() => {}
                _ = signals.stop.next() => break,
                _ = signals.hangup.recv() => break,
                () = until(self.length.map(|length| length.saturating_sub(run.ran()))) => break,
            }
            if doom.is_some_and(|doom| doom <= run.ran()) {
                doom = None;
                self.revoke(run);
            }
            self.look(run).await?;
        }
        self.observation.news.clear();
        Ok(self.display.show(&data(run, self.length, true, &self.observation, &self.feed), self.style)?)
    }

    async fn look(&mut self, run: &DemoRun) -> Result<(), CommandError> {
        self.observation = self.watch.look(run).await?;
        remember(&mut self.feed, &self.observation.news);
        Ok(())
    }

    fn revoke(&mut self, run: &DemoRun) {
        if let Some(connection) = run.doomed() {
            connection.revoke();
            self.watch.tell(Event::revoked(connection.scenario.name, run.app.host.clock.now()));
        }
    }
}

fn data<'a>(
    run: &'a DemoRun,
    length: Option<Duration>,
    ending: bool,
    observation: &'a Observation,
    feed: &'a VecDeque<Event>,
) -> ViewData<'a> {
    ViewData {
        base_url: format!("http://{}", run.address),
        remark: run.remark.as_deref(),
        hints: &run.hints,
        seed: run.seed,
        began_at: run.began_at,
        ran: run.ran(),
        length,
        ending,
        observation,
        feed,
    }
}

/// When the user of the doomed connection revokes its grant: early enough in a short run.
fn doom(seed: u64, length: Option<Duration>) -> Duration {
    let usual = Duration::from_millis(SeededEntropy::new(seed).between(DOOM.0, DOOM.1));
    length.map_or(usual, |length| usual.min(length * 2 / 5))
}

/// Waits for `rest`, or for ever.
async fn until(rest: Option<Duration>) {
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
            let usual = doom(seed, None);
            assert!((15..25).contains(&usual.as_secs()), "{usual:?}");
            assert_eq!(doom(seed, Some(Duration::from_mins(1))), usual.min(Duration::from_secs(24)));
            assert_eq!(doom(seed, Some(Duration::from_secs(5))), Duration::from_secs(2));
        }
    }
}
