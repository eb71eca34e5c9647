//! The terminal: the alternate screen while the demo runs, and everything restored afterwards.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetwinsize,
    tcsetattr,
};

use super::view::Size;
use crate::env_vars::EnvVars;

/// Switches to the alternate screen of `xterm`, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";

/// Switches back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that knows these two shows what stands between them at once; others ignore them.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";

/// Whether the alternate screen is shown. One process has one terminal.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// A terminal that is drawn on. Dropping the value, and a panic, restore it.
#[derive(Debug)]
pub(super) struct Screen {
    before: Option<Termios>,
    drawn: Option<Size>,
}

impl Screen {
    /// Whether standard output is a terminal that a table can be drawn on.
    pub(super) fn is_available(environment: &EnvVars) -> bool {
        let term = environment.get("TERM").ok().flatten();
        io::stdout().is_terminal() && term.is_some_and(|term| !matches!(term.reveal(), "" | "dumb"))
    }

    /// Prepares the terminal; the first frame switches to the alternate screen.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdout()).ok();
        if let Some(before) = &before {
            // Typed text is not shown, and Ctrl-Z does not stop the keeper in the middle of a lease.
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(io::stdout(), OptionalActions::Now, &quiet)?;
        }
        let (on_panic, usual) = (before.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            // On the alternate screen nobody would read the message. The next frame returns there.
            // Nothing can be done about a terminal that does not accept this.
            let _ = leave(on_panic.as_ref());
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
        // Erasing behind the text of each line avoids blank frames.
        text.push_str(&frame.iter().map(|line| format!("{line}\x1b[K")).collect::<Vec<_>>().join("\r\n"));
        text.push_str(END);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// The current size of the terminal.
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
        // A terminal that is closed needs no restoring.
        let _ = leave(self.before.as_ref());
    }
}

/// Switches back to the normal screen, and discards what was typed meanwhile.
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
