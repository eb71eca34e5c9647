//! Which clock is believed where clocks contradict each other.
//!
//! There are three. The *civil* clock shows the time of day and can be set. The *steady* clock only counts, through suspensions,
//! and begins anew with each boot; it misses the time for which a virtual machine was paused. The *clock of the store* is one
//! for all nodes, and its instants stand in rows. No instant of a node's own civil clock does.

use std::time::Duration;

use crate::time::Timestamp;

/// A change of a clock that is worth noticing: reading two clocks takes a while, and civil time is slewed.
pub const CLOCK_STEP: Duration = Duration::from_secs(5);

/// What a store says of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreReading {
    /// The instant by the clock of the store.
    pub now: Timestamp,
    /// What the civil clock of this machine shows then, where the store lives on this machine and its clock is a steady one.
    /// Absent where the clock of the store is itself the civil time that people are shown.
    pub civil: Option<Timestamp>,
}

impl StoreReading {
    /// One sentence when the civil clock of this machine, read before and after the store was asked, is more than [`CLOCK_STEP`] off
    /// the clock of a store elsewhere.
    pub fn clock_warning(&self, before: Timestamp, after: Timestamp) -> Option<String> {
        if self.civil.is_some() {
            return None;
        }
        let (off, way) = if self.now < before {
            (before.since(self.now), "ahead of")
        } else {
            (self.now.since(after), "behind")
        };
        (off > CLOCK_STEP).then(|| {
            format!(
                "the clock of this machine is {} s {way} the clock of the store, which alone decides lives, leases and due times: \
                 let both follow NTP",
                off.as_secs()
            )
        })
    }
}

/// How far the clock of a store is ahead of the steady clock of this process: between these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOffset {
    /// Microseconds.
    pub least: i64,
    /// Microseconds.
    pub most: i64,
}

impl StoreOffset {
    /// By an instant of the store that was asked for at `asked` and answered at `answered`, by the steady clock.
    pub fn of(now: Timestamp, asked: Duration, answered: Duration) -> Self {
        let ahead_of = |steady| now.as_micros().saturating_sub(micros(steady));
        Self { least: ahead_of(answered), most: ahead_of(asked) }
    }

    /// What `self` and a newer reading say together. The newer one alone counts where they contradict each other: the clock of
    /// the store was set, or time passed that the steady clock did not count.
    #[must_use]
    pub fn narrowed(self, newer: Self) -> Self {
        let both = Self { least: self.least.max(newer.least), most: self.most.min(newer.most) };
        if both.least <= both.most { both } else { newer }
    }

    /// The earliest that the clock of the store can show at a steady instant.
    pub fn earliest(self, steady: Duration) -> Timestamp {
        Timestamp::from_micros(micros(steady).saturating_add(self.least))
    }

    /// The latest that it can show then.
    pub fn latest(self, steady: Duration) -> Timestamp {
        Timestamp::from_micros(micros(steady).saturating_add(self.most))
    }
}

/// What the clocks show at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReadings {
    /// The steady clock.
    pub steady: Duration,
    /// The clock of the store.
    pub store: Timestamp,
    /// The civil time that people are shown.
    pub civil: Timestamp,
}

impl ClockReadings {
    /// How much time may have passed since `earlier`, readings of the same boot: as much as the clock says that counted most.
    /// A token is as old as any clock says, so that neither a clock that was set back nor a pause of the machine keeps a dead one
    /// alive.
    pub fn passed_since(&self, earlier: &Self) -> Duration {
        let steady = self.steady.saturating_sub(earlier.steady);
        steady.max(self.store.since(earlier.store)).max(self.civil.since(earlier.civil))
    }
}

/// How far the steady clock of a machine had come when a store on that machine last wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteadyMark {
    /// The steady clock then, on a scale that goes on over boots.
    pub steady: Timestamp,
    /// How far it was ahead of the civil clock, in microseconds.
    pub drift: i64,
}

/// Time that may have passed and that the steady clock did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UncountedTime {
    /// None.
    Nothing,
    /// So much at most.
    AtMost(Duration),
    /// Nobody knows how much.
    Unknown,
}

impl SteadyMark {
    /// The mark of two clocks.
    pub fn of(steady: Timestamp, civil: Timestamp) -> Self {
        Self { steady, drift: steady.as_micros().saturating_sub(civil.as_micros()) }
    }

    /// Where the steady clock goes on after a new boot, at which the civil clock shows `civil`: after as long as that clock says
    /// that the machine was off. It never goes back. Where the civil clock is behind the mark it is wrong, as that of a machine
    /// whose clock has no battery, and nobody knows for how long the machine was off.
    pub fn resume(self, civil: Timestamp) -> (Timestamp, UncountedTime) {
        let steady = Timestamp::from_micros(civil.as_micros().saturating_add(self.drift));
        if steady + CLOCK_STEP >= self.steady {
            (steady.max(self.steady), UncountedTime::Nothing)
        } else {
            (self.steady, UncountedTime::Unknown)
        }
    }

