//! Why a consent did not come about.

use jeton_core::id::ConnectionName;
use jeton_core::keep::consent::{Progress, UnfitAnswer};
use jeton_core::keep::ports::StoreError;

use crate::error::TokenError;

/// Why a consent did not come about. Every text is one sentence with the cure; none holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// No link has this ticket.
    #[error("this link is none that this jeton made; ask for a new one with `jeton connect NAME`")]
    UnknownLink,
    /// The link was opened before.
    #[error("this link was opened before, and opens once; ask for a new one with `jeton connect {name}`")]
    UsedLink {
        /// The connection.
        name: ConnectionName,
    },
    /// The link was not opened in time.
    #[error(
        "this link was good for 10 minutes, which are over; ask for a new one with `jeton connect {name}`"
    )]
    LateLink {
        /// The connection.
        name: ConnectionName,
    },
    /// A callback without a state.
    #[error(
        "this is where providers send browsers back to, and nothing says which consent this is about; begin with \
         `jeton connect NAME`"
    )]
    NoState,
    /// No consent has this state.
    #[error("this answer belongs to no consent that jeton asked for; begin again with `jeton connect NAME`")]
    UnknownState,
    /// The answer came before.
    #[error("this answer was taken before, and counts once; {}", became_of(.name, .progress))]
    UsedAnswer {
        /// The connection.
        name: ConnectionName,
        /// What became of it.
        progress: Progress,
    },
    /// The answer came too late.
    #[error(
        "this answer came more than 10 minutes after the link was opened; begin again with `jeton connect {name}`"
    )]
    LateAnswer {
        /// The connection.
        name: ConnectionName,
    },
    /// Another browser opened the link.
    #[error(
        "another browser opened the link of this consent, and only that one can bring the answer back; go on there, or \
         begin again with `jeton connect NAME` and open the link here"
    )]
    AnotherBrowser,
    /// A terminal waits for this answer.
    #[error(
        "`jeton connect {name} --code` waits for this answer; copy the address of this page into that terminal"
    )]
    ForTerminal {
        /// The connection.
        name: ConnectionName,
    },
    /// The provider answered with an error, such as that the person said no.
    #[error("{}", denied(.name, .code))]
    Denied {
        /// The connection.
        name: ConnectionName,
        /// The provider's code, such as `access_denied`.
        code: String,
    },
    /// The answer names something that is not this provider's. Nothing was sent to it.
    #[error(
        "the answer for `{name}` was not taken, and no secret was sent: {message}; begin again with `jeton connect {name}`"
    )]
    Foreign {
        /// The connection.
        name: ConnectionName,
        /// What is wrong.
        message: String,
    },
    /// The exchange of the code failed.
    #[error("`{name}` was not connected: {message}; begin again with `jeton connect {name}`")]
    Failed {
        /// The connection.
        name: ConnectionName,
        /// A stable code.
        code: String,
        /// What happened.
        message: String,
    },
    /// The code was sent, and nobody knows what became of it. It is not sent again.
    #[error(
        "the code for `{name}` was sent and no usable answer came ({message}); it is never sent twice: begin again with \
         `jeton connect {name}`"
    )]
    Unknown {
        /// The connection.
        name: ConnectionName,
        /// What happened.
        message: String,
    },
    /// What has nothing to do with the consent itself.
    #[error(transparent)]
    Keeper(#[from] TokenError),
}

impl From<StoreError> for ConsentError {
    fn from(error: StoreError) -> Self {
        Self::Keeper(error.into())
    }
}

impl ConsentError {
    pub(super) fn of_unfit(name: ConnectionName, unfit: UnfitAnswer, progress: Progress) -> Self {
        match unfit {
            UnfitAnswer::Used => Self::UsedAnswer { name, progress },
            UnfitAnswer::Late => Self::LateAnswer { name },
            UnfitAnswer::AnotherBrowser => Self::AnotherBrowser,
            UnfitAnswer::ForTerminal => Self::ForTerminal { name },
        }
    }
}

fn became_of(name: &ConnectionName, progress: &Progress) -> String {
    match progress {
        Progress::Done { .. } => format!("`{name}` was connected with it, and nothing is left to do"),
        Progress::Exchanging => {
            format!("`{name}` is being connected with it; `jeton status` says when it is done")
        }
        _ => format!("it did not connect `{name}`: begin again with `jeton connect {name}`"),
    }
}

fn denied(name: &ConnectionName, code: &str) -> String {
    let again = format!("`{name}` is as it was; to ask again, `jeton connect {name}`");
    match code {
        "access_denied" => format!("the consent was refused at the provider; {again}"),
        code => format!(
            "the provider sent the browser back with the error `{code}`; look at the client's settings there, {again}"
        ),
    }
}
