//! What a proxy saw: every token request, whose it was, and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jeton_emulator::short_hash;

/// A token request that a proxy read. Instants count from the start of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxiedRequest {
    /// The connection that its refresh token belongs to.
    pub(super) connection: String,
    /// A digest of its refresh token.
    pub(super) token: String,
    pub(super) arrived: Duration,
    /// From then on no reply could come any more: it had been delivered, or either side had closed the connection.
    pub(super) ended: Option<Duration>,
    /// The provider took the refresh token, and gave another.
    pub(super) accepted: bool,
    /// The whole reply of the provider was written back.
    pub(super) delivered: bool,
}

/// Everything that a proxy saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    pub(super) requests: Vec<ProxiedRequest>,
    /// When connections came that were closed before a request could be read.
    pub(super) turned_away: Vec<Duration>,
    /// The connection of every refresh token, by its digest.
    owners: BTreeMap<String, String>,
}

impl Journal {
    /// A refresh token belongs to a connection.
    pub(super) fn own(&mut self, connection: &str, refresh_token: &str) {
        self.owners.insert(short_hash(refresh_token), connection.to_owned());
    }

    /// A request came at `now`; answers its number.
    pub(super) fn begin(&mut self, request: &str, now: Duration) -> usize {
        let token = request.split("refresh_token=").nth(1).and_then(|rest| rest.split('&').next());
        let token = short_hash(token.unwrap_or_default());
        self.requests.push(ProxiedRequest {
            connection: self.owners.get(&token).cloned().unwrap_or_else(|| "unknown".to_owned()),
            token,
            arrived: now,
            ended: None,
            accepted: false,
            delivered: false,
        });
        self.requests.len() - 1
    }

    /// The provider replied to the request of this number.
    pub(super) fn note_reply(&mut self, number: usize, reply: &str) {
        let request = &mut self.requests[number];
        let successor = reply.split("\"refresh_token\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let Some(successor) = successor.filter(|_| reply.starts_with("HTTP/1.1 200")) else { return };
        request.accepted = true;
        self.owners.insert(short_hash(successor), request.connection.clone());
    }

    /// The connections whose last living refresh token is in a reply that was never delivered.
    pub(super) fn lost(&self) -> BTreeSet<String> {
        let taken = self.requests.iter().filter(|request| request.accepted && request.ended.is_some());
        let last: BTreeMap<&str, bool> =
            taken.map(|request| (request.connection.as_str(), request.delivered)).collect();
        last.into_iter().filter(|(_, delivered)| !delivered).map(|(name, _)| name.to_owned()).collect()
    }

    /// How many requests arrived in a span, or came to nothing before they could be read.
    pub(super) fn sends(&self, from: Duration, to: Duration) -> usize {
        let arrivals = self.requests.iter().map(|request| request.arrived);
        arrivals.chain(self.turned_away.iter().copied()).filter(|at| (from..to).contains(at)).count()
    }

    /// The most requests that were in progress at once in a span.
    pub(super) fn peak(&self, from: Duration, to: Duration) -> usize {
        let within = |at: &Duration| (from..to).contains(at);
        let in_progress = |at: Duration| {
            let open = |request: &&ProxiedRequest| {
                request.arrived <= at && request.ended.is_none_or(|ended| at < ended)
            };
            self.requests.iter().filter(open).count()
        };
        let arrivals = self.requests.iter().map(|request| request.arrived).filter(within);
        arrivals.map(in_progress).max().unwrap_or(0)
    }

    /// Sends of one refresh token at a time when an earlier one of it could still be answered.
    pub(super) fn overlaps(&self) -> Vec<String> {
        let mut last: BTreeMap<&str, &ProxiedRequest> = BTreeMap::new();
        let mut found = Vec::new();
        for request in &self.requests {
            if let Some(before) = last.insert(&request.token, request)
                && before.ended.is_none_or(|ended| request.arrived < ended)
            {
                found.push(format!(
                    "{} was sent {} at {:?}, while the reply to its send at {:?} could still come",
                    request.connection, request.token, request.arrived, before.arrived
                ));
            }
        }
        found
    }

    /// When the provider's first reply after `from` was delivered.
    pub(super) fn first_answer(&self, from: Duration) -> Option<Duration> {
        let delivered = self.requests.iter().filter(|request| request.delivered);
        delivered.filter_map(|request| request.ended).filter(|ended| *ended >= from).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A journal of the connections `a` and `b`, whose first refresh tokens are `a1` and `b1`.
    fn journal() -> Journal {
        let mut journal = Journal::default();
        journal.own("a", "a1");
        journal.own("b", "b1");
        journal
    }

    /// A send of `token`, answered with `successor` where there is one.
    fn send(journal: &mut Journal, token: &str, span: (u64, u64), successor: Option<&str>, delivered: bool) {
        let number =
            journal.begin(&format!("POST /\r\n\r\ngrant_type=x&refresh_token={token}&y=z"), at(span.0));
        if let Some(successor) = successor {
            journal
                .note_reply(number, &format!("HTTP/1.1 200 OK\r\n\r\n{{\"refresh_token\":\"{successor}\"}}"));
        }
        journal.requests[number].ended = Some(at(span.1));
        journal.requests[number].delivered = delivered;
    }

    #[test]
    fn a_successor_belongs_to_the_connection_of_its_predecessor_and_is_lost_when_it_is_not_delivered() {
        let mut journal = journal();
        send(&mut journal, "a1", (0, 5), Some("a2"), true);
        send(&mut journal, "b1", (6, 9), Some("b2"), false);
        send(&mut journal, "a2", (10, 15), None, false);
        let connections: Vec<_> = journal.requests.iter().map(|it| it.connection.as_str()).collect();
        assert_eq!(connections, ["a", "b", "a"]);
        assert_eq!(journal.lost(), BTreeSet::from(["b".to_owned()]));
        send(&mut journal, "a2", (20, 25), Some("a3"), false);
        assert_eq!(journal.lost().len(), 2);
        journal.requests[3].ended = None;
        assert_eq!(journal.lost().len(), 1, "a reply that is on its way is not lost");
        journal.requests[3].ended = Some(at(25));
        assert_eq!(journal.first_answer(at(0)), Some(at(5)));
        assert_eq!(journal.first_answer(at(6)), None);
    }

    #[test]
    fn two_sends_of_one_token_overlap_when_the_first_can_still_be_answered() {
        let mut journal = journal();
        send(&mut journal, "a1", (0, 5), None, false);
        send(&mut journal, "b1", (1, 9), None, false);
        send(&mut journal, "a1", (5, 8), None, false);
        assert!(journal.overlaps().is_empty());
        send(&mut journal, "a1", (7, 9), None, false);
        let found = journal.overlaps();
        assert!(found.len() == 1 && found[0].starts_with("a was sent"), "{found:?}");
    }

    #[test]
    fn requests_are_counted_where_they_arrived_and_as_long_as_they_are_in_progress() {
        let mut journal = journal();
        send(&mut journal, "a1", (0, 10), None, false);
        send(&mut journal, "b1", (5, 6), None, false);
        send(&mut journal, "b1", (20, 21), None, false);
        journal.turned_away.push(at(7));
        assert_eq!(journal.sends(at(0), at(20)), 3);
        assert_eq!((journal.peak(at(0), at(20)), journal.peak(at(8), at(30))), (2, 1));
    }
}
