//! The page on providers: what each built-in file says of itself.

use std::fmt::Write as _;

use jeton_core::keep::provider::{Catalogue, Confidence, OldAccess, Provider, Rotation, Step, Var};

/// The page as Markdown.
pub(super) fn page() -> String {
    let mut page = "# Providers\n\n<!-- Made from providers/*.toml by `jeton docs providers`; change it there. -->\n\n\
        What is built in. `jeton provider show NAME` says the same; [provider-format.md](provider-format.md) describes \
        the files. What nobody has confirmed from the vendor's own pages is listed as unverified.\n"
        .to_owned();
    for provider in Catalogue::builtin().iter() {
        section(&mut page, provider);
    }
    page
}

fn section(page: &mut String, provider: &Provider) {
    say(page, &format!("\n## {}\n\n**{}.**", provider.name(), provider.title()));
    if let Some(about) = provider.about() {
        say(page, &format!(" {about}"));
    }
    let steps: Vec<_> = provider.steps().map(Step::as_str).collect();
    say(page, &format!("\n\nSteps: {}. {}\n", steps.join(", "), policy(provider)));
    let vars: Vec<_> = provider.vars().collect();
    if !vars.is_empty() {
        say(page, "\n| variable | needed | meaning |\n| --- | --- | --- |\n");
    }
    for var in vars {
        let meaning = var.about().unwrap_or_default().replace('|', "\\|");
        say(page, &format!("| `{}` | {} | {meaning} |\n", var.name(), needed(var)));
    }
    let unverified: Vec<_> = provider
        .confidence()
        .iter()
        .filter(|(_, confidence)| **confidence == Confidence::Unverified)
        .map(|(key, _)| format!("`{key}`"))
        .collect();
    if !unverified.is_empty() {
        say(page, &format!("\nUnverified: {}.\n", unverified.join(", ")));
    }
}

fn needed(var: &Var) -> String {
    match (var.is_mandatory(), var.default_value(), var.capture().is_some()) {
        (true, ..) => "yes".to_owned(),
        (_, Some(default), _) => format!("no, `{default}`"),
        (_, None, true) => "no, it is captured".to_owned(),
        (_, None, false) => "no".to_owned(),
    }
}

fn policy(provider: &Provider) -> String {
    let policy = provider.policy();
    let rotation = match policy.rotation {
        Rotation::None => "A refresh token stays good when it is used.",
        Rotation::SingleUse => "A refresh token is good for one use.",
        Rotation::Detect => "A refresh token may be good for one use.",
    };
    let old = match policy.old_access {
        OldAccess::Lives => "",
        OldAccess::Dies => " The old access token dies with the refresh.",
    };
    let grace = policy.reuse_grace.as_secs();
    let grace =
        if grace == 0 { String::new() } else { format!(" A used one is accepted again for {grace} s.") };
    format!("{rotation}{grace}{old}")
}

fn say(page: &mut String, text: &str) {
    page.write_str(text).expect("a string takes any text");
}
