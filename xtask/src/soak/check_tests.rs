//! Each rule finds what breaks it.

use std::collections::HashMap;
use std::time::Duration;

use jeton_core::id::AttemptId;
use jeton_core::time::Timestamp;
use jeton_emulator::{Emulator, Fault, FaultKind, RequestOutcome, RequestRecord, SeededEntropy, Settings};

use super::check::{SoakRecords, SoakResults, Span, check_results};
use crate::refresh_log::Attempt;

const START: Timestamp = Timestamp::from_secs(1_700_000_000);

fn at(millis: u64) -> Timestamp {
    START + Duration::from_millis(millis)
}

fn attempt(millis: u64, status: &str) -> Attempt {
    let id = AttemptId::generate(at(millis), &SeededEntropy::new(millis));
    let (connection, act) = ("c".to_owned(), "redeem".to_owned());
    let status = status.to_owned();
    Attempt {
        id,
        connection,
        act,
        status,
        code: None,
        fingerprint: None,
        recovers: None,
        new_generation: None,
        started_at: at(millis),
        completed_at: None,
    }
}

fn recovery(millis: u64, status: &str, of: &Attempt) -> Attempt {
    Attempt { recovers: Some(of.id), ..attempt(millis, status) }
}

/// A record as the emulator writes it for a first, honest, whole exchange, at another time and of the grant of connection `c`.
struct Provider {
    sample: RequestRecord,
}

impl Provider {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sample = runtime.block_on(async {
            let emulator = Emulator::start(Settings::default()).await.unwrap();
            let token = emulator.mint(1).remove(0);
            let form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", token.reveal()),
                ("client_id", "emulated"),
                ("client_secret", "emulated-secret"),
            ];
            jeton_testkit::Client::new(&emulator.base_url()).post_form("/token", &form).await.unwrap();
            assert!(emulator.wait_until_idle(Duration::from_secs(5)).await);
            emulator.records().remove(0)
        });
        Self { sample }
    }

    fn rotated(&self, millis: u64, token: &str) -> RequestRecord {
        let finished_at = Some(at(millis + 5));
        RequestRecord {
            at: at(millis),
            finished_at,
            presented: Some(token.to_owned()),
            ..self.sample.clone()
        }
    }

    fn lost(&self, millis: u64, token: &str) -> RequestRecord {
        let fault = Fault::lose_reply().kind;
        RequestRecord { fault, reply_written: false, ..self.rotated(millis, token) }
    }

    fn refused(&self, millis: u64, token: &str, outcome: RequestOutcome) -> RequestRecord {
        RequestRecord { outcome, accepted: false, ..self.rotated(millis, token) }
    }

    fn results(
        &self,
        records: Vec<RequestRecord>,
        attempts: Vec<Attempt>,
        disturbances: Vec<Span>,
    ) -> SoakResults {
        check_results(&SoakRecords { disturbances, ..self.records(records, attempts) })
    }

    fn records(&self, records: Vec<RequestRecord>, attempts: Vec<Attempt>) -> SoakRecords {
        let owners = HashMap::from([(self.sample.grant.unwrap(), "c".to_owned())]);
        SoakRecords { records, attempts, owners, ..SoakRecords::default() }
    }
}

#[track_caller]
fn finds(results: &SoakResults, what: &str) {
    let found = results.findings.iter().filter(|finding| finding.contains(what)).count();
    assert_eq!((found, results.findings.len()), (1, 1), "{:#?}", results.findings);
}

#[test]
fn a_spend_whose_reply_is_stored_is_no_finding() {
    let provider = Provider::new();
    let results = provider.results(
        vec![provider.rotated(10, "t1"), provider.rotated(1_010, "t2")],
        vec![attempt(9, "success"), attempt(1_009, "success")],
        vec![],
    );
    assert_eq!(results.findings, Vec::<String>::new());
    assert_eq!((results.losses_named, results.recoveries), (0, 0));
}

#[test]
fn a_lost_reply_that_is_named_and_recovered_once_is_explained() {
    let provider = Provider::new();
    let first = attempt(9, "interrupted");
    let second = recovery(2_009, "failed", &first);
    let records = vec![provider.lost(10, "t1"), provider.refused(2_010, "t1", RequestOutcome::Reuse)];
    let results = provider.results(records, vec![first, second], vec![]);
    assert_eq!(results.findings, Vec::<String>::new());
    assert_eq!((results.losses_named, results.losses_of_disturbed, results.recoveries), (1, 0, 1));
}

#[test]
fn a_lost_reply_that_is_called_a_failure_is_found() {
    let provider = Provider::new();
    finds(
        &provider.results(vec![provider.lost(10, "t1")], vec![attempt(9, "failed")], vec![]),
        "not named interrupted",
    );
}

