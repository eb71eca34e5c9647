//! The keeper over the real store, a real provider on loopback, and as many processes as a rule needs: each rule of
//! keeping is a test whose name says it.
//!
//! A *process* here is a vault with a store of its own on the same database and the same data directory: nothing
//! is shared but what real processes share. Time comes from one clock that tests can move.

mod acquire;
mod budget;
mod calls;
mod classes;
mod commit;
mod copies;
mod cost;
mod damaged;
mod exchange;
mod flight;
mod grace;
mod hold;
mod introspection;
mod joined;
mod late;
mod left_alone;
mod memory;
mod nodes;
mod not_sent;
mod policies;
mod process;
mod reconciler;
mod recovery;
mod rejection;
mod reread;
mod schedule;
mod secrets;
mod slots;
mod spill;
mod stores;
mod tap;
mod unknown;
mod waiting;
mod went_back;
mod wire;
mod world;
