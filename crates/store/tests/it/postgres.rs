//! PostgreSQL: the conformance story, and what only PostgreSQL must show.

mod bouncer;
mod conformance;
mod copies;
mod elsewhere;
mod faults;
mod feed;
mod locks;
mod rolling;
mod schema;
mod silence;
mod stand;
mod standby;
mod wire;
mod words;
