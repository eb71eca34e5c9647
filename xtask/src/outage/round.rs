//! One outage, from its begin until everything is live again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use jeton_core::time::{Clock, SystemClock};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::callers::Clients;
use super::environment::{OutageEnvironment, Vendor};
use super::journal::Journal;
use super::kind::OutageKind;
use super::plan::{FLAP, OutageDisturbance, OutagePlan};
use super::proxy::Treatment;
use super::samples;
use super::timing::{FirstRequests, SLOW_START_STEPS, Timing};

/// How many requests of one client run at once (`keeper.provider_concurrency`).
const CONCURRENCY: usize = 8;

/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(5);

/// How much of an outage is over when people look at it, in percent.
const LOOK_AT: u32 = 60;

/// Replies that are lost as an outage begins: so many requests are in progress then, or all that there are after a while.
const IN_PROGRESS: usize = 8;
const LONGEST_AIM: Duration = Duration::from_secs(3);

/// What an outage came to.
#[derive(Debug, Serialize)]
pub(super) struct RoundFigures {
    /// Grants whose reply was lost by then.
    lost: usize,
    vendors: BTreeMap<&'static str, VendorFigures>,
}

/// What one provider got.
#[derive(Debug, Serialize)]
struct VendorFigures {
    kind: OutageKind,
    /// From the end of the outage until the last connection was live again.
    live_again_s: f64,
    /// The longest that would have been good, but for what a busy machine adds.
    live_again_within_s: f64,
    /// Attempts in the log of the processes during the outage.
    attempts: usize,
    /// The most that the breaker promises; absent where the provider answered in between.
    most_attempts: Option<usize>,
    /// Requests at the provider at once, during the outage and after it.
    at_once: usize,
    at_once_after: usize,
    /// Requests in the first step of the slow start after the first answer, and in all of its steps.
    first_step: usize,
    slow_start: usize,
}

/// The instants of a round, by the clock of a proxy.
#[derive(Clone, Copy, Debug)]
struct RoundSpan {
    began: Duration,
    ended: Duration,
    settled: Duration,
}

/// Carries out an outage; returns its figures, and what no rule explains.
pub(super) async fn run(
    environment: &mut OutageEnvironment,
    plan: &OutagePlan,
    clients: &Clients,
) -> Result<(RoundFigures, Vec<String>)> {
    let timing = environment.timing;
    let mut findings = Vec::new();
    if plan.disturbance == OutageDisturbance::LosesReplies {
        fill(environment).await;
    }
    let logged = log_lengths(environment)?;
    let began = uptimes(environment);
    let length = timing.of(plan.length);
    findings.extend(outage(environment, plan, length, clients).await?);
    let ended = uptimes(environment);
    let attempts = attempts(environment, &logged)?;
    if plan.disturbance == OutageDisturbance::KillAtTheEnd {
        environment.kill_all().await?;
        *clients.lock() = environment.clients();
    }
    environment.end_outage()?;
    let lost = lost(environment);
    let longest = (0..environment.vendors.len()).map(|index| plan.recovery(index, timing)).max();
    let live = environment.wait_until_live(&lost, longest.unwrap_or_default() + SLACK).await;
    let settled = uptimes(environment);
    let live = live.unwrap_or_else(|error| {
        findings.push(format!("{error:#}"));
        BTreeMap::new()
    });
    let is_seen = plan.is_told() && plan.disturbance != OutageDisturbance::KillAtTheEnd;
    findings.extend(samples::after(environment, &lost, &logged, is_seen).await?);
    let mut vendors = BTreeMap::new();
    for (index, vendor) in environment.vendors.iter().enumerate() {
        let span = RoundSpan { began: began[index], ended: ended[index], settled: settled[index] };
        let live = vendor.connections.iter().filter_map(|name| live.get(name)).max();
        let within = plan.recovery(index, timing);
        let seen = VendorSeen {
            vendor,
            span,
            attempts: attempts[index],
            live_again: live.copied().unwrap_or_default(),
            within,
        };
        let (figures, found) = check_vendor(&seen, plan, plan.kinds[index], timing, environment.nodes());
        findings.extend(found.into_iter().map(|finding| format!("{}: {finding}", vendor.name)));
        vendors.insert(vendor.name, figures);
    }
    let figures = RoundFigures { lost: lost.len(), vendors };
    Ok((figures, findings.into_iter().map(|finding| format!("{}: {finding}", plan.name())).collect()))
}

