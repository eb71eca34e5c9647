//! SQLite: the conformance story, and what only SQLite must show.

mod conformance;
mod faults;
mod files;
mod rolling;
mod rows;
mod size;
mod stand;
mod steady;
