//! The library as a program uses it, at a strict provider that is played here.
#![cfg(test)]

mod api;
mod asking;
mod clients;
mod examples;
mod guide;
mod killed;
mod logged;
mod opening;
mod postgres;
mod reach;
mod scene;
