//! How connections stay alive.
//!
//! One refresh: due, asked for, or rejected -> join this process's refresh of the connection -> *claim* in the store ->
//! *redeem* upstream, in a detached task -> *commit* -> memory and everybody who waits.
//!
//! * [`Vault`]: the entry point. It gives living tokens, and refreshes them.
//! * [`Installation`]: what a data directory and a store must agree on before anything is spent.
//! * [`Settings`]: the times and limits.
#![warn(missing_docs)]

mod background;
mod definitions;
mod error;
mod host;
mod installation;
mod lifecycle;
mod node;
mod private_file;
mod settings;
mod store_access;
mod store_time;
mod token_crypto;
mod token_metadata;
mod vault;

/// What is stored, as this process knows it: callers are answered from here.
mod memory {
    pub(crate) mod apply;
    pub(crate) mod cache;
    pub(crate) mod follow;
    pub(crate) mod high_water;
    pub(crate) mod load;
}

/// What callers get.
mod tokens {
    pub(crate) mod api_call;
    pub(crate) mod early_expiry;
    pub(crate) mod get;
    pub(crate) mod rejected;
    pub(crate) mod request;
    pub(crate) mod single_flight;
    pub(crate) mod wait;
}

/// How a token set becomes a new one.
mod refresh {
    pub(crate) mod attempt;
    pub(crate) mod budget;
    pub(crate) mod consequence;
    pub(crate) mod introspect;
    pub(crate) mod kept_reply;
    pub(crate) mod reconciler;
    pub(crate) mod run;
    pub(crate) mod spend;
    pub(crate) mod start_connections;
    pub(crate) mod store_writer;
    pub(crate) mod withdraw;
}

/// How a person's consent becomes a grant.
mod consent {
    pub(crate) mod error;
    pub(crate) mod exchange;
    pub(crate) mod link;
    pub(crate) mod progress;
    pub(crate) mod reread;
    pub(crate) mod terminal;
}

/// The other nodes on the same store.
mod peers {
    pub(crate) mod data_dir_nodes;
    pub(crate) mod heartbeat;
    pub(crate) mod peer_liveness;
    pub(crate) mod unavailable;
}

/// Where a reply is stored while the store does not take it.
mod spill {
    pub(crate) mod inspect;
    pub(crate) mod slot_file;
    pub(crate) mod slots;
    pub(crate) mod store_write;
}

/// Requests to token endpoints.
mod outbound {
    pub(crate) mod content_coding;
    pub(crate) mod dial;
    pub(crate) mod discovery;
    pub(crate) mod exchange;
    pub(crate) mod guard;
    pub(crate) mod limiter;
    pub(crate) mod proxy;
    pub(crate) mod public_address;
    pub(crate) mod request_bytes;
    pub(crate) mod response;
    pub(crate) mod roots;
    pub(crate) mod stream;
    pub(crate) mod tls_client;
}

/// What operators do to connections, and what they see of them.
mod operator {
    pub(crate) mod commands;
    pub(crate) mod connection_check;
    pub(crate) mod replace;
    pub(crate) mod revoke;
    pub(crate) mod status;
    pub(crate) mod take_over;
}

pub use consent::error::ConsentError;
pub use consent::exchange::Consented;
pub use consent::link::{AuthorizationRedirect, ConsentLink, LinkPreview};
pub use consent::progress::ConsentStatus;
pub use consent::terminal::{PastedAnswer, TerminalConsent};
pub use error::TokenError;
pub use host::{Host, HostRecord};
pub use installation::{Installation, InstallationError, JoinMode, KeySource, RememberedStore};
pub use memory::high_water::Hold;
pub use operator::connection_check::{ConnectionCheck, ConnectionSetup};
pub use operator::replace::Replaced;
pub use operator::revoke::Revocation;
pub use operator::status::{ProviderOutage, Status};
pub use outbound::dial::{DialError, Dialer, Route};
pub use outbound::discovery::read_server_metadata;
pub use outbound::proxy::{Bypass, NoProxy, Proxy};
pub use outbound::request_bytes::title_case;
pub use outbound::roots::Roots;
pub use outbound::stream::Stream;
pub use outbound::tls_client::check_client_certificate;
pub use peers::heartbeat::Peers;
pub use private_file::{create_private_dir, give_to_owner_of_folder, open_private};
pub use refresh::store_writer::{GRANT_HELD, GRANT_SUPERSEDED};
pub use settings::{OutboundSettings, Settings};
pub use spill::inspect::{SlotState, inspect_spill_slots};
pub use store_access::{Ports, VaultError};
pub use store_time::store_clock;
pub use tokens::api_call::{ApiVerdict, Call};
pub use tokens::request::{Connected, Grant, RefreshMode, Refreshed, Token, TokenRequest};
pub use vault::Vault;