    /// What passed uncounted between this mark and a later one of the same boot. A civil clock that jumps ahead was set, or the
    /// machine was paused; who cannot tell must assume the latter.
    pub fn uncounted_until(self, later: Self) -> UncountedTime {
        match u64::try_from(self.drift.saturating_sub(later.drift)).map(Duration::from_micros) {
            Ok(step) if step >= CLOCK_STEP => UncountedTime::AtMost(step),
            _ => UncountedTime::Nothing,
        }
    }

    /// Whether the civil clock was set, or the steady clock missed something, between this mark and a later one.
    pub fn differs_from(self, later: Self) -> bool {
        Duration::from_micros(self.drift.abs_diff(later.drift)) >= CLOCK_STEP
    }
}

fn micros(steady: Duration) -> i64 {
    i64::try_from(steady.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000_000;

    /// What happens to the clocks of a machine and of a store elsewhere. Microseconds.
    #[derive(Clone, Copy, Debug)]
    enum Happening {
        /// Time passes, and all count it.
        Passes(i64),
        /// The machine is paused: its steady clock stands still, and its civil clock is put right afterwards.
        Pause(i64),
        /// Somebody sets the civil clock.
        SetCivil(i64),
        /// Somebody sets the clock of the store.
        SetStore(i64),
        /// The machine is off for so long, and its civil clock is wrong by so much when it starts.
        Reboot(i64, i64),
    }

    fn happenings(reboots: bool) -> impl Strategy<Value = Vec<Happening>> {
        let step = -2 * DAY..2 * DAY;
        let mut kinds = vec![
            (0..DAY).prop_map(Happening::Passes).boxed(),
            (0..DAY).prop_map(Happening::Pause).boxed(),
            step.clone().prop_map(Happening::SetCivil).boxed(),
        ];
        if reboots {
            kinds.push(((0..DAY), step).prop_map(|(off, wrong)| Happening::Reboot(off, wrong)).boxed());
        } else {
            kinds.push(step.prop_map(Happening::SetStore).boxed());
        }
        prop::collection::vec(prop::strategy::Union::new(kinds), 1..12)
    }

    /// Clocks as they are, and what time it really is. Microseconds.
    #[derive(Clone, Copy, Debug)]
    struct World {
        real: i64,
        steady: i64,
        civil: i64,
        store: i64,
    }

    impl World {
        fn new() -> Self {
            Self { real: 0, steady: 5_000_000, civil: 100 * DAY, store: 100 * DAY }
        }

        fn let_happen(&mut self, happening: Happening) {
            match happening {
                Happening::Passes(time) => {
                    for clock in [&mut self.real, &mut self.steady, &mut self.civil, &mut self.store] {
                        *clock += time;
                    }
                }
                Happening::Pause(time) => {
                    for clock in [&mut self.real, &mut self.civil, &mut self.store] {
                        *clock += time;
                    }
                }
                Happening::SetCivil(by) => self.civil += by,
                Happening::SetStore(by) => self.store += by,
                Happening::Reboot(off, wrong) => {
                    self.real += off;
                    self.civil += off + wrong;
                    self.steady = 0;
                }
            }
        }

        fn steady(&self) -> Duration {
            Duration::from_micros(self.steady.unsigned_abs())
        }

        fn readings(&self) -> ClockReadings {
            ClockReadings {
                steady: self.steady(),
                store: Timestamp::from_micros(self.store),
                civil: Timestamp::from_micros(self.civil),
            }
        }
    }

    proptest! {
        #[test]
        fn no_setting_of_a_clock_and_no_pause_makes_less_time_pass_than_did(
            happenings in happenings(false),
            set in any::<bool>(),
        ) {
            let mut world = World::new();
            let learned = world.readings();
            for happening in happenings {
                let pauses = matches!(happening, Happening::Pause(_));
                // Where clocks are set back by as long as the machine was paused, nothing tells of the pause.
                if pauses == set && !matches!(happening, Happening::Passes(_)) {
                    continue;
                }
                world.let_happen(happening);
                let passed = world.readings().passed_since(&learned);
                prop_assert!(passed >= Duration::from_micros(world.real.unsigned_abs()), "{happening:?}");
            }
        }

        #[test]
        fn the_bounds_hold_what_the_clock_of_the_store_shows_whatever_was_set(
            steps in prop::collection::vec((0..DAY, 0..5_000_000_i64, 0..5_000_000_i64, prop::option::of(-DAY..DAY)), 1..20),
        ) {
            let mut world = World::new();
            let mut known: Option<StoreOffset> = None;
            for (passes, there, back, set) in steps {
                world.let_happen(Happening::Passes(passes));
                if let Some(by) = set {
                    world.let_happen(Happening::SetStore(by));
                    // Where the step is within the bounds nobody can notice it.
                    known = None;
                }
                let asked = world.steady();
                world.let_happen(Happening::Passes(there));
                let now = Timestamp::from_micros(world.store);
                world.let_happen(Happening::Passes(back));
                let newer = StoreOffset::of(now, asked, world.steady());
                let offset = known.map_or(newer, |known| known.narrowed(newer));
                let shown = Timestamp::from_micros(world.store);
                prop_assert!(offset.earliest(world.steady()) <= shown && shown <= offset.latest(world.steady()));
                prop_assert!(offset.most - offset.least <= there + back, "it never gets wider");
                known = Some(offset);
            }
        }

        #[test]
        fn over_boots_the_steady_clock_goes_on_and_what_it_missed_is_taken_off_every_life(happenings in happenings(true)) {
            let mut world = World::new();
            // The offset of this boot, and the mark that the store keeps.
            let mut offset = world.civil - world.steady;
            let scale = |world: &World, offset: i64| Timestamp::from_micros(world.steady + offset);
            let civil = |world: &World| Timestamp::from_micros(world.civil);
            let mut mark = SteadyMark::of(scale(&world, offset), civil(&world));
            // A token that expires in a day, and when that really is.
            let mut expiry = Some(mark.steady + Duration::from_micros(DAY.unsigned_abs()));
            let mut ends = world.real + DAY;
            for happening in happenings {
                let before = mark.steady;
                world.let_happen(happening);
                let missed = if let Happening::Reboot(_, wrong) = happening {
                    let (steady, missed) = mark.resume(civil(&world));
                    offset = steady.as_micros() - world.steady;
                    // A clock that is wrong at the start and is no earlier than the last mark deceives everybody: only one
                    // that is right, ahead, or plainly behind is asked for a promise.
                    if wrong < 0 && missed == UncountedTime::Nothing {
                        (expiry, ends) = (Some(steady + Duration::from_micros(DAY.unsigned_abs())), world.real + DAY);
                    }
                    mark = SteadyMark { steady, ..mark };
                    missed
                } else {
                    let later = SteadyMark::of(scale(&world, offset), civil(&world));
                    let missed = mark.uncounted_until(later);
                    mark = if mark.differs_from(later) { later } else { SteadyMark { steady: later.steady, ..mark } };
                    missed
                };
                prop_assert!(mark.steady >= before, "it never goes back");
                expiry = match missed {
                    UncountedTime::Nothing => expiry,
                    UncountedTime::AtMost(time) => expiry.map(|expiry| expiry - time),
                    UncountedTime::Unknown => None,
                };
                let lives = expiry.is_some_and(|expiry| mark.steady < expiry);
                // A pause that is shorter than a step of the clock is not noticed, and there may be a dozen of them.
                let unnoticed = 12 * i64::try_from(CLOCK_STEP.as_micros()).unwrap_or(0);
                prop_assert!(!lives || world.real < ends + unnoticed, "{happening:?}: {mark:?} {expiry:?}");
            }
        }
    }

    #[test]
    fn a_clock_that_is_off_by_more_than_five_seconds_is_told_with_its_cure() {
        let elsewhere = StoreReading { now: Timestamp::from_secs(1000), civil: None };
        let told = |before, after| {
            elsewhere.clock_warning(Timestamp::from_secs(before), Timestamp::from_secs(after))
        };
        assert_eq!(told(999, 1001), None);
        assert_eq!(told(1005, 1007), None, "5 s are borne");
        assert_eq!(told(900, 995), None, "the answer may have taken long");
        assert!(told(1006, 1007).unwrap().contains("6 s ahead of"));
        assert!(told(1200, 1201).unwrap().contains("200 s ahead of"));
        assert!(told(699, 700).unwrap().contains("300 s behind"));
        let here = StoreReading { civil: Some(Timestamp::from_secs(1)), ..elsewhere };
        assert_eq!(here.clock_warning(Timestamp::from_secs(1), Timestamp::from_secs(1)), None);
    }

    #[test]
    fn a_civil_clock_that_is_behind_the_mark_at_a_boot_is_not_believed() {
        let mark = SteadyMark { steady: Timestamp::from_secs(1_000_000), drift: 7_000_000 };
        let at = |secs| mark.resume(Timestamp::from_secs(secs));
        assert_eq!(at(1_000_100), (Timestamp::from_secs(1_000_107), UncountedTime::Nothing));
        assert_eq!(at(999_990), (mark.steady, UncountedTime::Nothing), "it is read a moment later, no more");
        assert_eq!(at(0), (mark.steady, UncountedTime::Unknown));
    }
}
