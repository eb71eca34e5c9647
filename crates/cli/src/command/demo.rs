//! `jeton demo`: a real jeton with emulated providers, to watch.
//!
//! * Which connections are there, and how do their providers behave? [`providers`].
//! * What runs? [`run`], with [`callers`].
//! * What happened, and was every promise kept? [`state`], with [`events`].
//! * What is shown? A [`display`] prints lines, or draws each [`frame`] on a [`screen`].

mod callers;
mod display;
mod events;
mod frame;
mod providers;
mod run;
mod screen;
mod state;

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::time::Duration;

use jeton_core::keep::provider::DurationText;
use jeton_core::secret::Secret;
use tokio::time::{MissedTickBehavior, interval};

use self::display::Display;
use self::events::Event;
use self::run::{DemoRun, DemoSchema};
use self::state::DemoState;
use crate::command_error::CommandError;
use crate::output::Output;
use crate::settings::SettingSources;
use crate::signals::{Signals, stopped_by};

/// How often the demo is observed.
const TICK: Duration = Duration::from_millis(250);

/// When the user of the connection `doomed` revokes its grant; sooner in a short run, so that one sees what follows.
const REVOKE_AFTER: Duration = Duration::from_secs(20);

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
        let mut signals = Signals::to_stop()?;
        let schema = match &self.store {
            Some(url) => Some(DemoSchema::create(url).await?),
            None => None,
        };
        let url = schema.as_ref().map(DemoSchema::url);
        let result = self.run_in(url.as_ref(), &mut signals, sources, output).await;
        let removed = match schema {
            Some(schema) => schema.remove().await,
            None => Ok(()),
        };
        result.and(removed)
    }

    /// Runs the demo in this store, and removes its files.
    async fn run_in(
        &self,
        store: Option<&Secret>,
        signals: &mut Signals,
        sources: &SettingSources,
        output: Output,
    ) -> Result<(), CommandError> {
        let display = Display::new(output, &sources.environment)?;
        let quiet = matches!(display, Display::Table(_)) && io::stderr().is_terminal();
        let length = self.length.map(|length| length.0);
        let mut run = DemoRun::start(self.seed, length, self.listen, store, &sources.flags, quiet).await?;
        let result = show(&mut run, display, signals).await;
        result.and(run.remove_files())
    }
}

/// Shows the demo until it is time to end, ends it, and says whether every promise was kept.
async fn show(run: &mut DemoRun, mut display: Display, signals: &mut Signals) -> Result<(), CommandError> {
    let mut state = DemoState::default();
    let shown = show_until_end(run, &mut state, &mut display, signals).await;
    // Refreshes under way finish, unless a second signal says that nobody waits for them.
    let finished = tokio::select! {
        result = run.finish() => result,
        signal = signals.next_impatient() => Err(stopped_by(signal)),
    };
    shown?;
    finished?;
    let new_events = state.observe(run, None).await?;
    display.end(&run.info, &state, &new_events)?;
    state.verdict(run.info.seed)
}

async fn show_until_end(
    run: &DemoRun,
    state: &mut DemoState,
    display: &mut Display,
    signals: &mut Signals,
) -> Result<(), CommandError> {
    let length = run.info.length;
    let mut revoke_at = Some(length.map_or(REVOKE_AFTER, |length| REVOKE_AFTER.min(length * 2 / 5)));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut new_events = state.observe(run, None).await?;
    display.print_start(&run.info, state)?;
    while length.is_none_or(|length| run.elapsed() < length) {
        display.update(&run.info, state, &new_events)?;
        tokio::select! {
            _ = ticks.tick() => {}
            _ = signals.next() => break,
        }
        let mut revoked = None;
        if revoke_at.take_if(|at| *at <= run.elapsed()).is_some()
            && let Some(connection) = run.doomed()
        {
            connection.revoke();
            revoked = Some(Event::revoked(connection.scenario.name, run.app.host.clock.now()));
        }
        new_events = state.observe(run, revoked).await?;
    }
    state.ending = true;
    Ok(display.update(&run.info, state, &[])?)
}
