//! The emulator as a client on the wire sees it.

mod client;
mod records;
mod strict;
mod tempers;
