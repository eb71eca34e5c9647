//! What goes upstream: calls to the APIs of providers, with the token put in.
//!
//! A call to `/api/v1/proxy/{connection}/{path}` goes through the phases, plain functions one after the other:
//! *authenticate* the caller, *select* the connection, *take* its token, *inject* it, *forward* the call; when the answer
//! says that the token expired, *cure* it (compare and refresh) and forward once more, never twice.
//!
//! * [`Gateway`] is mounted by whoever composes: [`Gateway::router`] beside other routers, [`Gateway::drain`] at the end.
//! * [`Settings`] has its times and limits.
//!
//! Answers of an API pass through as they are. Answers of the gateway itself carry `X-Jeton-Error` and are problem details
//! (RFC 9457), whose codes have their pages under `docs/errors/`.
#![warn(missing_docs)]

mod alias;
mod cached;
mod door;
mod echoed;
mod envelope;
mod escape;
mod fault;
mod gateway;
mod headers;
mod injected;
mod journal;
mod kept;
mod phases;
mod pool;
mod rate;
mod reply;
mod settings;
mod target;
mod tunnel;
mod upstream;

pub use alias::{AliasOf, is_a_door};
pub use gateway::Gateway;
pub use settings::Settings;
