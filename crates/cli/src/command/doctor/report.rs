//! The findings, and how they are printed.

use std::io;

use serde::Serialize;
use serde_json::json;

use crate::output::Output;
use crate::printable::single_line;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Ok,
    /// It works, and a person should look at it.
    Warning,
    /// It does not work, or soon will not.
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

/// The result of one check: a sentence that says what to do, if anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: String,
    #[serde(rename = "verdict")]
    pub(super) severity: Severity,
    pub(super) detail: String,
}

/// All findings, in the order of the checks.
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

    pub(super) fn add(&mut self, check: impl Into<String>, severity: Severity, detail: impl Into<String>) {
        self.findings.push(Finding { check: check.into(), severity, detail: detail.into() });
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
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
            let detail = single_line(&finding.detail);
            Output::print_line(&format!(
                "{:7}  {:width$}  {detail}",
                finding.severity.as_str(),
                finding.check
            ))?;
        }
        let count = |severity, one: &str| match self.count(severity) {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let (faults, warnings) = (count(Severity::Fault, "fault"), count(Severity::Warning, "warning"));
        Output::print_line(&format!("{faults}, {warnings}"))
    }
}
