//! A provider for tests: a strict and faulty OAuth 2 token endpoint on loopback.
//!
//! It is *strict* where real servers are strict: a refresh token gets one successor, and a second use outside the
//! grace kills the whole grant with all its tokens (RFC 9700, section 4.14.2). It is *faulty* as real networks
//! are: replies come late, half, as garbage or not at all, after the token has been spent.
//!
//! It can also act as any provider of the catalogue: see [`Settings::for_provider`].
//!
//! And it keeps a record of each request: whether it *accepted* the token and whether the reply was *written* to the last
//! byte, so that every loss that a client suffers is explained or is a bug of that client.
//!
//! ```
//! use jeton_emulator::{Emulator, Fault, Settings, Behaviour};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let emulator = Emulator::start(Settings::default()).await?;
//! let refresh_token = emulator.mint(1).remove(0);
//! emulator.set_behaviour(Behaviour::from_queue([Fault::lose_reply()]));
//! println!("POST {} with {} characters", emulator.token_url(), refresh_token.len());
//! emulator.shutdown().await;
//! # Ok(())
//! # })
//! # }
//! ```
#![warn(missing_docs)]

mod behaviour;
mod emulator;
mod endpoint;
mod grants;
mod provider_server;
mod random;
mod record;
mod reply;
mod request;
mod server;
mod settings;
mod socket;
mod state;

pub use behaviour::{Behaviour, Fault, FaultKind};
pub use emulator::Emulator;
pub use grants::{EmulatedGrant, GrantEnd};
pub use random::SeededEntropy;
pub use record::{EmulatedGrantId, RequestOutcome, RequestRecord, Stats, short_hash};
pub use settings::Settings;
