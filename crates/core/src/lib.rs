//! What may happen: the rules of jeton and the ports it needs, with no I/O.
//!
//! * [`access`]: who may come in: service tokens, and what their scopes grant.
//! * [`address_race`]: which of several addresses of one host is taken.
//! * [`audit`]: what was done, and who did it.
//! * [`keep`]: connections, providers as data, token replies, due times, and the ports of the stores.
//! * [`seal`]: encryption at rest and the fingerprints that name a token in records.
//! * [`time`], [`entropy`]: the two things that must come in from outside for every rule to be testable.
//! * [`problem`]: the one shape of an error that leaves a process (RFC 9457).
#![warn(missing_docs)]

pub mod access;
pub mod address_race;
pub mod audit;
pub mod clocks;
pub mod entropy;
pub mod id;
pub mod keep;
pub mod media_type;
mod named_enum;
pub mod problem;
#[cfg(feature = "schema")]
mod schema;
pub mod seal;
pub mod secret;
mod store_error;
pub mod suggest;
pub mod time;
