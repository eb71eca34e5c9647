//! `jeton demo`: what jeton does, to be watched. Everything is real but the providers.
//!
//! * Who takes part? [`cast`]; how do their providers behave? [`weather`].
//! * What runs? [`stage`], in its [`home`] and [`scratch`] schema, with [`callers`].
//! * What is seen? [`watch`], told by [`story`], shown by [`face`]: [`view`] and [`table`] on a [`screen`].
//! * Was it good? [`verdict`].

mod callers;
mod cast;
mod face;
mod home;
mod line;
mod paint;
mod scratch;
mod screen;
mod stage;
mod story;
mod table;
mod verdict;
mod view;
mod watch;
mod weather;

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

use self::face::{Face, remember};
use self::paint::Look;
use self::scratch::Scratch;
use self::stage::Stage;
use self::story::Event;
use self::verdict::Verdict;
use self::view::Scene;
use self::watch::{Sight, Watch};
use crate::code::Code;
use crate::failure::Failure;
use crate::output::Output;
use crate::settings::Sources;
use crate::signals::Endings;

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
pub(crate) struct Demo {
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

impl Demo {
    pub(crate) async fn run(self, sources: &Sources, output: Output) -> Result<(), Failure> {
        if sources.config.is_some() {
            let text = "the demo makes its own settings and would ignore these; leave `--config` out, or run `jeton serve`";
            return Err(Failure::wrong_use(text));
        }
        let mut signals = Signals::listen()?;
        let quiet = Face::is_drawn(output, &sources.environment) && io::stderr().is_terminal();
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
        let verdict = played?;
        removed?;
        verdict.into_result()
    }

    async fn play(
        &self,
        store: Option<&Secret>,
        quiet: bool,
        signals: &mut Signals,
        sources: &Sources,
        output: Output,
    ) -> Result<Verdict, Failure> {
        let mut stage = Stage::open(self.seed, self.listen, store, &sources.flags, quiet).await?;
        let shown = self.show(&mut stage, signals, sources, output).await;
        let cleared = stage.clear();
        let verdict = shown?;
        cleared?;
        Ok(verdict)
    }

    /// Shows what runs until it is time to end, ends it, and says how it was.
    async fn show(
        &self,
        stage: &mut Stage,
        signals: &mut Signals,
        sources: &Sources,
        output: Output,
    ) -> Result<Verdict, Failure> {
        let look = Look::of(&sources.environment);
        let mut show = Show {
            face: Face::fitting(output, &sources.environment)?,
            look,
            watch: Watch::default(),
            sight: Sight::default(),
            feed: VecDeque::new(),
            length: self.length.map(|length| length.0),
        };
        let ran = show.run(stage, signals).await;
        // However it ends: what is under way goes to its end, unless a second signal says that nobody waits for that.
        let verdict = tokio::select! {
            verdict = stage.drain() => verdict,
            signal = signals.endings.next() => Err(super::stopped(signal)),
        };
        ran?;
        let verdict = verdict?;
        show.look(stage).await?;
        if !show.face.is_table() {
            show.face.show(&scene(stage, show.length, true, &show.sight, &show.feed), look)?;
        }
        let Show { face, sight, feed, length, .. } = show;
        face.close(&scene(stage, length, true, &sight, &feed), &verdict, look)?;
        Ok(verdict)
    }
}

/// What the demo listens to.
struct Signals {
    endings: Endings,
    /// The terminal was closed.
    hangup: Signal,
    /// The terminal has another size.
    resized: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Code::SystemRefused, format!("signals cannot be heard: {error}"))
            })
        };
        Ok(Self {
            endings: super::listen()?,
            hangup: listen(SignalKind::hangup())?,
            resized: listen(SignalKind::window_change())?,
        })
    }
}

/// What is shown, and what was shown before.
struct Show {
    face: Face,
    look: Look,
    watch: Watch,
    sight: Sight,
    feed: VecDeque<Event>,
    length: Option<Duration>,
}

impl Show {
    async fn run(&mut self, stage: &Stage, signals: &mut Signals) -> Result<(), Failure> {
        let mut doom = Some(doom(stage.seed, self.length));
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look(stage).await?;
        self.face.open(&scene(stage, self.length, false, &self.sight, &self.feed))?;
        loop {
            self.face.show(&scene(stage, self.length, false, &self.sight, &self.feed), self.look)?;
            tokio::select! {
                _ = ticks.tick() => {}
                _ = signals.resized.recv() => {}
                _ = signals.endings.next() => break,
                _ = signals.hangup.recv() => break,
                () = until(self.length.map(|length| length.saturating_sub(stage.ran()))) => break,
            }
            if doom.is_some_and(|doom| doom <= stage.ran()) {
                doom = None;
                self.revoke(stage);
            }
            self.look(stage).await?;
        }
        self.sight.news.clear();
        Ok(self.face.show(&scene(stage, self.length, true, &self.sight, &self.feed), self.look)?)
    }

    async fn look(&mut self, stage: &Stage) -> Result<(), Failure> {
        self.sight = self.watch.look(stage).await?;
        remember(&mut self.feed, &self.sight.news);
        Ok(())
    }

    fn revoke(&mut self, stage: &Stage) {
        if let Some(player) = stage.doomed() {
            player.revoke();
            self.watch.tell(Event::revoked(player.role.name, stage.house.machine.clock.now()));
        }
    }
}

fn scene<'a>(
    stage: &'a Stage,
    length: Option<Duration>,
    ending: bool,
    sight: &'a Sight,
    feed: &'a VecDeque<Event>,
) -> Scene<'a> {
    Scene {
        base_url: format!("http://{}", stage.address),
        remark: stage.remark.as_deref(),
        hints: &stage.hints,
        seed: stage.seed,
        began_at: stage.began_at,
        ran: stage.ran(),
        length,
        ending,
        sight,
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
