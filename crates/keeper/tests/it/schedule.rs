//! Seeded schedules: several processes, many callers, a provider that lies, dies and dawdles. Whatever happens, every
//! token is presented at most once, save for one recorded recovery, and every loss has its interrupted attempt.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use jeton_core::keep::attempt::{Act, Attempt, AttemptStatus};
use jeton_core::keep::connection::refresh_context;
use jeton_core::keep::ports::AttemptFilter;
use jeton_core::keep::provider::{DurationText, PolicyOverrides};
use jeton_core::seal::Fingerprint;
use jeton_emulator::{Behaviour, Fault, FaultKind, RequestRecord, SeededEntropy, short_hash};
use jeton_keeper::{Grant, Settings, Token};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{Fixture, Options, holding, names, short_settings};
use crate::process::Process;

const CONNECTIONS: usize = 5;
const PROCESSES: usize = 3;
const CALLERS: usize = 12;
const DURATION: Duration = Duration::from_millis(1_800);

fn faulty_behaviour() -> Behaviour {
    let slow = Fault::none().slow_before(Duration::from_millis(20)).slow_after(Duration::from_millis(20));
    Behaviour::faultless()
        .with_chance(0.04, Fault::lose_reply())
        .with_chance(0.05, Fault::new(FaultKind::CutBefore))
        .with_chance(0.03, Fault::new(FaultKind::CutReply))
        .with_chance(0.03, Fault::new(FaultKind::FailAfter { status: 503 }))
        .with_chance(0.02, Fault::new(FaultKind::Garbage))
        .with_chance(0.05, Fault::new(FaultKind::RateLimited { retry_after_secs: 0 }))
        .with_chance(0.05, Fault::new(FaultKind::ErrorIn200))
        .with_chance(0.30, slow)
}

fn options(seed: u64) -> Options {
    let emulator =
        jeton_emulator::Settings { access_ttl: Duration::from_secs(1), seed, ..Default::default() };
    let settings = Settings {
        // Long enough for a process on a busy machine to say in time what became of its attempt.
        lease: Duration::from_secs(4),
        cooldown: Duration::from_millis(30),
        spill_slots: 8,
        ..short_settings()
    };
    // Refreshed a fifth of a second after their birth.
    let margin = Some(DurationText(Duration::from_millis(800)));
    let policy = PolicyOverrides { margin, ..holding(Duration::from_millis(100)) };
    Options { emulator, settings, policy, names: names(CONNECTIONS), ..Options::default() }
}

fn new_grant(fixture: &Fixture) -> Grant {
    Grant { refresh: Some(fixture.emulator.mint(1).remove(0)), ..Grant::default() }
}

fn pick(random: &SeededEntropy, count: usize) -> usize {
    usize::try_from(random.between(0, count as u64)).expect("a small number")
}

/// One caller that does as its random numbers say.
async fn call(fixture: &Fixture, processes: &[Process], random: SeededEntropy, until: Instant) {
    let mut last: Option<(String, Token)> = None;
    while Instant::now() < until {
        let process = &processes[pick(&random, PROCESSES)];
        let name = format!("c{}", pick(&random, CONNECTIONS));
        match random.between(0, 100) {
            0..60 => {
                if let Ok(token) = process.token(&name).await {
                    assert_alive(fixture, &name, &token);
                    last = Some((name, token));
                }
            }
            60..70 => {
                if let Some((name, token)) = &last {
                    drop(process.reject(name, token).await);
                }
            }
            70..80 => drop(
                process
                    .vault
                    .refresh(&name, jeton_keeper::RefreshMode::IfDue, &crate::process::operator())
                    .await,
            ),
            80..82 => drop(process.try_connect(&name, new_grant(fixture)).await),
            // Callers go away in the middle.
            82..92 => {
                let brief = Duration::from_millis(random.between(0, 30));
                drop(timeout(brief, process.token_for(&name, Duration::from_mins(1))).await);
            }
            _ => {}
        }
        sleep(Duration::from_millis(random.between(0, 15))).await;
    }
}

/// A token that is given as living is good at the provider, unless its grant died of something else.
fn assert_alive(fixture: &Fixture, name: &str, token: &Token) {
    let lives = token.expires_in.is_some_and(|left| left > Duration::from_millis(100));
    let access = token.access.reveal();
    let good = fixture.emulator.accepts(access) || fixture.emulator.died_with_grant(access);
    assert!(good || !lives, "{name} gave a token that the provider does not know: {token:?}");
}

