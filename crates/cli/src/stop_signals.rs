//! The signals that ask a process to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// `SIGTERM`, and `SIGINT` of a terminal.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, CommandError> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Listens for one kind of signal.
pub(crate) fn listen(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|error| {
        CommandError::new(ErrorCode::SystemRefused, format!("signals cannot be received: {error}"))
    })
}

/// The error of a command that a second signal, or one it does not finish work for, has ended.
pub(crate) fn stopped_by(signal: &str) -> CommandError {
    let text = format!("stopped by {signal}; `jeton logs` shows how refreshes under way ended");
    CommandError::new(ErrorCode::Stopped, text)
}
