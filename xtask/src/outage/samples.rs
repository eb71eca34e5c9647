//! What people and programs are told during an outage, and after it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use jeton_core::time::{Clock, SystemClock, Timestamp};
use jeton_testkit::CommandOutput;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::environment::{OutageEnvironment, Vendor};

/// A node tells of what it holds for unavailable this often, and a busy machine needs a while.
const TOLD_WITHIN: Duration = Duration::from_secs(12);

/// What a node that was killed told of is forgotten after its last heartbeat, in 20 s.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(30);

/// What a caller, `status` and the API say of whom an outage needs.
const NOBODY: &str = "nobody needs to do anything";

/// Looks during an outage that began at `began` and whose trials are at most `longest_pause` apart; answers what is wrong with what
/// is shown.
pub(super) async fn during(
    environment: &OutageEnvironment,
    lost: &BTreeSet<String>,
    began: Timestamp,
    longest_pause: Duration,
) -> Result<Vec<String>> {
    let mut findings = calls_nobody(environment, lost, "during the outage").await?;
    let told = wait_for(environment, TOLD_WITHIN, |statuses| {
        statuses.iter().all(|status| is_lost(status, lost) || !status["unavailable"].is_null())
    });
    let Some(statuses) = told.await? else {
        findings.push("`jeton status --json` does not say that every provider is unavailable".to_owned());
        return Ok(findings);
    };
    for status in statuses.iter().filter(|status| !is_lost(status, lost)) {
        let why = check_told(&status["unavailable"], began, longest_pause);
        findings.extend(why.map(|why| format!("`jeton status --json` of {}: {why}", status["name"])));
    }
    let shown = environment.run(["status"]).await?;
    for row in shown.stdout.lines().skip(1).filter(|row| !is_about(row, lost)) {
        if !(row.contains("unavailable since") && row.contains("nobody is needed")) {
            findings.push(format!("`jeton status` does not say since when nobody is needed: {row}"));
            break;
        }
    }
    let doctor = environment.run(["doctor", "--offline"]).await?.stdout;
    let lines = doctor.lines().filter(|line| line.contains("  token endpoint  ") && line.contains(NOBODY));
    let (lines, vendors) = (lines.count(), environment.vendors.len());
    if lines != vendors {
        findings.push(format!("`jeton doctor` names {lines} of {vendors} token endpoints: {doctor}"));
    }
    for vendor in &environment.vendors {
        findings.extend(check_api(environment, vendor, lost, began, longest_pause).await?);
    }
    Ok(findings)
}

/// Looks after an outage, whose log begins where each node had logged so much. `is_seen` where a process that found it down saw it end.
pub(super) async fn after(
    environment: &OutageEnvironment,
    lost: &BTreeSet<String>,
    logged: &[usize],
    is_seen: bool,
) -> Result<Vec<String>> {
    let mut findings = calls_nobody(environment, lost, "after the outage").await?;
    let over = wait_for(environment, FORGOTTEN_WITHIN, |statuses| {
        statuses.iter().all(|status| status["unavailable"].is_null())
    });
    if over.await?.is_none() {
        let wrong = "`jeton status --json` says of a provider that is back that it is unavailable";
        findings.push(wrong.to_owned());
    }
    let logs = environment.logs()?;
    let new: Vec<&str> = logs.iter().zip(logged).map(|(log, from)| &log[*from..]).collect();
    let calls = |line: &&str| line.contains("CRITICAL") || line.contains("re-authorization");
    let calling = new.iter().flat_map(|log| log.lines()).filter(calls).find(|line| !is_about(line, lost));
    findings.extend(calling.map(|line| format!("the log calls a person: {line}")));
    for server in environment.vendors.iter().map(|vendor| vendor.server()).filter(|_| is_seen) {
        let says = |log: &str, words: &str| {
            let server = format!("server=\"{server}\"");
            log.lines().any(|line| line.contains(words) && line.contains(&server))
        };
        // What repeats itself within a minute is logged once.
        if !logs.iter().any(|log| says(log, "the token endpoint is unavailable")) {
            findings.push(format!("no log says that `{server}` is unavailable"));
        }
        if !new.iter().any(|log| says(log, "the token endpoint answers again")) {
            findings.push(format!("no log says that `{server}` answers again"));
        }
    }
    Ok(findings)
}

