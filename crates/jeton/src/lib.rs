//! Living access tokens for a program: refreshed exactly once, in time, and shared by all its tasks and processes.
//!
//! Any number of tasks ask a [`Vault`] for a token. Whoever asks while it lives gets it from memory; when it must be
//! refreshed, one refresh happens and all get its result, in this process and in every other one on the same store. A
//! refresh token that is good for one use is sent once, whatever is cancelled, killed or cut off meanwhile.
//!
//! ```
//! use jeton::{Connection, Vault};
//! # use jeton_emulator::{Emulator, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # let provider = Emulator::start(Settings::default()).await?;
//! # let token_url = provider.token_url();
//! # let refresh_token = provider.mint(1).remove(0);
//! let vault = Vault::in_memory()
//!     .connection("acme", Connection::at("oauth2").var("token_url", token_url).client("emulated", "emulated-secret"))
//!     .open()
//!     .await?;
//!
//! vault.connect("acme", refresh_token).await?;
//! let token = vault.token("acme").await?;
//! assert!(provider.accepts(token.access.reveal()));
//!
//! vault.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Where tokens are kept
//!
//! * [`Vault::in_memory`]: in this process alone. For tests, and where a refresh token is good for many uses.
//! * [`Vault::on_file`]: in one sealed file, which any number of processes of a machine share. No database.
//! * `Vault::on_sqlite` (feature `sqlite`): in a SQLite database; it can be the one of a `jeton` server.
//! * `Vault::on_postgres` (feature `postgres`): in a PostgreSQL database, which any number of machines share.
//!
//! ```
//! # use jeton::{Connection, Vault};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("tokens.json");
//! # let first_refresh_token = "the-one-that-the-consent-gave";
//! # let acme = || Connection::at("oauth2").var("token_url", "http://127.0.0.1:9/token").client("id", "secret");
//! let vault = Vault::on_file(&path).connection("acme", acme()).open().await?;
//! // Taken on the first start alone: what is in the file since then is newer.
//! vault.seed("acme", first_refresh_token).await?;
//! # vault.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Providers
//!
//! A provider is data: `amocrm`, `google`, `slack`, `zoho` and more are built in, [`Builder::provider_file`] adds your
//! own, and `oauth2` is any server that follows RFC 6749. What a connection needs is what its provider says.
//!
//! # Calls to the API
//!
//! With the feature `reqwest` or `tower`, a client gets a layer that adds the token to each call. When the API refuses
//! the token, the layer asks for another one, which refreshes at most once for all callers, and repeats the call once.
//!
//! # What happens meanwhile
//!
//! * A caller waits for a refresh under way for at most [`Builder::wait`] (30 s), or as long as its
//!   [`TokenRequest`] says. Then it gets the current token, if that still lives, with a [`Token::warning`]; else an error.
//! * After a failed attempt nothing is sent for [`Builder::cooldown`] (5 s). After a success nobody waits.
//! * A refresh runs in a task of its own: a caller that goes away cancels nothing, and one connection never waits for
//!   another.
//! * [`Vault::run`] refreshes ahead of time; without it, tokens are refreshed when somebody asks.
//! * The log (`tracing`) tells at *debug* that a refresh is under way already or that the last attempt failed too
//!   recently; at *warn* that waiting took too long, that a caller goes on with the current token, or that a refresh
//!   failed; at *error* that a grant is dead. No token is ever in it.
#![warn(missing_docs)]

mod builder;
#[cfg(any(feature = "tower", feature = "reqwest"))]
mod call;
mod error;
mod place;
/// Settings of a connection that differ from its provider's file.
pub mod policy {
    pub use jeton_core::keep::provider::{
        Budget, BudgetPer, DurationText, OldAccess, OnDead, OnUnknown, PolicyOverrides, Rotation,
    };
}
#[cfg(feature = "reqwest")]
pub mod reqwest;
#[cfg(feature = "tower")]
pub mod tower;
mod vault;

pub use builder::{Builder, Connection};
pub use error::{NoToken, OpenError};
pub use jeton_core::keep::connection::{Condition, Generation};
pub use jeton_core::seal::Fingerprint;
pub use jeton_core::secret::Secret;
pub use jeton_core::time::{Clock, Timestamp};
pub use jeton_keeper::{
    Connected, Grant, KeySource, Refreshed, Settings, Status, Token, TokenError, TokenRequest,
};
#[cfg(feature = "postgres")]
pub use place::Postgres;
pub use vault::Vault;
