//! Keeping the tokens that we use to call others.
//!
//! * [`provider`]: a kind of token endpoint, described as data.
//! * [`connection`]: one grant that we hold at a provider, as its store row says it.
//! * [`attempt`]: one row of the refresh log.
//! * [`breaker`]: whether token requests go to a token endpoint that may be down.
//! * [`claim`]: who may spend a refresh token now.
//! * [`consent`]: a person consents in a browser.
//! * [`rejection`]: what follows when a caller says that a token was refused.
//! * [`due`]: when a token set must be refreshed, and what becomes of an attempt whose outcome is not known.
//! * [`force`]: how often a service may force a refresh.
//! * [`refusal`]: what refusals by a token endpoint add up to.
//! * [`pause`]: how long nothing is sent after failures.
//! * [`plan`]: what to do next for a connection.
//! * [`ports`]: what a store must be able to do.
//! * [`unavailable`]: what people are told of a token endpoint that does not answer.

pub mod attempt;
pub mod breaker;
pub mod claim;
pub mod connection;
pub mod consent;
pub mod due;
#[cfg(test)]
mod fixture;
pub mod force;
pub mod pause;
pub mod plan;
pub mod ports;
pub mod provider;
pub mod refusal;
pub mod rejection;
pub mod unavailable;