async fn all_attempts(process: &Process) -> Vec<Attempt> {
    let mut filter = AttemptFilter::default();
    let mut all: Vec<Attempt> = Vec::new();
    loop {
        let page = process.vault.attempts(&filter, 500).await.expect("the store answers");
        filter.before = page.last().map(|attempt| attempt.id);
        let is_last = page.len() < 500;
        all.extend(page);
        if is_last {
            return all;
        }
    }
}

/// The provider's name of each refresh token that was ever held, by ours.
async fn names_of_tokens(fixture: &Fixture, processes: &[Process]) -> HashMap<Fingerprint, String> {
    let sealer = fixture.sealer(&processes[0]).await;
    let mut names = HashMap::new();
    for (name, generation, tokens) in processes.iter().flat_map(|process| process.probe.sealed()) {
        let refresh = tokens.refresh.expect("every set of this test has a refresh token");
        let opened = sealer.open(&refresh, refresh_context(&name, generation)).expect("it opens");
        let text = std::str::from_utf8(&opened).expect("a token is text");
        names.insert(tokens.refresh_fingerprint.expect("it is named"), short_hash(text));
    }
    names
}

/// Whether this request told its client, in words that it could read, that nothing was accepted.
fn is_refusal(record: &RequestRecord) -> bool {
    !record.accepted && matches!(record.fault, FaultKind::RateLimited { .. } | FaultKind::ErrorIn200)
}

/// What the provider's ledger and our log must agree on.
fn judge(fixture: &Fixture, attempts: &[Attempt], names: &HashMap<Fingerprint, String>) {
    let stats = fixture.emulator.stats();
    assert_eq!(stats.overlaps, 0, "{stats:?}");
    let mut by_token: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.act == Act::Redeem) {
        let fingerprint = attempt.fingerprint.expect("a redeem spends a token");
        by_token.entry(&names[&fingerprint]).or_default().push(attempt);
    }
    let mut presented: BTreeMap<String, Vec<RequestRecord>> = BTreeMap::new();
    for record in fixture.emulator.records() {
        let token = record.presented.clone().expect("every request carries a token");
        presented.entry(token).or_default().push(record);
    }
    for (token, records) in &presented {
        let ours = by_token.get(token.as_str()).map(Vec::as_slice).unwrap_or_default();
        let told = || format!("{token}: {records:#?}\n{ours:#?}");
        assert_eq!(records.len(), ours.len(), "every request has its attempt: {}", told());
        let maybe_accepted = records.iter().filter(|record| !is_refusal(record)).count();
        let recoveries = ours.iter().filter(|attempt| attempt.recovers.is_some()).count();
        assert!(maybe_accepted <= recoveries + 1, "it was sent again without a recovery: {}", told());
        if records.iter().any(RequestRecord::is_lost) {
            let on_record = ours.iter().any(|attempt| attempt.status == AttemptStatus::Interrupted);
            assert!(on_record, "the loss is not on record: {}", told());
        }
    }
    assert!(stats.rotations > 15, "the schedule did something: {stats:?}");
}

/// The seed stands in the name of the test that fails.
async fn run(seed: u64) {
    let fixture = Fixture::start(options(seed)).await;
    let processes: Vec<_> = join_all((0..PROCESSES).map(|_| fixture.process())).await;
    for name in names(CONNECTIONS) {
        processes[0].connect(&name, new_grant(&fixture)).await;
    }
    fixture.emulator.set_behaviour(faulty_behaviour());
    for process in &processes {
        process.vault.start().await.expect("the store answers");
    }
    let until = Instant::now() + DURATION;
    let random = SeededEntropy::new(seed);
    let callers = (0..CALLERS).map(|_| call(&fixture, &processes, SeededEntropy::new(random.bits()), until));
    join_all(callers).await;
    join_all(processes.iter().map(|process| process.vault.drain())).await;
    assert!(fixture.emulator.wait_until_idle(Duration::from_secs(3)).await);
    let attempts = all_attempts(&processes[0]).await;
    judge(&fixture, &attempts, &names_of_tokens(&fixture, &processes).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_schedule_spends_a_token_twice_seed_1() {
    run(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_schedule_spends_a_token_twice_seed_2() {
    run(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn no_schedule_spends_a_token_twice_seed_3() {
    run(3).await;
}
