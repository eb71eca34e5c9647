//! The HTTP API of a running jeton, and the pages on which people give their consent.
//!
//! * [`router`] lists every URL with its handler; [`openapi`] documents it from the same list.
//! * `auth.rs` checks who calls, and the scope that the route requires.
//! * [`serve`] accepts connections, within [`Limits`].
//!
//! A request passes, outermost first: access log, common headers, panic handler, scope check, handler. Every error is a
//! [`Problem`](jeton_core::problem::Problem) whose `code` has a page under `docs/errors/`; people at a browser get a page
//! instead. What HTTP itself rejects has such a body too: too large headers (431) and bytes that are not HTTP (400).
#![warn(missing_docs)]

mod api;
mod auth;
mod caller_stream;
mod client_address;
mod error;
mod error_catalogue;
mod extract;
mod limits;
mod middleware;
mod oauth;
mod old_gateway;
mod open_connections;
mod openapi;
mod request_id;
mod response;
mod route;
mod router;
mod schema_patterns;
mod serve;
mod state;
mod unknown_url;
mod write_timeout;

pub use auth::{unknown_connection, visible_error};
pub use client_address::{ClientAddress, TrustedProxies};
pub use error::{consent_message, provider_says, token_message, token_problem};
pub use limits::Limits;
pub use middleware::ACCESS_LOG;
pub use old_gateway::{allow_every_origin, ignore_trailing_slash, invalid_key, is_invalid_key};
pub use request_id::{REQUEST_ID, RequestId, RequestIds};
pub use router::{openapi, router};
pub use serve::serve;
pub use state::AppState;
