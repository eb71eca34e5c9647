//! How connections stay alive.
//!
//! The flow of one refresh: due, asked for, or rejected -> join this process's flight for the connection ->
//! *claim* in the store -> *redeem* upstream, in a detached task -> *commit* -> publish to memory and waiters.
//!
//! * [`Vault`]: the way in. It gives living tokens, and refreshes them.
//! * [`Installation`]: what a data directory and a store must agree on before anything is spent.
//! * [`Settings`]: the times and limits.
#![warn(missing_docs)]

mod budget;
mod call;
mod connect;
mod consent;
mod contact;
mod deliver;
mod error;
mod examine;
mod extras;
mod flight;
mod follow;
mod helped;
mod high_water;
mod housemates;
mod installation;
mod introspect;
mod load;
mod memory;
mod node;
mod operate;
mod outbound;
mod published;
mod reach;
mod reconciler;
mod redeem;
mod refresh;
mod sealed;
mod serve;
mod settings;
mod shared;
mod spill;
mod status;
mod token;
mod vault;

pub use call::{Call, Verdict};
pub use consent::{
    Asking, Brought, ConsentError, ConsentStatus, Consented, Invitation, Prospect, TerminalConsent,
};
pub use error::TokenError;
pub use examine::{Examination, Footing};
pub use high_water::Hold;
pub use installation::{Installation, InstallationError, Joining, KeySource};
pub use node::Neighbours;
pub use outbound::{Line, Roots};
pub use reach::Reach;
pub use settings::Settings;
pub use shared::{Ports, VaultError};
pub use spill::{SlotState, look as look_at_spill_slots};
pub use status::Status;
pub use token::{Connected, Grant, Refreshed, Token, TokenRequest};
pub use vault::Vault;
