//! Why a consent did not come about.

use std::time::Duration;

use jeton_core::id::{ConnectionName, ProviderName};
use jeton_core::keep::consent::{CallbackRefusal, ClosedLink, Progress};
use jeton_core::keep::ports::StoreError;

use crate::error::TokenError;

/// Why a consent did not come about. The texts are facts, and hold no secret; who shows them says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentError {
    /// No link has this ticket.
    #[error("no consent has this link")]
    UnknownLink,
    /// The link was opened before.
    #[error("this link was used before, and works once")]
    UsedLink {
        /// The connection.
        name: ConnectionName,
    },
    /// The link was not opened in time.
    #[error("this link was good for 10 minutes, which are over")]
    LateLink {
        /// The connection.
        name: ConnectionName,
    },
    /// A callback without a state.
    #[error("this is where providers send browsers back to, and nothing says which consent this is about")]
    NoState,
    /// No consent has this state.
    #[error("this answer belongs to no consent that jeton asked for")]
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
    #[error("this answer came more than 10 minutes after the link was opened")]
    LateAnswer {
        /// The connection.
        name: ConnectionName,
    },
    /// Another browser opened the link.
    #[error("another browser opened the link of this consent, and only that one can bring the answer back")]
    AnotherBrowser,
    /// A terminal waits for this answer.
    #[error("a terminal waits for this answer of the consent for `{name}`")]
    ForTerminal {
        /// The connection.
        name: ConnectionName,
    },
    /// What was brought to the terminal does not say which consent it answers. Nothing was used up.
    #[error("what was pasted does not say that it answers the consent for `{name}`")]
    Stateless {
        /// The connection.
        name: ConnectionName,
    },
    /// The connection is defined at another provider than when the consent was begun.
    #[error("`{name}` was to be connected at the provider `{asked}`, and is defined at `{defined}` here")]
    Redefined {
        /// The connection.
        name: ConnectionName,
        /// The provider that the consent was begun for.
        asked: ProviderName,
        /// The one of the definition.
        defined: ProviderName,
    },
    /// The provider answered with an error, such as that the person said no.
    #[error("{}", denied(.name, .code))]
    Denied {
        /// The connection.
        name: ConnectionName,
        /// The provider's code, such as `access_denied`.
        code: String,
        /// What the provider said in its own words, for whoever operates jeton.
        provider_message: Option<String>,
    },
    /// The answer names something that is not this provider's. Nothing was sent to it.
    #[error("the answer for `{name}` was not taken, and no secret was sent: {message}")]
    Foreign {
        /// The connection.
        name: ConnectionName,
        /// What is wrong.
        message: String,
    },
    /// The exchange of the code failed.
    #[error("`{name}` was not connected: {message}")]
    Failed {
        /// The connection.
        name: ConnectionName,
        /// A stable code.
        code: String,
        /// What happened.
        message: String,
        /// What the provider said in its own words, for whoever operates jeton.
        provider_message: Option<String>,
    },
    /// The code may have been sent, and nobody knows what became of it. It is not sent again.
    #[error(
        "the code for `{name}` may have been sent, and no usable answer came ({message}); it is never sent twice"
    )]
    Unknown {
        /// The connection.
        name: ConnectionName,
        /// What happened.
        message: String,
    },
    /// The exchanged code gave a grant, which is durable in a spill slot and not in the store yet.
    #[error(
        "the provider's answer for `{name}` is safe on the disk of this machine, and the store has not taken it yet \
         ({message}); it is stored by itself as soon as the store can"
    )]
    Kept {
        /// The connection.
        name: ConnectionName,
        /// What the store says.
        message: String,
    },
    /// The exchange of the code takes longer than a browser waits, and goes on.
    #[error(
        "connecting `{name}` has taken longer than {} s, and goes on by itself",
        .waited.as_secs()
    )]
    Slow {
        /// The connection.
        name: ConnectionName,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The exchange of the code ended in a panic.
    #[error(
        "connecting `{name}` met a defect of jeton, which has logged it, and the code may have been sent; it is never sent \
         twice"
    )]
    Defect {
        /// The connection.
        name: ConnectionName,
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
    pub(super) fn of_closed(name: ConnectionName, closed: ClosedLink) -> Self {
        match closed {
            ClosedLink::Used => Self::UsedLink { name },
            ClosedLink::Late => Self::LateLink { name },
        }
    }

    pub(super) fn of_refusal(name: ConnectionName, refusal: CallbackRefusal, progress: Progress) -> Self {
        match refusal {
            CallbackRefusal::Used => Self::UsedAnswer { name, progress },
            CallbackRefusal::Late => Self::LateAnswer { name },
            CallbackRefusal::AnotherBrowser => Self::AnotherBrowser,
            CallbackRefusal::ForTerminal => Self::ForTerminal { name },
        }
    }
}

fn became_of(name: &ConnectionName, progress: &Progress) -> String {
    match progress {
        Progress::Done { .. } => format!("`{name}` was connected with it, and nothing is left to do"),
        Progress::Exchanging => {
            format!("`{name}` is being connected with it")
        }
        _ => format!("it did not connect `{name}`"),
    }
}

fn denied(name: &ConnectionName, code: &str) -> String {
    let again = format!("`{name}` is as it was");
    match code {
        "access_denied" => format!("the consent was refused at the provider; {again}"),
        code => format!(
            "the provider sent the browser back with the error `{code}`; look at the client's settings there, {again}"
        ),
    }
}
