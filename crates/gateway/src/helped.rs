//! Which tokens were brought by a cure that helped.
//!
//! A token that is refused soon after it came from a cure looks like an API that refuses for another reason, and the keeper
//! pulls the brake. Who has seen that the cure helped knows better: the token worked, and has died early again.

use std::collections::HashMap;
use std::sync::Mutex;

use jeton_core::seal::Fingerprint;

/// The token of the last cure that helped, by connection.
#[derive(Debug, Default)]
pub(crate) struct Helped(Mutex<HashMap<String, Fingerprint>>);

impl Helped {
    /// The API took this token right after a cure had brought it.
    pub(crate) fn note(&self, connection: &str, token: Fingerprint) {
        self.0.lock().expect("no panic happens under this lock").insert(connection.to_owned(), token);
    }

    /// Whether this is such a token.
    pub(crate) fn has(&self, connection: &str, token: Fingerprint) -> bool {
        self.0.lock().expect("no panic happens under this lock").get(connection) == Some(&token)
    }
}