/// Brings many requests in progress at each provider.
async fn fill(environment: &OutageEnvironment) {
    for vendor in &environment.vendors {
        vendor.proxy.treat(Treatment { latency: Duration::from_secs(1), ..Treatment::NONE });
    }
    let client = environment.clients().remove(0);
    let names: Vec<String> = environment
        .vendors
        .iter()
        .flat_map(|vendor| vendor.connections.iter().take(IN_PROGRESS + 2).cloned())
        .collect();
    let forcing = names.iter().map(|name| {
        let client = client.clone().with_deadline(Duration::from_millis(500));
        async move {
            let path = format!("/api/v1/connections/{name}/refresh");
            // The outage begins before it is answered.
            let _ = client.post(&path, &json!({"force": true})).await;
        }
    });
    let aiming = async {
        let began = Instant::now();
        let full = || environment.vendors.iter().all(|vendor| vendor.proxy.in_progress() >= IN_PROGRESS);
        while !full() && began.elapsed() < LONGEST_AIM {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = aiming => {}
        _ = join_all(forcing) => {}
    }
}

/// The outage itself; answers what people were told wrongly meanwhile.
async fn outage(
    environment: &mut OutageEnvironment,
    plan: &OutagePlan,
    length: Duration,
    clients: &Clients,
) -> Result<Vec<String>> {
    let (timing, began, began_at) = (environment.timing, Instant::now(), SystemClock.now());
    let until = |part: Duration| sleep(part.saturating_sub(began.elapsed()));
    let treatments = plan.treatments(timing);
    environment.begin_outage(&treatments)?;
    match plan.disturbance {
        OutageDisturbance::Flapping => {
            let mut flaps = 1;
            while began.elapsed() < length {
                until((timing.of(FLAP) * flaps).min(length)).await;
                if flaps % 2 == 1 {
                    environment.end_outage()?;
                } else {
                    environment.begin_outage(&treatments)?;
                }
                flaps += 1;
            }
            return Ok(Vec::new());
        }
        OutageDisturbance::Half => {
            until(length).await;
            return Ok(Vec::new());
        }
        OutageDisturbance::Kill => {
            until(length / 2).await;
            environment.kill_all().await?;
            *clients.lock() = environment.clients();
        }
        OutageDisturbance::RateLimit => {
            until(length / 2).await;
            environment.begin_outage(&OutagePlan::rate_limits(timing))?;
        }
        OutageDisturbance::Nothing | OutageDisturbance::LosesReplies | OutageDisturbance::KillAtTheEnd => {}
    }
    until(length / 100 * LOOK_AT).await;
    let lost = lost(environment);
    if !plan.is_told() {
        until(length).await;
        return Ok(Vec::new());
    }
    let findings = samples::during(environment, &lost, began_at, OutagePlan::longest_wait(timing)).await?;
    until(length).await;
    Ok(findings)
}

/// The connections whose successor token was in a reply that never arrived.
pub(super) fn lost(environment: &OutageEnvironment) -> BTreeSet<String> {
    environment.vendors.iter().flat_map(|vendor| vendor.proxy.journal().lost()).collect()
}

fn uptimes(environment: &OutageEnvironment) -> Vec<Duration> {
    environment.vendors.iter().map(|vendor| vendor.proxy.uptime()).collect()
}

/// How much each node has logged.
fn log_lengths(environment: &OutageEnvironment) -> Result<Vec<usize>> {
    Ok(environment.logs()?.iter().map(String::len).collect())
}

/// How many attempts at each provider the nodes have logged since their logs were so long.
fn attempts(environment: &OutageEnvironment, logged: &[usize]) -> Result<Vec<usize>> {
    let logs = environment.logs()?;
    let new: Vec<&str> = logs.iter().zip(logged).map(|(log, from)| &log[*from..]).collect();
    let of = |vendor: &str| {
        let connection = format!("connection={vendor}-");
        let is_one = |line: &&str| line.contains("refresh started") && line.contains(&connection);
        new.iter().map(|log| log.lines().filter(is_one).count()).sum()
    };
    Ok(environment.vendors.iter().map(|vendor| of(vendor.name)).collect())
}

/// What was seen of a provider in a round.
struct VendorSeen<'a> {
    vendor: &'a Vendor,
    span: RoundSpan,
    attempts: usize,
    live_again: Duration,
    within: Duration,
}

