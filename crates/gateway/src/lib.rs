//! The gateway: it forwards calls to the APIs of providers, with the token put in.
//!
//! A call to `/api/v1/proxy/{connection}/{path}` goes through phases, which are plain functions of `phases.rs`:
//! *authenticate* the caller, *select* the connection, *take* its token, *inject* it, *forward* the call. When the answer
//! says that the token expired, the gateway gets another one and forwards the call once more, never twice.
//!
//! * [`Gateway::router`] has its routes, which are merged with those of the server; [`Gateway::drain`] ends it.
//! * [`Settings`] has its times and limits, and [`CallSettings`] those that a connection may have of its own.
//!
//! Answers of an API pass through unchanged, but for headers that concern one connection or one host. Answers of the gateway
//! itself are problem details (RFC 9457) with the header `X-Jeton-Error`; each code has a page under `docs/errors/`.
#![warn(missing_docs)]

mod access_log;
mod alias;
mod alias_body;
mod call_rate;
mod cors;
mod envelope;
mod error;
mod gateway;
mod handlers;
mod header_names;
mod location;
mod path_check;
mod phases;
mod proxy_request;
mod rate_limits;
mod read_after_reset;
mod redact_response;
mod replay_body;
mod response;
mod settings;
mod state;
mod trace_context;
mod tunnel;
mod upstream;
mod upstream_request;

pub use alias::{ConnectionAlias, is_reserved_path};
pub use cors::is_origin;
pub use gateway::Gateway;
pub use settings::{CallSettings, Settings};
