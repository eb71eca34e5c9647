//! Which URL: the doors of a running jeton.
//!
//! * [`router`] lists every URL and what stands behind it; [`openapi()`] describes it from the same list.
//! * `access.rs` says who may come in, and through which doors.
//! * [`serve`] accepts connections, within [`Limits`].
//!
//! A request passes, outermost first: the access log, the headers that every answer carries, the net for panics, the
//! guard (not for health), its door. Every error is a `jeton_core::problem::Problem` (RFC 9457) whose `code` has its
//! page under `docs/errors/`; what people meet in a browser are pages ([`oauth`](router)), and say the same in words. One kind of refusal has no body: what HTTP itself refuses, before there is a request, such
//! as headers beyond the limit (431) or bytes that are no HTTP (400).
#![warn(missing_docs)]

mod access;
mod answer;
mod api;
mod describe;
mod door;
mod fault;
mod intake;
mod oauth;
mod openapi;
mod passage;
mod refusals;
mod router;
mod serve;
mod shape;
mod stall;

pub use openapi::openapi;
pub use router::{Doors, router};
pub use serve::{Limits, serve};
