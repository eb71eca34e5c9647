//! The file store: the conformance story, and what only it must show.

mod bounds;
mod children;
mod conformance;
mod place;
mod processes;
mod stand;