/// The connections as `jeton status --json` shows them once `condition` holds for them; none where it does not in time.
async fn wait_for(
    environment: &OutageEnvironment,
    limit: Duration,
    condition: impl Fn(&[Value]) -> bool,
) -> Result<Option<Vec<Value>>> {
    let asked = Instant::now();
    loop {
        let shown = environment.run(["--json", "status"]).await?.json()?;
        let statuses = shown.as_array().cloned().unwrap_or_default();
        if !statuses.is_empty() && condition(&statuses) {
            return Ok(Some(statuses));
        }
        if asked.elapsed() > limit {
            return Ok(None);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// What is wrong with what is told of an outage.
fn check_told(told: &Value, began: Timestamp, longest_pause: Duration) -> Option<String> {
    let instant = |name: &str| told[name].as_str().and_then(Timestamp::parse_rfc3339);
    let (since, next) = (instant("since")?, instant("next_trial")?);
    let now = SystemClock.now();
    // Who found it down may have sent its request a moment before.
    if since + TOLD_WITHIN < began || since > now {
        return Some(format!("it is unavailable since {since}, and the outage began at {began}"));
    }
    // A heartbeat is a few seconds old, and a trial may be in progress.
    if next > now + longest_pause * 2 + TOLD_WITHIN {
        return Some(format!("its next trial is at {next}, and it is {now}"));
    }
    let summary = told["summary"].as_str().unwrap_or_default();
    let why = told["last_failure"]["message"].as_str().unwrap_or_default();
    (!summary.contains(NOBODY) || why.is_empty()).then(|| format!("it says {told}"))
}

/// What is wrong with what the API says of a connection, and what a caller is told who gets no token.
async fn check_api(
    environment: &OutageEnvironment,
    vendor: &Vendor,
    lost: &BTreeSet<String>,
    began: Timestamp,
    longest_pause: Duration,
) -> Result<Vec<String>> {
    let client = environment.clients().remove(0);
    let mut findings = Vec::new();
    for name in vendor.connections.iter().filter(|name| !lost.contains(*name)) {
        let path = format!("/api/v1/connections/{name}");
        let shown = client.get_json(&path).await?;
        let told = &shown["unavailable"];
        let why = if told.is_null() {
            Some(format!("nothing of an outage: {shown}"))
        } else {
            check_told(told, began, longest_pause)
        };
        if let Some(why) = why {
            findings.push(format!("GET {path} says {why}"));
            break;
        }
        let refused = client.get(&format!("{path}/token")).await?;
        let body = refused.json()?;
        let detail = body["detail"].as_str().unwrap_or_default();
        if body["code"] == "PROVIDER_UNAVAILABLE" && !detail.contains(NOBODY) {
            findings.push(format!("a caller of {name} is told: {detail}"));
            break;
        }
    }
    Ok(findings)
}

/// Neither `status` nor `doctor` asks for a person, but for a grant whose reply was lost.
async fn calls_nobody(
    environment: &OutageEnvironment,
    lost: &BTreeSet<String>,
    when: &str,
) -> Result<Vec<String>> {
    let status = environment.run(["status"]).await?;
    let doctor = environment.run(["doctor", "--offline"]).await?;
    let mut findings = Vec::new();
    for (command, CommandOutput { code, stdout, stderr }) in [("status", status), ("doctor", doctor)] {
        if code != Some(0) && lost.is_empty() {
            let faults = stdout.lines().filter(|line| line.starts_with("fault"));
            let faults = faults.chain(stderr.lines()).collect::<Vec<_>>().join("; ");
            findings.push(format!("`jeton {command}` ended with {code:?} {when}: {faults}"));
        }
        let calls = |line: &&str| line.contains("jeton connect") || line.contains("--force");
        let calling = stdout.lines().filter(calls).find(|line| !is_about(line, lost));
        findings.extend(calling.map(|line| format!("`jeton {command}` calls a person {when}: {line}")));
    }
    Ok(findings)
}

/// Whether the status is that of one of these connections.
fn is_lost(status: &Value, lost: &BTreeSet<String>) -> bool {
    status["name"].as_str().is_some_and(|name| lost.contains(name))
}

/// Whether a line is about one of these connections.
fn is_about(line: &str, names: &BTreeSet<String>) -> bool {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.into_iter().any(|word| names.contains(word))
}
