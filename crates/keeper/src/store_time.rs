//! What time it is by the clock of the store, without asking it each time.
//!
//! This is the only clock that the keeper judges lives, leases and pauses by. The civil clock of this machine is read to show
//! instants to people, and to notice that the steady clock missed something.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jeton_core::clocks::{ClockReadings, StoreOffset, StoreReading};
use jeton_core::keep::ports::{ChangeFeed, StoreError};
use jeton_core::time::{Clock, Timestamp};

/// Below this difference the clock of the store shows the civil time: reading two clocks takes a while.
const SAME_TIME: Duration = Duration::from_millis(100);

/// The clock of the store, as far as this process knows it.
#[derive(Debug)]
pub(crate) struct StoreTime {
    clock: Arc<dyn Clock>,
    known: ArcSwap<KnownOffset>,
}

#[derive(Clone, Copy, Debug)]
struct KnownOffset {
    offset: StoreOffset,
    /// The store lives on this machine, and people are shown the civil time of this machine.
    is_local: bool,
}

impl StoreTime {
    /// By what a store said that was asked at `asked` by the steady clock.
    pub(crate) fn new(clock: Arc<dyn Clock>, reading: StoreReading, asked: Duration) -> Self {
        let offset = StoreOffset::of(reading.now, asked, clock.uptime());
        let known = KnownOffset { offset, is_local: reading.civil.is_some() };
        Self { clock, known: ArcSwap::from_pointee(known) }
    }

    /// Learns from an instant of the store, which was asked at `asked` by the steady clock.
    pub(crate) fn learn(&self, now: Timestamp, asked: Duration) {
        let newer = StoreOffset::of(now, asked, self.clock.uptime());
        self.known.rcu(|known| KnownOffset { offset: known.offset.narrowed(newer), ..**known });
    }

    /// The latest that the clock of the store can show now: by it nothing lives too long.
    pub(crate) fn now(&self) -> Timestamp {
        self.known.load().offset.latest(self.clock.uptime())
    }

    /// The steady clock of this machine.
    pub(crate) fn uptime(&self) -> Duration {
        self.clock.uptime()
    }

    /// The earliest that the clock of the store can show now. What the store does later happens later by this instant.
    pub(crate) fn earliest(&self) -> Timestamp {
        self.known.load().offset.earliest(self.clock.uptime())
    }

    /// What the clocks show now.
    pub(crate) fn readings(&self) -> ClockReadings {
        let known = self.known.load();
        let steady = self.clock.uptime();
        let store = known.offset.latest(steady);
        let civil = if known.is_local { self.clock.now() } else { store };
        ClockReadings { steady, store, civil }
    }

    /// What the civil clock of this machine shows, where that is another clock than that of the store: people are told when it is
    /// wrong.
    pub(crate) fn node_clock(&self) -> Option<Timestamp> {
        (!self.known.load().is_local).then(|| self.clock.now())
    }

    /// One sentence where the civil clock of this machine is off from the store's, which said `now`; `before` is what it showed before
    /// the store was asked.
    pub(crate) fn warning(&self, now: Timestamp, before: Option<Timestamp>) -> Option<String> {
        StoreReading { now, civil: None }.clock_warning(before?, self.node_clock()?)
    }

    /// An instant of the store as people are shown it.
    pub(crate) fn shown(&self, instant: Timestamp) -> Timestamp {
        let ClockReadings { store, civil, .. } = self.readings();
        let (ahead, behind) = (civil.since(store), store.since(civil));
        if ahead.max(behind) < SAME_TIME { instant } else { instant + ahead - behind }
    }

    /// An instant that people or files name, by the clock of the store.
    pub(crate) fn meant(&self, shown: Timestamp) -> Timestamp {
        let ClockReadings { store, civil, .. } = self.readings();
        let (ahead, behind) = (civil.since(store), store.since(civil));
        if ahead.max(behind) < SAME_TIME { shown } else { shown + behind - ahead }
    }
}

/// The clock of the store behind `feed`, for whoever judges its rows without a vault. `clock` is that of this machine.
///
/// # Errors
/// The store does not answer.
pub async fn store_clock(feed: &dyn ChangeFeed, clock: Arc<dyn Clock>) -> Result<Arc<dyn Clock>, StoreError> {
    let asked = clock.uptime();
    let reading = feed.clock().await?;
    Ok(Arc::new(StoreTime::new(clock, reading, asked)))
}

impl Clock for StoreTime {
    fn now(&self) -> Timestamp {
        self.now()
    }

    fn uptime(&self) -> Duration {
        self.uptime()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jeton_testkit::OffsetClock;

    #[test]
    fn people_are_shown_the_civil_time_of_the_machine_where_the_store_lives_on_it() {
        let clock = Arc::new(OffsetClock::default());
        let reading = |civil| StoreReading { now: clock.now(), civil };
        let local = StoreTime::new(Arc::clone(&clock) as _, reading(Some(clock.now())), clock.uptime());
        let elsewhere = StoreTime::new(Arc::clone(&clock) as _, reading(None), clock.uptime());
        let instant = Timestamp::from_secs(10_000);
        assert_eq!((local.shown(instant), elsewhere.shown(instant)), (instant, instant));
        clock.set_civil(-3_600);
        let off = local.shown(instant).as_micros() - Timestamp::from_secs(6_400).as_micros();
        assert!(off.abs() < 1_000_000, "{}", local.shown(instant));
        assert_eq!(elsewhere.shown(instant), instant, "the clock of this node says nothing there");
        let back = local.meant(local.shown(instant));
        assert!(back.since(instant).max(instant.since(back)) < SAME_TIME);
    }
}
