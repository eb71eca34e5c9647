//! The library as a program uses it, with a strict emulated provider.
#![cfg(test)]

mod api;
mod callers;
mod clients;
mod examples;
mod fixture;
mod guide;
mod killed;
mod logs;
mod open;
mod postgres;
mod token_scope;
