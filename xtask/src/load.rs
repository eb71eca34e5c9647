//! Asking a server as fast, or as often, as a proof wants.

mod latency;
mod line;

pub(crate) use latency::{Latencies, Quantiles};
pub(crate) use line::{Line, api_key};