/// What a provider got, and what of it nobody promised.
fn check_vendor(
    seen: &VendorSeen<'_>,
    plan: &OutagePlan,
    kind: OutageKind,
    timing: Timing,
    nodes: usize,
) -> (VendorFigures, Vec<String>) {
    let VendorSeen { vendor, span, attempts, live_again, within } = *seen;
    let journal = vendor.proxy.journal();
    let most = plan.is_whole().then(|| nodes * most_attempts(plan, timing));
    let first = journal.first_answer(span.ended).unwrap_or(span.settled);
    let steps = |count: u32| journal.sends(first, first + timing.step() * count);
    let figures = VendorFigures {
        kind,
        live_again_s: live_again.as_secs_f64(),
        live_again_within_s: within.as_secs_f64(),
        attempts,
        most_attempts: most,
        at_once: journal.peak(span.began, span.ended),
        at_once_after: journal.peak(span.ended, span.settled),
        first_step: steps(1),
        slow_start: steps(SLOW_START_STEPS),
    };
    let mut findings = journal.overlaps();
    if live_again > within + SLACK {
        findings.push(format!("live again only after {live_again:?}, where {within:?} are promised"));
    }
    if let Some(most) = most.filter(|most| attempts > *most) {
        findings.push(format!("{attempts} attempts, where {most} are the most"));
    }
    let sends = journal.sends(span.began, span.ended);
    if let Some(most) = most.filter(|most| sends > *most) {
        findings.push(format!("{sends} requests at the provider, where {most} are the most"));
    }
    // A trial may join those that were in progress when it was found down.
    let at_once = nodes * (CONCURRENCY + 1);
    for (peak, when) in [(figures.at_once, "during it"), (figures.at_once_after, "after it")] {
        if peak > at_once {
            findings.push(format!("{peak} requests at once {when}, where {at_once} are the most"));
        }
    }
    if plan.is_whole() && plan.disturbance != OutageDisturbance::KillAtTheEnd && nodes == 1 {
        findings.extend(check_slow_start(&journal, first, timing));
    }
    (figures, findings)
}

fn most_attempts(plan: &OutagePlan, timing: Timing) -> usize {
    let length = timing.of(plan.length);
    let known = FirstRequests::AfterAnswers { concurrency: CONCURRENCY };
    match plan.disturbance {
        OutageDisturbance::Kill => {
            timing.most_sends(length / 2, known) + timing.most_sends(length / 2, FirstRequests::OfAProcess)
        }
        // The rate limit answers each that comes, and is no outage: a process that finds it first has its usual concurrency.
        _ => timing.most_sends(length, known),
    }
}

/// After the first answer, each step of the slow start has at most twice the requests of the one before, two in the first.
fn check_slow_start(journal: &Journal, first: Duration, timing: Timing) -> Option<String> {
    (1..=SLOW_START_STEPS).find_map(|step| {
        let sent = journal.sends(first, first + timing.step() * step);
        let most = (2 << step) - 1;
        (sent > most).then(|| {
            format!(
                "{sent} requests in the first {step} steps after the first answer, where {most} are the most"
            )
        })
    })
}
