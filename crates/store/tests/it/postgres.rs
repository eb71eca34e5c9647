//! PostgreSQL: the conformance story, and what only PostgreSQL must show.

mod bouncer;
mod conformance;
mod faults;
mod feed;
mod rolling;
mod schema;
mod stand;
mod words;
