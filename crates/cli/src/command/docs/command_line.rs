//! `docs/reference/command-line.md`, from the arguments as they are parsed.

use clap::{Arg, Command};

use crate::error_code::ErrorCode;

const HEAD: &str = "# Command line\n\n<!-- Made by `jeton docs command-line`; change it in crates/cli/src. -->\n\n\
    `jeton COMMAND`. Every command works on the store directly, beside a running server and without one: no two of them \
    ever spend one refresh token.\n\n\
    Exit codes: **0** done, **1** failed, **2** wrong use of the command line. Errors are one sentence each on standard \
    error, `error: ...`; with `--json` they are one problem document (RFC 9457) there, with a stable `code`. Standard \
    output holds the answer and nothing else.\n\n";

const ERRORS: &str = "\n## Errors\n\nCodes that the command line finds by itself; all others have a page below \
    [docs/errors](../errors/README.md).\n\n| code | meaning | what to do |\n| --- | --- | --- |\n";

/// The whole page.
pub(super) fn page(mut root: Command) -> String {
    root.build();
    let global: Vec<&Arg> = root.get_arguments().filter(|arg| arg.is_global_set()).collect();
    let mut page = format!("{HEAD}## Everywhere\n\n{}", table(global.into_iter()));
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        describe(command, "jeton", &mut page);
    }
    page.push_str(ERRORS);
    for code in ErrorCode::ALL {
        page.extend(["| `", code.as_str(), "` | ", code.title(), " | ", code.advice(), " |\n"]);
    }
    page
}

fn describe(command: &Command, above: &str, page: &mut String) {
    let name = format!("{above} {}", command.get_name());
    let below: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    if !below.is_empty() {
        for command in below {
            describe(command, &name, page);
        }
        return;
    }
    let own: Vec<&Arg> =
        command.get_arguments().filter(|arg| !arg.is_global_set() && !is_builtin(arg)).collect();
    let words: Vec<String> = own.iter().map(|arg| usage(arg)).collect();
    let usage =
        [name.as_str()].into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let about =
        command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default();
    page.extend(["\n## ", &name, "\n\n```\n", &usage, "\n```\n\n", &about, "\n"]);
    if !own.is_empty() {
        page.extend(["\n", &table(own.into_iter())]);
    }
}

fn is_builtin(arg: &Arg) -> bool {
    matches!(arg.get_id().as_str(), "help" | "version")
}

/// The argument in a line of usage.
fn usage(arg: &Arg) -> String {
    let repeated = if arg.get_num_args().is_some_and(|range| range.max_values() > 1) { "..." } else { "" };
    if arg.is_required_set() { written(arg) } else { format!("[{}]{repeated}", written(arg)) }
}

/// The argument as it is written: `NAME`, `--flag` or `--flag VALUE`.
fn written(arg: &Arg) -> String {
    let value = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
    match arg.get_long() {
        Some(long) if arg.get_action().takes_values() => format!("--{long} {value}"),
        Some(long) => format!("--{long}"),
        None => value,
    }
}

fn table<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = "| argument | meaning |\n| --- | --- |\n".to_owned();
    for arg in args {
        let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<_> =
            arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
        if arg.get_action().takes_values() && !values.is_empty() {
            meaning.extend([": ", &values.join(", ")]);
        }
        let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if arg.get_action().takes_values() && !defaults.is_empty() {
            meaning.extend([" [default: ", &defaults.join(", "), "]"]);
        }
        text.extend(["| `", &written(arg), "` | ", &meaning.replace('|', "\\|"), " |\n"]);
    }
    text
}