#[test]
fn a_whole_reply_that_is_not_stored_is_found_unless_the_process_was_killed_at_that_moment() {
    let provider = Provider::new();
    let sent = || (vec![provider.rotated(10, "t1")], vec![attempt(9, "interrupted")]);
    let (records, attempts) = sent();
    finds(&provider.results(records, attempts, vec![]), "no process was killed");
    let (records, attempts) = sent();
    let long_after = Span { from: at(5_000), to: at(5_010) };
    finds(&provider.results(records, attempts, vec![long_after]), "no process was killed");
    let (records, attempts) = sent();
    let results = provider.results(records, attempts, vec![Span { from: at(16), to: at(30) }]);
    let counted = (results.findings.len(), results.losses_named, results.losses_of_disturbed);
    assert_eq!(counted, (0, 1, 1));
}

#[test]
fn a_spend_with_no_attempt_in_the_log_is_found() {
    let provider = Provider::new();
    finds(&provider.results(vec![provider.rotated(10, "t1")], vec![], vec![]), "no attempt in the log");
    let later = vec![attempt(500, "success")];
    let results = provider.results(vec![provider.rotated(10, "t1")], later, vec![]);
    assert!(results.findings.iter().any(|finding| finding.contains("no attempt in the log")));
}

#[test]
fn a_token_sent_again_without_a_recovery_is_found_and_so_is_a_send_after_two_refusals() {
    let provider = Provider::new();
    let refused = |millis| provider.refused(millis, "t1", RequestOutcome::Reuse);
    let sent = || vec![provider.lost(10, "t1"), refused(2_010)];
    let results = provider.results(sent(), vec![attempt(9, "interrupted"), attempt(2_009, "failed")], vec![]);
    finds(&results, "no recovery is in the log");

    let first = attempt(9, "interrupted");
    let attempts = |count| {
        let recoveries = (1..=count).map(|number| recovery(number * 2_000 + 9, "interrupted", &first));
        [first.clone()].into_iter().chain(recoveries).collect()
    };
    let confirmed = [sent(), vec![refused(4_010)]].concat();
    let results = provider.results(confirmed.clone(), attempts(2), vec![]);
    assert_eq!(results.findings, Vec::<String>::new());
    let again = || [confirmed.clone(), vec![refused(6_010)]].concat();
    finds(&provider.results(again(), attempts(3), vec![]), "after two refusals");
    // The reply of one of them was lost.
    let mut lost = again();
    lost[1].reply_written = false;
    assert_eq!(provider.results(lost, attempts(3), vec![]).findings, Vec::<String>::new());
    // One of them came to a process that was killed, and was never read.
    let killed = Span { from: at(4_000), to: at(4_020) };
    assert_eq!(provider.results(again(), attempts(3), vec![killed]).findings, Vec::<String>::new());
    let again = [again(), vec![refused(8_010)]].concat();
    finds(&provider.results(again, attempts(4), vec![killed]), "after two refusals");
}

#[test]
fn a_token_that_was_clearly_refused_may_be_sent_again() {
    let provider = Provider::new();
    let limited = FaultKind::RateLimited { retry_after_secs: 1 };
    let refused = RequestRecord { fault: limited, ..provider.refused(10, "t1", RequestOutcome::NotAccepted) };
    let records = vec![refused, provider.rotated(2_010, "t1")];
    let results = provider.results(records, vec![attempt(9, "failed"), attempt(2_009, "success")], vec![]);
    assert_eq!(results.findings, Vec::<String>::new());
}

#[test]
fn an_overlap_is_found() {
    let provider = Provider::new();
    let record = RequestRecord { overlapping: true, ..provider.rotated(10, "t1") };
    finds(&provider.results(vec![record], vec![attempt(9, "success")], vec![]), "overlap");
}

#[test]
fn a_success_without_a_token_of_the_provider_is_found() {
    let provider = Provider::new();
    finds(&provider.results(vec![], vec![attempt(9, "success")], vec![]), "the provider sent no token");
    finds(
        &provider.results(vec![provider.lost(10, "t1")], vec![attempt(9, "success")], vec![]),
        "the provider sent no token",
    );
}

#[test]
fn a_generation_that_two_attempts_brought_is_found() {
    let provider = Provider::new();
    let brought = |millis| Attempt { new_generation: Some(2), ..attempt(millis, "success") };
    let records = || vec![provider.rotated(10, "t1"), provider.rotated(1_010, "t2")];
    finds(
        &provider.results(records(), vec![brought(9), brought(1_009)], vec![]),
        "generation 2, which existed",
    );
    let other = Attempt { new_generation: Some(3), ..brought(1_009) };
    assert_eq!(provider.results(records(), vec![brought(9), other], vec![]).findings, Vec::<String>::new());
}

#[test]
fn with_a_grace_a_dead_grant_is_found() {
    let provider = Provider::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let grants = runtime.block_on(async {
        let emulator = Emulator::start(Settings::default()).await.unwrap();
        let token = emulator.mint(1).remove(0);
        assert!(emulator.revoke_grant(token.reveal()));
        emulator.grants()
    });
    let strict = SoakRecords { grants: grants.clone(), ..provider.records(vec![], vec![]) };
    assert_eq!(check_results(&strict).findings, Vec::<String>::new());
    finds(
        &check_results(&SoakRecords { grants, grace: true, ..provider.records(vec![], vec![]) }),
        "although the provider forgives",
    );
}
