//! The signals that ask a process to end, and those that must not end it.

use std::future::poll_fn;
use std::task::Poll;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command_error::CommandError;
use crate::error_code::ErrorCode;

/// Signals that ask to end, such as `SIGINT` from a terminal. A refresh under way finishes first.
const STOP: [(&str, Number); 3] =
    [("SIGTERM", Number::TERM), ("SIGINT", Number::INT), ("SIGQUIT", Number::QUIT)];

/// What comes when the terminal of a process is closed; service managers send it to have settings read again.
const HANGUP: (&str, Number) = ("SIGHUP", Number::HUP);

/// What tools that rotate logs send.
const USER: [(&str, Number); 2] = [("SIGUSR1", Number::USR1), ("SIGUSR2", Number::USR2)];

/// Some kinds of signals, received from now on: they no longer end the process by themselves.
pub(crate) struct Signals(Vec<(&'static str, Signal)>);

impl Signals {
    /// Those that ask a command to end. The end of its terminal is one.
    pub(crate) fn to_stop() -> Result<Self, CommandError> {
        Self::listen(STOP.into_iter().chain([HANGUP]))
    }

    /// Those that ask a server to end. The end of the terminal that it was started in is none.
    pub(crate) fn to_stop_server() -> Result<Self, CommandError> {
        Self::listen(STOP)
    }

    /// Those that a server receives and does nothing about.
    pub(crate) fn without_effect() -> Result<Self, CommandError> {
        Self::listen(USER.into_iter().chain([HANGUP]))
    }

    fn listen(kinds: impl IntoIterator<Item = (&'static str, Number)>) -> Result<Self, CommandError> {
        let listen = |(name, number)| Ok((name, receive(number)?));
        kinds.into_iter().map(listen).collect::<Result<_, _>>().map(Self)
    }

    /// Waits for the next one and returns its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        poll_fn(|cx| {
            let mut all = self.0.iter_mut();
            let received = all.find_map(|(name, signal)| signal.poll_recv(cx).is_ready().then_some(*name));
            received.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits for one that says that nobody wants to wait any longer, after [`Signals::next`]. The end of a terminal does
    /// not say so: both the system and the shell send it.
    pub(crate) async fn next_impatient(&mut self) -> &'static str {
        loop {
            let name = self.next().await;
            if name != HANGUP.0 {
                return name;
            }
        }
    }
}

/// Keeps this process alive when a file may not grow any more (`ulimit -f`), which then is an error of that write, and when a
/// signal comes that means nothing here.
pub(crate) fn survive_others() -> Result<(), CommandError> {
    for number in USER.into_iter().map(|(_, number)| number).chain([Number::XFSZ]) {
        // Who has received a kind of signal once is never ended by it again.
        drop(receive(number)?);
    }
    Ok(())
}

fn receive(number: Number) -> Result<Signal, CommandError> {
    signal(SignalKind::from_raw(number.as_raw())).map_err(|error| {
        CommandError::new(ErrorCode::SystemRefused, format!("signals cannot be received: {error}"))
    })
}

/// The error of a command that a second signal, or one it does not finish work for, has ended.
pub(crate) fn stopped_by(signal: &str) -> CommandError {
    let text = format!("stopped by {signal}; `jeton logs` shows how refreshes under way ended");
    CommandError::new(ErrorCode::Stopped, text)
}
