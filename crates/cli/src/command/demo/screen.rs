//! The terminal: the alternate screen while the demo runs, and everything restored afterwards.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcgetwinsize,
    tcsetattr,
};

use super::frame::Line;
use crate::env_vars::EnvVars;
use crate::output::Output;

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
    before: Termios,
    colour: bool,
}

impl Screen {
    /// Whether standard output is a terminal that a table can be drawn on.
    pub(super) fn is_available(environment: &EnvVars) -> bool {
        let term = environment.get("TERM").ok().flatten();
        io::stdout().is_terminal() && term.is_some_and(|term| !matches!(term.reveal(), "" | "dumb"))
    }

    /// Prepares the terminal; the first frame switches to the alternate screen. `NO_COLOR` asks for no colours.
    pub(super) fn enter(environment: &EnvVars) -> io::Result<Self> {
        let before = tcgetattr(io::stdout())?;
        // Typed text is not shown, and Ctrl-Z does not stop the keeper in the middle of a lease.
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.special_codes[SpecialCodeIndex::VSUSP] = 0;
        tcsetattr(io::stdout(), OptionalActions::Now, &quiet)?;
        let (on_panic, usual) = (before.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            // On the alternate screen nobody would read the message. The next frame returns there.
            // Nothing can be done about a terminal that does not accept this.
            let _ = leave(&on_panic);
            usual(panic);
        }));
        let no_color = environment.get("NO_COLOR").ok().flatten();
        Ok(Self { before, colour: no_color.is_none_or(|text| text.is_empty()) })
    }

    /// Draws lines that fit [`Screen::size`].
    pub(super) fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::from(BEGIN);
        if !SHOWN.swap(true, Ordering::AcqRel) {
            text.insert_str(0, ENTER);
        }
        // Erasing behind the text of each line avoids blank frames.
        text += &self.render(lines).join("\x1b[K\r\n");
        text += "\x1b[K";
        text += END;
        Output::draw(&text)
    }

    /// The lines as the terminal takes them.
    pub(super) fn render(&self, lines: &[Line]) -> Vec<String> {
        let (width, _) = Self::size();
        lines.iter().map(|line| line.render(width, self.colour)).collect()
    }

    /// How many columns and rows can be drawn on. Terminals differ in what they do after the last column, so it stays free.
    pub(super) fn size() -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (usize::from(size.ws_col) - 1, usize::from(size.ws_row))
            }
            _ => (79, 24),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is closed needs no restoring.
        let _ = leave(&self.before);
    }
}

/// Switches back to the normal screen, and discards what was typed meanwhile.
fn leave(before: &Termios) -> io::Result<()> {
    tcsetattr(io::stdout(), OptionalActions::Now, before)?;
    tcflush(io::stdout(), QueueSelector::IFlush)?;
    if SHOWN.swap(false, Ordering::AcqRel) {
        Output::draw(LEAVE)?;
    }
    Ok(())
}
