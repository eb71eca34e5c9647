//! The handlers of the HTTP API.

pub(crate) mod audit;
pub(crate) mod connections;
pub(crate) mod diagnostics;
pub(crate) mod health;
pub(crate) mod paging;
pub(crate) mod refresh;
pub(crate) mod service_tokens;
pub(crate) mod token;
pub(crate) mod verify;
