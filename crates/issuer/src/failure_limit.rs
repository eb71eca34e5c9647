//! Slows down whoever sends wrong credentials, by address, in memory of a fixed size.
//!
//! It is no defence against guessing, which the length of every credential makes hopeless. It keeps a program with an old
//! credential, or somebody who tries, from filling log and processor.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// How many wrong credentials an address may send at once.
const BURST: u32 = 20;

/// After which time it may send one more.
const PERIOD: Duration = Duration::from_secs(3);

/// How long the answer to one more is held back.
const DELAY: Duration = Duration::from_secs(1);

/// How many answers are held back at once; others are sent without delay, so that nobody can pile them up.
const MAX_DELAYED: usize = 256;

/// Addresses are remembered in sets, by their hash. The set of an address that is new forgets the one that is in order soonest.
const SETS: usize = 2_048;
const SET_SIZE: usize = 4;

/// Which addresses sent wrong credentials lately.
pub(crate) struct FailureLimit {
    sets: Mutex<Vec<[Failures; SET_SIZE]>>,
    hasher: RandomState,
    delayed: Semaphore,
}

/// The failures of one address: each moves the time when all are forgotten by [`PERIOD`].
#[derive(Clone, Copy)]
struct Failures {
    client: IpAddr,
    /// In time of [`jeton_core::time::Clock::uptime`].
    forgotten_at: Duration,
}

impl Default for FailureLimit {
    fn default() -> Self {
        let nobody = Failures { client: Ipv6Addr::UNSPECIFIED.into(), forgotten_at: Duration::ZERO };
        Self {
            sets: Mutex::new(vec![[nobody; SET_SIZE]; SETS]),
            hasher: RandomState::new(),
            delayed: Semaphore::new(MAX_DELAYED),
        }
    }
}

impl FailureLimit {
    /// Counts one wrong credential. Where there were too many, it answers when the next one is in order, after a delay.
    pub(crate) async fn count(&self, client: IpAddr, now: Duration) -> Option<Duration> {
        let wait = self.add(client_network(client), now)?;
        tracing::warn!(%client, "too many wrong credentials come from one address; it is answered slowly");
        if let Ok(_held) = self.delayed.try_acquire() {
            sleep(DELAY).await;
        }
        Some(wait)
    }

    fn add(&self, client: IpAddr, now: Duration) -> Option<Duration> {
        let mut sets = self.sets.lock();
        let index = usize::try_from(self.hasher.hash_one(client) % (SETS as u64)).unwrap_or_default();
        let set = &mut sets[index];
        let known = set.iter().position(|failures| failures.client == client);
        let oldest = || (0..SET_SIZE).min_by_key(|index| set[*index].forgotten_at);
        let index = known.or_else(oldest).unwrap_or_default();
        let forgotten_at = if known.is_some() { set[index].forgotten_at.max(now) } else { now } + PERIOD;
        let over =
            forgotten_at.saturating_sub(now).checked_sub(PERIOD * BURST).filter(|over| !over.is_zero());
        if over.is_none() {
            set[index] = Failures { client, forgotten_at };
        }
        over
    }
}

/// What one customer of a network usually has: an IPv4 address, or the /64 of an IPv6 address.
fn client_network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(number).into()
    }

    #[test]
    fn an_address_is_slowed_down_after_a_burst_and_forgiven_with_time() {
        let limit = FailureLimit::default();
        let mut now = Duration::from_hours(1);
        assert!((0..BURST).all(|_| limit.add(address(7), now).is_none()));
        assert_eq!(limit.add(address(7), now), Some(PERIOD));
        assert_eq!(limit.add(address(7), now), Some(PERIOD), "trying does not make it worse");
        assert_eq!(limit.add(address(8), now), None, "others go on");
        now += PERIOD;
        assert_eq!(limit.add(address(7), now), None);
        assert_eq!(limit.add(address(7), now), Some(PERIOD));
        now += PERIOD * BURST;
        assert!((0..BURST).all(|_| limit.add(address(7), now).is_none()));
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_count_as_one() {
        let network = |text: &str| client_network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn any_number_of_addresses_takes_the_same_memory_and_a_busy_one_is_remembered() {
        let limit = FailureLimit::default();
        let now = Duration::ZERO;
        while limit.add(address(7), now).is_none() {}
        // As many again as are remembered: those with one failure make room for each other.
        for number in 0..8_192 {
            assert_eq!(limit.add(address(0x0a00_0000 + number), now), None);
        }
        assert!(limit.add(address(7), now).is_some());
        assert_eq!(limit.sets.lock().len() * SET_SIZE, 8_192);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_over_the_limit_are_delayed_but_not_without_end() {
        let limit = FailureLimit::default();
        while limit.add(address(7), Duration::ZERO).is_none() {}
        let begun = tokio::time::Instant::now();
        limit.count(address(7), Duration::ZERO).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), DELAY.as_secs());
        let all = limit.delayed.try_acquire_many(256).unwrap();
        limit.count(address(7), Duration::ZERO).await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), DELAY.as_secs(), "no delay where too many wait");
        drop(all);
    }
}
