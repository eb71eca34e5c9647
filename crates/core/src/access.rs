//! Who may come in, and how far.
//!
//! * [`raw`]: a service token as its holder has it; [`hash`]: what is kept of it; [`strength`]: how hard a chosen one is to guess.
//! * [`token`]: its row: whom it names, until when, and the rule of rotation.
//! * [`scope`]: what it grants; [`permission`]: what an endpoint requires; [`glob`], [`path`]: which names and paths a scope covers.
//! * [`ports`]: what a store must be able to do.

pub mod glob;
pub mod hash;
pub mod path;
pub mod permission;
pub mod ports;
pub mod raw;
pub mod scope;
pub mod strength;
pub mod token;

pub use hash::{TokenHash, UnusableHash, UnusableKey};
pub use permission::Permission;
pub use ports::{CreateAnswer, RotateAnswer, ServiceTokenStore};
pub use scope::{InvalidScope, Scope, Scopes};
pub use token::{Create, Revoke, Rotate, RotateRefusal, ServiceToken, TokenRevision, TokenStatus};

pub use crate::id::{ServiceName, ServiceTokenId};

/// The service that the key of the installation (`API_KEY`) names. No service token may take this name.
pub const API_KEY_SERVICE: &str = "api-key";
