//! The stable codes of failures that the command line finds by itself. Those of the keeper have their pages under
//! `docs/errors/`; these stand in `docs/reference/command-line.md`, which is made from here.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $title:literal, $advice:literal;)*) => {
        /// A stable code, what it means in general, and what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ErrorCode {
            $($(#[$doc])* $variant,)*
        }

        impl ErrorCode {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code as it stands in a problem document.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// The kind of problem in words.
            pub(crate) fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                }
            }

            /// What to do.
            pub(crate) fn advice(self) -> &'static str {
                match self {
                    $(Self::$variant => $advice,)*
                }
            }
        }
    };
}

codes! {
    /// The one code with the exit code 2.
    Usage = "WRONG_USE", "The command was not used as it must be",
        "`detail` says what is expected; `jeton COMMAND --help`, or this page";
    SettingsInvalid = "SETTINGS_INVALID", "The settings cannot be used",
        "`faults` names each setting, where it stands and what is wrong; `jeton config check` finds them all";
    InstallationUnusable = "INSTALLATION_UNUSABLE", "The installation cannot be used as it is",
        "data directory, sealing key and database do not fit or cannot be used; nothing was changed or spent";
    StoreUnavailable = "STORE_UNAVAILABLE", "The store is not available",
        "the database cannot be opened, read or written; nothing is spent until it can be";
    SchemaOutdated = "SCHEMA_OUTDATED", "The schema is not up to date",
        "`jeton migrate` brings it up to date, after a backup";
    ListeningFailed = "LISTENING_FAILED", "The port cannot be listened at",
        "free the port, or give `server.listen` another";
    GrantRefused = "GRANT_REFUSED", "The grant cannot be taken over",
        "`detail` says what is wrong with the token or the file; the connection is as it was";
    ConsentFailed = "CONSENT_FAILED", "The consent did not come about",
        "`detail` says whether it was refused, came too late or was not taken; the connection is as it was";
    ServerAbsent = "SERVER_ABSENT", "No server answers",
        "start `jeton serve`, or use `jeton connect NAME --code`, which needs none";
    UnknownConnection = "UNKNOWN_CONNECTION", "Unknown connection",
        "no connection is meant; `jeton status` lists them";
    UnknownServiceToken = "UNKNOWN_SERVICE_TOKEN", "Unknown service token",
        "`jeton service-token list` shows those there are";
    UnknownProvider = "UNKNOWN_PROVIDER", "Unknown provider",
        "`jeton provider list` lists them; `providers.paths` adds more";
    ProviderFileInvalid = "PROVIDER_FILE_INVALID", "The provider file cannot be used",
        "`detail` names the line; docs/reference/provider-format.md describes the format";
    VectorsFailed = "VECTORS_FAILED", "A provider file breaks its promises",
        "the answer names each golden vector that came out differently";
    RefreshFailed = "REFRESH_FAILED", "A refresh failed",
        "the answer names each connection and why; `jeton logs --failed`";
    PersonNeeded = "PERSON_NEEDED", "A connection needs a person",
        "the answer of `jeton status --check` names each connection and what to do";
    FaultsFound = "FAULTS_FOUND", "The installation has faults",
        "the answer names each fault and what to do about it";
    PromiseBroken = "PROMISE_BROKEN", "The demo broke a promise of jeton",
        "`detail` says which, and with which seed; it is a defect: please report it";
    Stopped = "STOPPED", "Stopped by a signal",
        "`jeton logs` says what became of refreshes that were under way";
    SystemRefused = "SYSTEM_REFUSED", "The operating system refuses",
        "`detail` says what it refuses, such as a thread or an output";
}
