//! The conformance story of all stores, and what only one of them must show.
#![cfg(test)]

mod file;
mod memory;
mod orders;
mod postgres;
mod sqlite;
mod upgrade;
