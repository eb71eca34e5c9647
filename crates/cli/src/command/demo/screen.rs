//! The terminal itself: a screen of its own while the demo runs, and everything as it was afterwards.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetwinsize,
    tcsetattr,
};

use super::view::Size;
use crate::env_vars::EnvVars;

/// The other screen (as `xterm` has it), without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";

/// Back again.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// What is drawn between these two appears at once, where a terminal knows them; others ignore them.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";

/// Whether the other screen is shown. One process has one terminal.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// A terminal that is drawn on. What it was before comes back with the end of the value, and with a panic.
#[derive(Debug)]
pub(super) struct Screen {
    before: Option<Termios>,
    drawn: Option<Size>,
}

impl Screen {
    /// Whether there is a terminal that a table can be drawn on.
    pub(super) fn is_there(environment: &EnvVars) -> bool {
        let term = environment.get("TERM").ok().flatten();
        io::stdout().is_terminal() && term.is_some_and(|term| !matches!(term.reveal(), "" | "dumb"))
    }

    /// Shows the other screen.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdout()).ok();
        if let Some(before) = &before {
            // What is typed does not show, and Ctrl-Z does not stop a keeper in the middle of a lease.
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(io::stdout(), OptionalActions::Now, &quiet)?;
        }
        let (on_panic, usual) = (before.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            // A message on a screen that goes away would be read by nobody. The next frame shows the screen again.
            // Nothing can be done about a terminal that does not take it.
            drop(leave(on_panic.as_ref()));
            usual(panic);
        }));
        Ok(Self { before, drawn: None })
    }

    /// Draws a frame that fits [`Screen::size`].
    pub(super) fn draw(&mut self, frame: &[String], size: Size) -> io::Result<()> {
        let mut text = String::from(BEGIN);
        if !SHOWN.swap(true, Ordering::AcqRel) {
            text.insert_str(0, ENTER);
        } else if self.drawn != Some(size) {
            text.push_str("\x1b[2J");
        }
        self.drawn = Some(size);
        // The rest of each line is erased behind its text, so that nothing is blank in between.
        text.push_str(&frame.iter().map(|line| format!("{line}\x1b[K")).collect::<Vec<_>>().join("\r\n"));
        text.push_str(END);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// How large the terminal is now.
    pub(super) fn size() -> Size {
        let usual = Size { columns: 80, rows: 24 };
        tcgetwinsize(io::stdout()).ok().map_or(usual, |size| {
            let or = |count: u16, usual| if count == 0 { usual } else { usize::from(count) };
            Size { columns: or(size.ws_col, usual.columns), rows: or(size.ws_row, usual.rows) }
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        drop(leave(self.before.as_ref()));
    }
}

/// Shows the first screen again, and forgets what was typed meanwhile.
fn leave(before: Option<&Termios>) -> io::Result<()> {
    if let Some(before) = before {
        tcsetattr(io::stdout(), OptionalActions::Now, before)?;
        tcflush(io::stdout(), QueueSelector::IFlush)?;
    }
    if SHOWN.swap(false, Ordering::AcqRel) {
        let mut out = io::stdout();
        out.write_all(LEAVE.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}
