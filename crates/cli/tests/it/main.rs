//! The real binary in real processes, against a real token endpoint.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod answers;
mod audit;
mod backup;
mod bad_installation;
mod bad_settings;
mod consent;
mod consent_browser;
mod demo;
mod discovery;
mod docs;
mod doctor;
mod emulate;
mod fixture;
mod full_disk;
mod gateway;

mod init;
mod journeys;
mod lost_store;
mod networks;
mod nodes;
mod old_gateway;
mod open_files;
mod outage;
mod postgres;
mod rights;
mod rolled_back_store;
mod second_terminal;
mod secrets;
mod serve;
mod service_tokens;
mod signals;
mod terminal;
mod unknown_outcome;
mod wrong_credentials;
