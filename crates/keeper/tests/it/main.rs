//! The keeper over the real store, a real provider on loopback, and as many processes as a rule needs: each rule of
//! keeping is a test whose name says it.
//!
//! A *process* here is a vault with a store of its own on the same database and the same data directory: nothing
//! is shared but what real processes share. Time comes from one clock that tests can move.

/// The file of a provider of one test: what is given follows the part that all of them share.
macro_rules! own_provider {
    (one_time_tokens, $rest:expr) => {
        own_provider!(concat!(
            "[policy]\nrotation = \"single_use\"\n[refresh]\nurl = \"${token_url}\"\n",
            "form = { grant_type = \"refresh_token\", refresh_token = \"${refresh}\" }",
            $rest
        ))
    };
    ($rest:expr) => {
        concat!(
            "name = \"own\"\ntitle = \"Own\"\nabout = \"a provider of one test\"\nhosts = []\n",
            "[vars.token_url]\nabout = \"the token endpoint\"\n[client]\nauth = \"basic\"\n",
            $rest
        )
    };
}

mod acquire;
mod broken_replies;
mod budget;
mod calls;
mod classes;
mod clocks;
mod commit;
mod copies;
mod cost;
mod damaged;
mod exchange;
mod fixture;
mod force;
mod grace;
mod hold;
mod introspection;
mod late_write;
mod memory;
mod nodes;
mod not_sent;
mod odd_replies;
mod outage;
mod policies;
mod process;
mod provider_words;
mod reconciler;
mod recovery;
mod refusal;
mod rejection;
mod replace;
mod reread;
mod retry_pauses;
mod revoke;
mod rolled_back_store;
mod schedule;
mod secrets;
mod shared_refresh;
mod single_flight;
mod slots;
mod spill;
mod store_probe;
mod stores;
mod unknown_outcome;
mod waiting;
mod wire;
