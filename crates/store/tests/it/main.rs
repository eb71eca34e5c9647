//! SQLite: the conformance story, and what only SQLite must show.
#![cfg(test)]

mod conformance;
mod faults;
mod files;
mod rows;
mod stand;
mod steady;
