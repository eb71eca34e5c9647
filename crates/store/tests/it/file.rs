//! The file store: the conformance tests, and what only it must show.

mod child_processes;
mod conformance;
mod fixture;
mod log_limits;
mod paths;
mod processes;
mod version_1;
