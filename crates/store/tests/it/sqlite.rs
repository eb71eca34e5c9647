//! SQLite: the conformance tests, and what only SQLite must show.

mod boot_clock;
mod conformance;
mod faults;
mod files;
mod fixture;
mod rolling_upgrade;
mod rows;
mod size;
