//! What was found, and how it is said.

use std::io;

use serde::Serialize;
use serde_json::json;

use crate::output::Output;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work, or will not for long.
    Fault,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// What one look showed: one sentence that says what to do, unless nothing is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: String,
    pub(super) verdict: Severity,
    pub(super) detail: String,
}

/// Everything that was found, in the order it was looked at.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn ok(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, Severity::Ok, detail);
    }

    pub(super) fn warning(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, Severity::Warning, detail);
    }

    pub(super) fn fault(&mut self, check: impl Into<String>, detail: impl Into<String>) {
        self.add(check, Severity::Fault, detail);
    }

    pub(super) fn add(&mut self, check: impl Into<String>, verdict: Severity, detail: impl Into<String>) {
        self.findings.push(Finding { check: check.into(), verdict, detail: detail.into() });
    }

    /// How many findings there are of that verdict.
    fn count(&self, verdict: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    pub(super) fn has_faults(&self) -> bool {
        self.count(Severity::Fault) > 0
    }

    pub(super) fn print(&self, output: Output) -> io::Result<()> {
        if output.json {
            return Output::print_json(&json!({ "ok": !self.has_faults(), "findings": self.findings }));
        }
        let width = self.findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
        for finding in &self.findings {
            // A line end in a detail could pass for another finding.
            let detail = finding.detail.replace(|c: char| c.is_control(), " ");
            Output::print_line(&format!(
                "{:7}  {:width$}  {detail}",
                finding.verdict.as_str(),
                finding.check
            ))?;
        }
        let count = |verdict, one: &str| match self.count(verdict) {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let (faults, warnings) = (count(Severity::Fault, "fault"), count(Severity::Warning, "warning"));
        Output::print_line(&format!("{faults}, {warnings}"))
    }
}
