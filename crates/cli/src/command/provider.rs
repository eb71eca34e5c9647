//! `jeton provider`.

mod emulate;
mod lookup;

use std::sync::Arc;

use clap::Subcommand;
use jeton_core::keep::provider::{Capture, Confidence, Provider, Step, Var, VectorResult};
use serde_json::{Value, json};

use lookup::{by_name, by_name_or_file};

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;
use crate::output::{self, Output, Table};
use crate::settings::LoadedSettings;

/// List, show, test and emulate providers
#[derive(Debug, Subcommand)]
pub(crate) enum ProviderCommand {
    /// List the providers
    List,
    /// Show a provider, and what a connection to it needs
    Show {
        /// The provider
        name: String,
    },
    Emulate(emulate::Emulate),
    /// Run the test vectors of provider files
    Test {
        /// Providers by name, or paths of provider files; all providers if none is given
        what: Vec<String>,
    },
}

impl ProviderCommand {
    pub(crate) async fn run(self, loaded: &LoadedSettings, output: Output) -> Result<(), CommandError> {
        // Faults of connections do not matter here, but a broken provider file is missing from the list.
        for fault in loaded.settings.as_ref().err().into_iter().flatten() {
            output::print_note(&format!("warning: {fault}"))?;
        }
        match self {
            Self::List => list(loaded, output),
            Self::Show { name } => show(by_name(&loaded.catalogue, &name)?, output),
            Self::Emulate(emulate) => emulate.run(loaded, output).await,
            Self::Test { what } => test(loaded, &what, output),
        }
    }
}

fn list(loaded: &LoadedSettings, output: Output) -> Result<(), CommandError> {
    let mut table = Table::new(["NAME", "TITLE", "FROM", "STEPS"], "there are no providers");
    let mut rows = Vec::new();
    for provider in loaded.catalogue.iter() {
        let added = loaded.added_providers.iter().any(|name| name == provider.name().as_str());
        let from = if added { "file" } else { "built in" };
        let steps: Vec<_> = provider.steps().map(Step::as_str).collect();
        table.row([
            provider.name().to_string(),
            provider.title().to_owned(),
            from.to_owned(),
            steps.join(" "),
        ]);
        rows.push(json!({
            "name": provider.name(),
            "title": provider.title(),
            "built_in": !added,
            "steps": steps,
            "tests": provider.test_count(),
        }));
    }
    Ok(output.print_table(&table, &rows)?)
}

fn show(provider: &Arc<Provider>, output: Output) -> Result<(), CommandError> {
    let steps: Vec<_> = provider.steps().map(Step::as_str).collect();
    if output.json {
        return Ok(Output::print_json(&json!({
            "name": provider.name(),
            "title": provider.title(),
            "about": provider.about(),
            "hosts": provider.hosts(),
            "steps": steps,
            "vars": provider.vars().map(var_json).collect::<Vec<_>>(),
            "confidence": provider.confidence(),
            "tests": provider.test_count(),
        }))?);
    }
    Output::print_line(&format!("{}: {}", provider.name(), provider.title()))?;
    provider.about().map_or(Ok(()), Output::print_line)?;
    Output::print_line(&format!("\nsteps: {}", steps.join(" ")))?;
    if !provider.hosts().is_empty() {
        Output::print_line(&format!("hosts: {}", provider.hosts().join(" ")))?;
    }
    for confidence in Confidence::ALL.iter().copied() {
        let known = provider.confidence().iter().filter(|(_, how)| **how == confidence);
        let keys: Vec<_> = known.map(|(key, _)| key.as_str()).collect();
        if !keys.is_empty() {
            Output::print_line(&format!("{confidence}: {}", keys.join(" ")))?;
        }
    }
    let name = provider.name();
    Output::print_line(&format!("\n[connections.NAME]\nprovider = \"{name}\"\n\n[connections.NAME.vars]"))?;
    let mut table = Table::new(["VARIABLE", "NEEDED", "DEFAULT", "MEANING"], "none");
    for var in provider.vars() {
        let default = var.default_value().unwrap_or("-").to_owned();
        table.row([var.name().to_owned(), need(var).to_owned(), default, meaning(var)]);
    }
    Ok(output.print_table(&table, &())?)
}

fn need(var: &Var) -> &'static str {
    match var.capture() {
        _ if var.is_mandatory() => "yes",
        Some(_) => "else captured",
        None => "no",
    }
}

fn meaning(var: &Var) -> String {
    let secret = var.is_secret().then(|| "a secret".to_owned());
    let values = var.one_of().map(|values| format!("one of {}", values.join(", ")));
    [var.about().map(str::to_owned), values, secret].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn var_json(var: &Var) -> Value {
    json!({
        "name": var.name(),
        "about": var.about(),
        "mandatory": var.is_mandatory(),
        "captured": var.capture().is_some_and(|capture| !matches!(capture, Capture::Take)),
        "taken_from_replies": var.capture().is_some_and(|capture| matches!(capture, Capture::Take)),
        "secret": var.is_secret(),
        "values": var.one_of(),
        "pattern": var.pattern(),
        "default": var.default_value(),
    })
}

fn test(loaded: &LoadedSettings, what: &[String], output: Output) -> Result<(), CommandError> {
    let providers = match what {
        [] => loaded.catalogue.iter().cloned().collect(),
        what => {
            what.iter().map(|what| by_name_or_file(&loaded.catalogue, what)).collect::<Result<Vec<_>, _>>()?
        }
    };
    let mut failed = 0;
    let mut results = Vec::new();
    for provider in providers {
        let vectors = provider.run_tests();
        failed += vectors.iter().filter(|vector| !vector.passed()).count();
        if !output.json {
            for vector in &vectors {
                Output::print_line(&format!("{}: {vector}", provider.name()))?;
            }
        }
        results.extend(vectors.iter().map(|vector| vector_json(&provider, vector)));
    }
    let summary = format!("{} vectors, {failed} wrong", results.len());
    output.print(&summary, &results)?;
    if failed == 0 { Ok(()) } else { Err(CommandError::reported(ErrorCode::VectorsFailed)) }
}

fn vector_json(provider: &Provider, vector: &VectorResult) -> Value {
    let differences = vector.differences.iter().map(|difference| {
        json!({ "field": difference.field, "expected": difference.expected, "got": difference.got })
    });
    json!({
        "provider": provider.name(),
        "test": vector.name,
        "line": vector.line,
        "passed": vector.passed(),
        "differences": differences.collect::<Vec<_>>(),
    })
}
