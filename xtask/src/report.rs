//! What a task says while it runs.

use std::io::{self, Write as _};

/// One line to standard output. A closed pipe is no reason to stop the task: its exit code still tells.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
    }
}
