//! What people and programs are told during an outage, and after it.

use std::collections::BTreeSet;

use anyhow::Result;
use jeton_testkit::CommandOutput;

use super::environment::Environment;

/// Looks during an outage; answers what is wrong with what is shown.
pub(super) async fn during(environment: &Environment, lost: &BTreeSet<String>) -> Result<Vec<String>> {
    calls_nobody(environment, lost, "during the outage").await
}

/// Looks after an outage, whose log begins where each node had logged so much.
pub(super) async fn after(
    environment: &Environment,
    lost: &BTreeSet<String>,
    logged: &[usize],
) -> Result<Vec<String>> {
    let mut findings = calls_nobody(environment, lost, "after the outage").await?;
    for (log, from) in environment.logs()?.iter().zip(logged) {
        let calls = |line: &&str| line.contains("CRITICAL") || line.contains("re-authorization");
        let calling = log[*from..].lines().filter(calls).find(|line| !is_about(line, lost));
        findings.extend(calling.map(|line| format!("the log calls a person: {line}")));
    }
    Ok(findings)
}

/// Neither `status` nor `doctor` asks for a person, but for a grant whose reply was lost.
async fn calls_nobody(environment: &Environment, lost: &BTreeSet<String>, when: &str) -> Result<Vec<String>> {
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

/// Whether a line is about one of these connections.
fn is_about(line: &str, names: &BTreeSet<String>) -> bool {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.into_iter().any(|word| names.contains(word))
}
