//! Which of several addresses of one host lets us in first (RFC 8305, "Happy Eyeballs").

use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

/// How long an address has to answer before the next one is tried beside it (RFC 8305, section 5).
pub const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// The addresses that were tried, in this order, with what each failed with; `None` if it did not answer in time.
pub type FailedAddresses<E> = Vec<(SocketAddr, Option<E>)>;

/// Connects to one of the addresses of a host. The next is tried after `pause`, or at once when one fails, beside those that
/// have not answered yet; whichever connects first is taken, and the others are dropped. All of them together have until
/// `deadline`.
///
/// # Errors
/// None of them connected in time.
pub async fn race<T, E, C, P>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> C,
    pause: impl Fn() -> P,
    deadline: impl Future<Output = ()>,
) -> Result<T, FailedAddresses<E>>
where
    C: Future<Output = Result<T, E>>,
    P: Future<Output = ()>,
{
    let mut deadline = pin!(deadline);
    let mut failed: FailedAddresses<E> = Vec::new();
    let mut open = FuturesUnordered::new();
    let mut waiting = alternate_families(addresses).into_iter();
    loop {
        if let Some(address) = waiting.next() {
            let (index, attempt) = (failed.len(), connect(address));
            failed.push((address, None));
            open.push(async move { (index, attempt.await) });
        }
        let next_due =
            pin!(async { if waiting.len() == 0 { std::future::pending().await } else { pause().await } });
        match select(open.next(), select(next_due, deadline.as_mut())).await {
            Either::Left((Some((_, Ok(connected))), _)) => return Ok(connected),
            Either::Left((Some((index, Err(error))), _)) => failed[index].1 = Some(error),
            Either::Left((None, _)) | Either::Right((Either::Right(_), _)) => return Err(failed),
            Either::Right((Either::Left(_), _)) => {}
        }
    }
}

/// The places that were tried, in this order, each with what it failed with in the words of `why`.
pub fn describe<A: Display, E>(failed: &[(A, Option<E>)], why: impl Fn(&E) -> String) -> String {
    let each = failed.iter().map(|(place, error)| {
        format!("{place} ({})", error.as_ref().map_or_else(|| "no answer".to_owned(), &why))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The addresses in the order of the resolver, except that the two families take turns, so that a family that leads nowhere
/// delays by one address only (RFC 8305, section 4).
fn alternate_families(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (mut same, mut other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().rev().copied().partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(same.pop());
        ordered.extend(other.pop());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::{pending, ready};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What a future that never has to wait for the outside comes to.
    fn run<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn the_families_take_turns_and_keep_the_order_of_the_resolver() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let ordered = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(alternate_families(&given), ordered);
        assert_eq!(alternate_families(&[]), []);
    }

    #[test]
    fn a_silent_address_is_left_behind_after_one_pause_and_a_failed_one_at_once() {
        let all = addresses(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1", "1.1.1.4:1"]);
        let pauses = Cell::new(0);
        let tried = RefCell::new(Vec::new());
        let connect = |address: SocketAddr| {
            tried.borrow_mut().push(address);
            async move {
                match address.ip().to_string().as_str() {
                    "1.1.1.1" => pending().await,
                    "1.1.1.2" => Err("refused"),
                    _ => Ok(address),
                }
            }
        };
        let pause = || {
            pauses.set(pauses.get() + 1);
            // Before the first answer the pause ends; after it, the next address must not need one.
            let first = pauses.get() == 1;
            async move {
                if !first {
                    pending::<()>().await;
                }
            }
        };
        assert_eq!(run(race(&all, connect, pause, pending())), Ok(all[2]));
        assert_eq!(*tried.borrow(), all[..3], "the fourth is not bothered");
    }

    #[test]
    fn every_address_that_was_tried_is_named_with_its_reason() {
        let all = addresses(&["1.1.1.1:1", "[::2]:1"]);
        let refuse = |_| ready(Err::<(), _>("refused"));
        let refused = run(race(&all, refuse, pending::<()>, pending()));
        assert_eq!(refused, Err(vec![(all[0], Some("refused")), (all[1], Some("refused"))]));
        let silent = run(race(&all, |_| pending::<Result<(), &str>>(), pending::<()>, ready(())));
        assert_eq!(silent, Err(vec![(all[0], None)]), "the second was not tried in time");
        let both = describe(&[(all[0], Some("refused")), (all[1], None)], ToString::to_string);
        assert_eq!(both, "1.1.1.1:1 (refused), [::2]:1 (no answer)");
        assert_eq!(run(race(&[], refuse, pending::<()>, pending())), Err(Vec::new()));
    }
}
