//! Live OAuth access tokens for a program: refreshed in time, exactly once, and shared by all its tasks and processes.
//!
//! You give a [`Vault`] a refresh token once, and ask it for an access token whenever you need one. A token that is still live
//! comes from memory. When it has to be refreshed, one request goes to the provider, and every task and process on the
//! same store gets its result. A refresh token that may be used once is sent once, also when a task is cancelled, a process is
//! killed or a connection breaks in the middle of a refresh.
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
//! # Stores
//!
//! * [`Vault::in_memory`] keeps tokens in this process alone. It is for tests, and for refresh tokens that may be used many
//!   times.
//! * [`Vault::on_file`] keeps them in one encrypted file, which any number of processes of a machine share.
//! * `Vault::on_sqlite` (feature `sqlite`) keeps them in a SQLite database, which can be the one of a `jeton` server.
//! * `Vault::on_postgres` (feature `postgres`) keeps them in a PostgreSQL database, which any number of machines share.
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
//! // Takes effect on the first start alone: later the file has a newer refresh token.
//! vault.seed("acme", first_refresh_token).await?;
//! # vault.close().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Providers
//!
//! Providers are data. `amocrm`, `google`, `slack`, `zoho` and more are built in; `oauth2` is any server that follows RFC 6749;
//! [`Builder::provider_file`] adds your own. The provider decides which variables a [`Connection`] needs.
//!
//! # Calls to the API
//!
//! With the feature `reqwest` or `tower`, a layer for your HTTP client adds the token to each call. When the API rejects the
//! token, the layer gets another one, with one refresh for all callers, and repeats the call once.
//!
//! # Copies and networks
//!
//! A store or data directory that was copied, restored, or moved to another machine with its disk spends nothing until
//! [`Builder::adopt`]: two owners would spend a refresh token twice. Files are known by themselves, a disk by the machine
//! ([`Builder::bound_to_machine`]) and by a mark outside of it ([`Builder::mark_dir`]).
//!
//! Token endpoints are reached through the proxy that `HTTPS_PROXY` or `ALL_PROXY` names, but for the hosts of `NO_PROXY`
//! ([`Builder::ignore_environment`]), and may be certified by the authorities of the operating system.
//!
//! # Waiting, failures and logs
//!
//! * A caller waits for a refresh for at most [`Builder::wait`] (30 s), or for the time in its [`TokenRequest`]. After that it
//!   gets the current token with a [`Token::warning`], if that is still live, else an error.
//! * After a failed attempt nothing is sent for [`Builder::cooldown`] (5 s).
//! * A refresh runs in a task of its own, which no caller cancels. Connections do not wait for each other.
//! * [`Vault::run`] refreshes tokens ahead of time. Without it, they are refreshed when somebody asks.
//! * The log (`tracing`) has at *debug* that a caller joins a refresh or that the last attempt failed too recently; at *warn*
//!   that a refresh failed, that waiting took too long, or that a caller goes on with the current token; at *error* that a
//!   grant is dead. It never contains a token.
#![warn(missing_docs)]

mod builder;
mod error;
#[cfg(any(feature = "tower", feature = "reqwest"))]
mod inject;
/// Settings of a connection that replace those of its provider's file.
pub mod policy {
    pub use jeton_core::keep::provider::{
        Budget, BudgetPer, DurationText, OldAccess, OnDead, OnUnknown, PolicyOverrides, Rotation,
    };
}
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod storage;
#[cfg(feature = "tower")]
pub mod tower;
mod vault;

pub use builder::{Builder, Connection};
pub use error::{NoToken, OpenError};
pub use jeton_core::id::Generation;
pub use jeton_core::keep::connection::Condition;
pub use jeton_core::seal::Fingerprint;
pub use jeton_core::secret::Secret;
pub use jeton_core::time::{Clock, Timestamp};
pub use jeton_keeper::{
    Connected, Grant, KeySource, NoProxy, OutboundSettings, Proxy, Refreshed, Roots, Settings, Status, Token,
    TokenError, TokenRequest,
};
#[cfg(feature = "postgres")]
pub use storage::Postgres;
pub use vault::Vault;
