//! Which URL: the state of a running jeton.
//!
//! * [`router`] lists every URL and what stands behind it; [`openapi()`] describes it from the same list.
//! * `access.rs` says who may come in, and through which state.
//! * [`serve`] accepts connections, within [`Limits`].
//!
//! A request passes, outermost first: the access log, the headers that every answer carries, the net for panics, the
//! guard (not for health), its door. Every error is a `jeton_core::problem::Problem` (RFC 9457) whose `code` has its
//! page under `docs/errors/`; what people meet in a browser are pages ([`oauth`](router)), and say the same in words. One kind of refusal has no body: what HTTP itself refuses, before there is a request, such
//! as headers beyond the limit (431) or bytes that are no HTTP (400).
#![warn(missing_docs)]

mod api;
mod auth;
mod error;
mod error_catalogue;
mod extract;
mod middleware;
mod oauth;
mod openapi;
mod response;
mod route;
mod router;
mod schema_patterns;
mod serve;
mod write_timeout;

pub use openapi::openapi;
pub use router::{AppState, router};
pub use serve::{Limits, serve};
