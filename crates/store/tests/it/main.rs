//! The conformance story of both stores, and what only one of them must show.
#![cfg(test)]

mod orders;
mod postgres;
mod sqlite;
