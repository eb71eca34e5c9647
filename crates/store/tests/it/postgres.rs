//! PostgreSQL: the conformance story, and what only PostgreSQL must show.

mod bouncer;
mod conformance;
mod copies;
mod elsewhere;
mod faults;
mod feed;
mod locks;
mod passing;
mod pauses;
mod rights;
mod rolling;
mod schema;
mod sessions;
mod silence;
mod stand;
mod standby;
mod whole;
mod wire;
mod words;
