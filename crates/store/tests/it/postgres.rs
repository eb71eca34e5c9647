//! PostgreSQL: the conformance tests, and what only PostgreSQL must show.

mod backoff;
mod conformance;
mod copies;
mod faults;
mod feed;
mod fixture;
mod incomplete_schema;
mod locks;
mod messages;
mod pgbouncer;
mod privileges;
mod proxy;
mod rolling_upgrade;
mod schema;
mod sessions;
mod silent_connections;
mod standby;
mod transient_errors;
mod wrong_database;
