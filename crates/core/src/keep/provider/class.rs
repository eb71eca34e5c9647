//! What kind of failure a token endpoint's reply is.

use crate::named_enum::named_enum;

named_enum! {
    /// The kind of a failed exchange with a provider: what may be done next follows from it alone.
    ///
    /// No class ever deletes a refresh token.
    ErrorClass {
        /// The grant is over: revoked, expired or already used. A person has to consent again, or the connection
        /// acquires a token set anew where its provider can.
        DeadGrant = "dead_grant",
        /// The provider does not accept *our* credentials. It says nothing about the grant, which stays as it is; one
        /// alert per client, because every connection of that client fails in the same way.
        BadClient = "bad_client",
        /// The account or the user is switched off at the provider. The grant may come back to life with it.
        Suspended = "suspended",
        /// The provider refreshes only near the end of a token's life; asking later will do.
        TooEarly = "too_early",
        /// Too many requests. Asking again waits for `Retry-After` where the provider gives it.
        RateLimited = "rate_limited",
        /// The request was not sent, or was refused before it could be accepted: the refresh token is certainly unspent.
        Transient = "transient",
        /// The refresh token may have been accepted, and the answer did not arrive or cannot be read. It is not sent
        /// again, except as a recorded recovery or inside the provider's documented grace.
        Ambiguous = "ambiguous",
        /// A refusal that neither the provider's file nor the standard explains. It is repeated with patience, and
        /// alarms after several repeats.
        Unknown = "unknown",
    }
}

impl ErrorClass {
    /// Whether the refresh token that was sent may have been accepted all the same.
    pub const fn may_have_spent(self) -> bool {
        matches!(self, Self::Ambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_in_provider_files_and_answers_stay_as_they_are() {
        let names = [
            "dead_grant",
            "bad_client",
            "suspended",
            "too_early",
            "rate_limited",
            "transient",
            "ambiguous",
            "unknown",
        ];
        assert_eq!(serde_json::to_value(ErrorClass::ALL).unwrap(), serde_json::json!(names));
        assert!(names.iter().zip(ErrorClass::ALL).all(|(name, class)| class.as_str() == *name));
    }
}
