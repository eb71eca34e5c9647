//! The conformance tests of all stores, and what only one of them must show.
#![cfg(test)]

mod file;
mod memory;
mod postgres;
mod requests;
mod rolling_upgrade;
mod sqlite;
