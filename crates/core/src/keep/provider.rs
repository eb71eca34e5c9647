//! Providers are data: a kind of token endpoint is one TOML file, and this module is all that reads it.
//!
//! A [`Provider`] is a file that was loaded and found right. With an operator's variables and client credentials it
//! becomes a [`Definition`], which makes requests ([`Definition::request`]) and reads replies
//! ([`Definition::read`]). Nothing here does I/O: callers pass the text of files, send the requests and hand in the
//! replies.
//!
//! * Which key? [`schema`](Provider::from_toml), described in `docs/reference/provider-format.md`.
//! * What is sent, and where may it go? `address`, `hosts`, `template`, `request`.
//! * What does the reply mean? `read`, `expiry`, `classify`. Which of its words are shown? `provider_message`.
//! * What does the server say of itself? `server_metadata`.
//! * Are the files right? `vectors`, run by [`Provider::run_tests`].
//! * What would the provider's own server answer? [`Emulation`].

mod address;
mod alias;
mod alias_body;
mod body;
mod catalogue;
#[cfg(test)]
mod catalogue_tests;
mod charset;
mod class;
mod condition;
mod date;
mod definition;
mod duration;
mod emulation;
mod error_codes;
mod expiry;
mod extract;
mod fault;
#[cfg(test)]
mod file_tests;
mod hosts;
mod http_types;
mod json;
mod load;
mod locate;
mod one_or_many;
mod payload;
mod policy;
mod provider_message;
mod read_reply;
#[cfg(test)]
mod reply_tests;
mod request;
mod request_values;
mod schema;
mod scopes;
mod server_metadata;
mod step;
mod template;
#[cfg(test)]
mod unsorted_tests;
mod vars;
mod vector_schema;
mod vectors;

pub use alias::{Alias, AliasFailure, AliasFault};
pub use alias_body::{BodyError, BodyValues};
pub use body::is_whole_document;
pub use catalogue::{Catalogue, UnknownProvider};
pub use class::ErrorClass;
pub use definition::{Definition, Setup};
pub use duration::{DurationText, InvalidDuration};
pub use emulation::{Emulation, Issued, TokenKind};
pub use fault::{DefineError, FileError};
pub use http_types::{
    CallbackParams, ClientCertificate, Endpoint, Injection, Introspection, Method, OutboundRequest, Reply,
    SentAt, StepFailure, StepOutcome, TokenReply,
};
pub use load::{PUBLIC_CLIENT, Provider, Rate};
pub use policy::{
    AccessFormat, Budget, BudgetPer, OldAccess, OnDead, OnUnknown, Policy, PolicyOverrides, Rotation,
};
pub use read_reply::{CaptureError, read_retry_after};
pub use request::RequestError;
pub use request_values::{Client, RequestValues, VarValue, Vars};
pub use schema::{Confidence, MetadataMember, RateLimitReach};
pub use scopes::scope_list;
pub use server_metadata::{KnownMetadata, ServerMetadata};
pub use step::{ClientAuth, Step};
pub use vars::{Capture, Var};
pub use vectors::{Difference, VectorResult};
