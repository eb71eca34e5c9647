//! What a breaker does, step by step and under any course of events.

use proptest::prelude::*;

use super::*;

const RULES: BreakerRules = BreakerRules {
    concurrency: 8,
    connections: 200,
    first_pause: Duration::from_secs(5),
    longest_pause: Duration::from_mins(1),
};

const ANSWERED: RequestResult<'static> =
    RequestResult { verdict: EndpointVerdict::Answered, code: "", retry_after: None };
const DOWN: RequestResult<'static> =
    RequestResult { verdict: EndpointVerdict::Down, code: "http_503", retry_after: None };

fn name(number: usize) -> ConnectionName {
    format!("c{number}").parse().unwrap()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn admitted(breaker: &mut Breaker, number: usize, now: Duration) -> Option<RunningRequest> {
    match breaker.admit(&name(number), false, now) {
        Admission::Now(request) => Some(request),
        _ => None,
    }
}

fn send(
    breaker: &mut Breaker,
    number: usize,
    result: RequestResult<'_>,
    now: Duration,
) -> Option<BreakerChange> {
    admitted(breaker, number, now).map(|request| breaker.end(request, result, now))
}

/// A breaker whose endpoint has answered.
fn answered(rules: BreakerRules) -> Breaker {
    let mut breaker = Breaker::new(rules);
    send(&mut breaker, 199, ANSWERED, at(0));
    breaker
}

fn opened(rules: BreakerRules) -> Breaker {
    let mut breaker = answered(rules);
    for number in 0..3 {
        send(&mut breaker, number, DOWN, at(100));
    }
    assert!(breaker.outage().is_some());
    breaker
}

#[test]
fn three_connections_in_a_row_without_an_answer_open_it() {
    let mut breaker = Breaker::new(RULES);
    send(&mut breaker, 0, DOWN, at(1));
    send(&mut breaker, 1, DOWN, at(2));
    send(&mut breaker, 2, ANSWERED, at(3));
    send(&mut breaker, 3, DOWN, at(4));
    send(&mut breaker, 4, DOWN, at(5));
    assert_eq!(breaker.outage(), None, "an answer came between");
    let outage = Outage { since: at(4), next_trial: at(6) + at(5) / 4 * 3 };
    assert_eq!(send(&mut breaker, 5, DOWN, at(6)), Some(BreakerChange::Opened(outage)));
}

#[test]
fn before_the_first_answer_no_more_requests_run_than_open_it() {
    let mut breaker = Breaker::new(RULES);
    let mut running: Vec<_> = (0..50).filter_map(|number| admitted(&mut breaker, number, at(1))).collect();
    assert_eq!(running.len(), 3);
    for end in 2..5 {
        let request = running.pop().unwrap();
        breaker.end(request, DOWN, at(end));
        assert_eq!(admitted(&mut breaker, 60, at(end)), None);
    }
    assert!(breaker.outage().is_some(), "three requests are all that were sent");

    let mut breaker = answered(RULES);
    assert_eq!((0..50).filter_map(|number| admitted(&mut breaker, number, at(1))).count(), 8);
}

#[test]
fn a_connection_that_hangs_alone_does_not_keep_the_others_from_their_first_answer() {
    let mut breaker = Breaker::new(RULES);
    let hanging = admitted(&mut breaker, 0, at(1)).unwrap();
    assert!(send(&mut breaker, 1, ANSWERED, at(2)).is_some());
    assert_eq!((2..50).filter_map(|number| admitted(&mut breaker, number, at(3))).count(), 7);
    breaker.end(hanging, DOWN, at(31));
    assert_eq!(breaker.outage(), None);
}

#[test]
fn before_the_first_answer_one_that_failed_and_is_sent_again_keeps_nobody_waiting() {
    let mut breaker = Breaker::new(RULES);
    for number in 0..2 {
        send(&mut breaker, number, DOWN, at(1));
    }
    let again: Vec<_> = (0..2).filter_map(|number| admitted(&mut breaker, number, at(60))).collect();
    assert_eq!(again.len(), 1);
    assert!(send(&mut breaker, 5, ANSWERED, at(61)).is_some(), "it is not behind what may hang");
}

#[test]
fn before_the_first_answer_a_connection_that_fails_is_retried_at_the_pace_of_trials() {
    let mut breaker = Breaker::new(BreakerRules { connections: 1, ..RULES });
    for round in 0..3 {
        assert!(send(&mut breaker, 0, DOWN, at(round * 60)).is_some());
        let retried = |second| breaker.may_retry_early(&name(0), at(round * 60 + second));
        assert!(round == 2 || (!retried(59) && retried(60)));
    }
    assert!(breaker.outage().is_some());
}

#[test]
fn the_first_answer_of_all_and_each_return_give_what_failed_a_new_chance() {
    let mut breaker = Breaker::new(RULES);
    assert!(breaker.is_untried() && breaker.returns() == 0);
    send(&mut breaker, 0, DOWN, at(1));
    assert_eq!(breaker.returns(), 0);
    send(&mut breaker, 1, ANSWERED, at(2));
    send(&mut breaker, 2, ANSWERED, at(3));
    assert!(!breaker.is_untried() && breaker.returns() == 1);
    let mut breaker = opened(RULES);
    send(&mut breaker, 1, ANSWERED, at(110));
    assert_eq!(breaker.returns(), 2);
}

#[test]
fn a_wait_that_one_connection_was_asked_for_does_not_delay_a_later_trial_once_others_were_answered() {
    let mut breaker = answered(RULES);
    let limited = RequestResult { verdict: EndpointVerdict::Unclear, retry_after: Some(at(600)), ..DOWN };
    send(&mut breaker, 0, limited, at(1));
    send(&mut breaker, 1, ANSWERED, at(2));
    for number in 2..5 {
        send(&mut breaker, number, DOWN, at(10));
    }
    assert_eq!(breaker.outage().unwrap().next_trial, at(10) + at(5) / 4 * 3);
}

#[test]
fn one_connection_with_a_fault_of_its_own_opens_it_only_where_it_is_the_only_one() {
    let mut shared = Breaker::new(RULES);
    let mut sole = Breaker::new(BreakerRules { connections: 1, ..RULES });
    for second in 0..9 {
        send(&mut shared, 0, DOWN, at(second));
    }
    for second in 0..3 {
        send(&mut sole, 0, DOWN, at(second));
    }
    assert!(shared.outage().is_none() && sole.outage().is_some());
}

#[test]
fn connections_that_fail_while_others_are_answered_do_not_open_it_again_and_again() {
    let mut breaker = Breaker::new(RULES);
    let mut openings = Vec::new();
    for round in 0..60 {
        for (number, late) in (0..50).flat_map(|number| [(number, 0), (number, 60)]) {
            let change = send(&mut breaker, number, DOWN, at(round * 1_000 + late));
            if let Some(BreakerChange::Opened(_)) = change {
                openings.push(round);
            }
        }
        let answered = send(&mut breaker, 99, ANSWERED, at(round * 1_000 + 500));
        assert!(answered.is_some(), "the healthy one is let through");
    }
    assert!(openings.iter().all(|round| *round < 40), "each of the fifty counts once: {openings:?}");
}

#[test]
fn the_one_connection_that_fails_at_a_quiet_endpoint_is_retried_until_another_one_is_answered() {
    let mut breaker = answered(RULES);
    for second in [0, 60, 180] {
        assert!(!breaker.may_retry_early(&name(0), at(second)));
        send(&mut breaker, 0, DOWN, at(second));
    }
    assert!(!breaker.may_retry_early(&name(0), at(239)) && breaker.may_retry_early(&name(0), at(240)));
    send(&mut breaker, 1, ANSWERED, at(241));
    assert!(!breaker.may_retry_early(&name(0), at(500)), "the others are answered");
}

#[test]
fn a_rate_limit_and_a_refusal_do_not_open_it() {
    let mut breaker = Breaker::new(RULES);
    for number in 0..20 {
        send(
            &mut breaker,
            number,
            RequestResult { verdict: EndpointVerdict::Unclear, ..DOWN },
            at(number as u64),
        );
    }
    assert_eq!(breaker.outage(), None);
}

#[test]
fn trials_come_one_at_a_time_with_pauses_that_double_up_to_the_longest() {
    let mut breaker = opened(RULES);
    let mut last = 100;
    let mut trials = Vec::new();
    for second in 100..1_000 {
        for number in 0..200 {
            if let Some(request) = admitted(&mut breaker, number, at(second)) {
                assert_eq!(admitted(&mut breaker, number + 1, at(second)), None, "one at a time");
                breaker.end(request, DOWN, at(second));
                trials.push(second - last);
                last = second;
            }
        }
    }
    assert!(trials.iter().all(|pause| *pause <= 60), "{trials:?}");
    assert!(trials[0] <= 5 && trials[1] <= 10 && trials[5..].iter().all(|pause| *pause >= 45));
}

#[test]
fn connections_that_failed_and_those_that_did_not_take_turns_at_the_trials() {
    let mut breaker = opened(RULES);
    let mut fresh = 0;
    let mut count = 0;
    for second in 100..3_000 {
        for number in [0, 150 + count] {
            if let Some(request) = admitted(&mut breaker, number, at(second)) {
                fresh += usize::from(!request.was_down);
                count += 1;
                breaker.end(request, DOWN, at(second));
            }
        }
    }
    assert!(count > 40 && fresh.abs_diff(count / 2) <= 1, "{fresh} of {count}");
}

#[test]
fn a_sole_connection_makes_every_trial_in_time() {
    let mut breaker = Breaker::new(BreakerRules { connections: 1, ..RULES });
    for second in 0..3 {
        send(&mut breaker, 0, DOWN, at(second));
    }
    let mut last = 2;
    for second in 3..1_000 {
        if send(&mut breaker, 0, DOWN, at(second)).is_some() {
            assert!(second - last <= 60, "{second} after {last}");
            last = second;
        }
    }
    assert!(last > 930);
}

#[test]
fn a_wait_that_a_reply_asks_for_holds_for_the_trial_of_any_connection() {
    let mut breaker = opened(RULES);
    let asked = RequestResult { retry_after: Some(at(300)), ..DOWN };
    assert!(send(&mut breaker, 0, asked, at(200)).is_some());
    for number in 0..200 {
        assert_eq!(admitted(&mut breaker, number, at(499)), None);
    }
    assert_eq!(breaker.outage().unwrap().next_trial, at(500));
    assert!(admitted(&mut breaker, 9, at(500)).is_some());
    let endless = RequestResult { retry_after: Some(at(86_400)), ..DOWN };
    let mut breaker = opened(RULES);
    send(&mut breaker, 0, endless, at(200));
    assert!(admitted(&mut breaker, 1, at(200) + LONGEST_WAIT).is_some());
    assert!(!breaker.may_skip_cooldown(&name(0), Some("http_503"), at(50_000)), "its own wait is its own");
}

#[test]
fn a_cool_down_that_is_set_to_more_than_the_pause_between_trials_is_not_cut_short() {
    for (first_pause, until) in [(5, 160), (600, 700)] {
        let (first_pause, early, until) = (at(first_pause), at(until - 1), at(until));
        let mut breaker = Breaker::new(BreakerRules { first_pause, ..RULES });
        send(&mut breaker, 0, DOWN, at(100));
        assert!(!breaker.may_skip_cooldown(&name(0), Some("http_503"), early));
        assert!(breaker.may_skip_cooldown(&name(0), Some("http_503"), until));
    }
}

#[test]
fn a_person_and_a_grace_go_through_an_open_breaker_and_their_answer_closes_it() {
    let mut breaker = opened(RULES);
    let Admission::Now(request) = breaker.admit(&name(7), true, at(100)) else { panic!("it is let through") };
    assert_eq!(breaker.end(request, ANSWERED, at(101)), BreakerChange::Closed { since: at(100) });
    assert_eq!(breaker.outage(), None);
}

#[test]
fn a_trial_that_was_not_sent_leaves_the_trial_to_another_one() {
    let mut breaker = opened(RULES);
    let trial = admitted(&mut breaker, 0, at(105)).unwrap();
    breaker.give_back(&trial, at(105));
    assert!(admitted(&mut breaker, 1, at(110)).is_some());
}

#[test]
fn the_first_answer_closes_it_and_the_others_start_slowly() {
    let mut breaker = opened(RULES);
    assert_eq!(send(&mut breaker, 0, ANSWERED, at(105)), Some(BreakerChange::Closed { since: at(100) }));
    let mut starts = [0_usize; 12];
    let mut waiting = 1..200;
    let mut next = waiting.next();
    for millis in 0..12_000 {
        let now = at(105) + Duration::from_millis(millis);
        while let Some(number) = next
            && send(&mut breaker, number, ANSWERED, now).is_some()
        {
            starts[usize::try_from(millis / 1_000).unwrap()] += 1;
            next = waiting.next();
        }
    }
    assert_eq!(next, None, "all of them are through after twelve seconds: {starts:?}");
    assert!(starts.iter().enumerate().take(6).all(|(second, count)| *count <= 2 << second), "{starts:?}");
}

#[test]
fn a_slow_start_runs_few_requests_at_once() {
    let mut breaker = opened(RULES);
    send(&mut breaker, 0, ANSWERED, at(105));
    let mut running = Vec::new();
    for millis in 0..20_000 {
        running.extend(admitted(&mut breaker, 10, at(105) + Duration::from_millis(millis)));
        let allowed = 1 + usize::try_from(millis / 1_000).unwrap();
        assert!(running.len() <= allowed.min(8), "{} at {millis} ms", running.len());
    }
    assert_eq!(running.len(), 8);
}

#[test]
fn what_waits_for_the_endpoint_is_sent_early_once_after_it_came_back() {
    let mut breaker = opened(RULES);
    assert!(!breaker.may_retry_early(&name(1), at(101)));
    send(&mut breaker, 0, ANSWERED, at(105));
    assert!(breaker.may_retry_early(&name(1), at(106)));
    assert!(breaker.may_skip_cooldown(&name(1), Some("http_503"), at(106)));
    assert!(!breaker.may_skip_cooldown(&name(1), Some("recovery_refused"), at(106)), "that is another pause");
    send(&mut breaker, 1, DOWN, at(107));
    assert!(!breaker.may_retry_early(&name(1), at(108)), "its own pauses go on");
}

#[test]
fn what_may_hang_leaves_half_of_the_requests_to_what_does_not() {
    let mut breaker = answered(RULES);
    let first: Vec<_> = (0..2).map(|number| admitted(&mut breaker, number, at(0)).unwrap()).collect();
    for request in first {
        breaker.end(request, DOWN, at(30));
    }
    let doubtful = (0..9).filter_map(|_| admitted(&mut breaker, 0, at(60))).count();
    let healthy = (50..59).filter_map(|number| admitted(&mut breaker, number, at(60))).count();
    assert_eq!((doubtful, healthy), (4, 4));
}

#[test]
fn what_a_failure_says_of_the_endpoint_follows_from_its_class_and_status() {
    use ErrorClass::{Ambiguous, BadClient, DeadGrant, RateLimited, Transient, Unknown};
    for (class, status) in [
        (Transient, None),
        (Ambiguous, None),
        (Transient, Some(503)),
        (Ambiguous, Some(500)),
        (Ambiguous, Some(200)),
        (Transient, Some(403)),
        (Unknown, Some(502)),
    ] {
        assert_eq!(EndpointVerdict::of_failure(class, status), EndpointVerdict::Down, "{class:?} {status:?}");
    }
    for (class, status) in [
        (DeadGrant, Some(400)),
        (BadClient, Some(401)),
        (Unknown, Some(400)),
        (Transient, Some(400)),
        (Unknown, Some(308)),
        (DeadGrant, Some(500)),
    ] {
        assert_eq!(
            EndpointVerdict::of_failure(class, status),
            EndpointVerdict::Answered,
            "{class:?} {status:?}"
        );
    }
    for (class, status) in [(RateLimited, Some(429)), (RateLimited, Some(400)), (Unknown, Some(429))] {
        assert_eq!(EndpointVerdict::of_failure(class, status), EndpointVerdict::Unclear);
    }
}

proptest! {
    #[test]
    fn an_endpoint_that_is_down_gets_few_requests_and_is_tried_at_least_every_longest_pause(
        connections in 1_usize..40,
        concurrency in 1_usize..10,
        askers in prop::collection::vec((0_usize..40, 0_u64..35), 50..400),
    ) {
        let rules = BreakerRules { concurrency, connections, ..RULES };
        let mut breaker = Breaker::new(rules);
        let mut running: Vec<(Duration, RunningRequest)> = Vec::new();
        let mut sent: Vec<Duration> = Vec::new();
        let mut askers = askers.iter().cycle();
        let mut opened = None;
        for second in 0..1_800 {
            let now = at(second);
            while let Some(index) = running.iter().position(|(ends, _)| *ends <= now) {
                let (_, request) = running.swap_remove(index);
                if let BreakerChange::Opened(_) = breaker.end(request, DOWN, now) {
                    opened.get_or_insert(now);
                }
            }
            for _ in 0..4 {
                let (number, takes) = askers.next().unwrap();
                let number = number % connections;
                if let Some(request) = admitted(&mut breaker, number, now) {
                    prop_assert!(running.len() < concurrency || opened.is_some());
                    running.push((now + at(*takes), request));
                    sent.push(now);
                }
            }
        }
        let Some(opened) = opened else { return Ok(()) };
        let trials: Vec<_> = sent.iter().filter(|sent| **sent > opened).collect();
        prop_assert!(trials.windows(2).all(|pair| *pair[1] <= *pair[0] + at(60 + 45)));
        prop_assert!(trials.len() <= 8 + 1_800 / 45, "{} trials", trials.len());
    }

    #[test]
    fn nothing_is_lost_count_of_and_an_answer_always_closes_it(
        steps in prop::collection::vec((0_usize..12, 0_u8..5, 0_u64..40), 1..300),
    ) {
        let mut breaker = Breaker::new(BreakerRules { connections: 12, ..RULES });
        let mut now = at(0);
        let mut running = Vec::new();
        for (number, kind, wait) in steps {
            now += at(wait);
            if kind < 2 {
                if let Admission::Now(request) = breaker.admit(&name(number), kind == 1, now) {
                    running.push(request);
                }
            } else if let Some(request) = running.pop() {
                match kind {
                    2 => breaker.give_back(&request, now),
                    3 => {
                        breaker.end(request, DOWN, now);
                    }
                    _ => {
                        breaker.end(request, ANSWERED, now);
                        prop_assert_eq!(breaker.outage(), None);
                    }
                }
            }
            prop_assert_eq!(breaker.running, running.len());
            prop_assert!(breaker.running <= 8 + 1, "a trial may join those that were under way");
        }
    }
}
