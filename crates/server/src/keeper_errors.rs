//! What errors of the keeper say to people: the fact, and what to do about it. The keeper tells facts alone, for programs
//! that use it as a library have no commands.

use jeton_core::id::ConnectionName;
use jeton_core::keep::consent::Progress;
use jeton_core::problem::Problem;
use jeton_core::time::whole_seconds;
use jeton_keeper::{ConsentError, GRANT_HELD, GRANT_SUPERSEDED, TokenError};

/// The error as it leaves the process, with its status, its code and what to do.
pub fn token_problem(error: &TokenError) -> Problem {
    let (status, title) = match error {
        TokenError::UnknownConnection { .. } => (404, "Unknown connection"),
        TokenError::NotConnected { .. } => (424, "Nothing is connected"),
        TokenError::Dead { .. } => (424, "A person must consent again"),
        TokenError::Interrupted { .. } => (503, "The outcome of a refresh is not known"),
        TokenError::Paused { .. } => (409, "The connection is paused"),
        TokenError::OnHold | TokenError::RolledBack { .. } => (503, "The installation is on hold"),
        TokenError::Failed { .. } => (503, "The refresh failed"),
        TokenError::CoolingDown { .. } => (503, "The connection cools down after a failure"),
        TokenError::WaitTimeout { .. } => (504, "The refresh takes longer than the caller waits"),
        TokenError::RejectedAgain { .. } => (409, "Refreshing does not cure the rejection"),
        TokenError::Busy { .. } => (503, "Too much at once"),
        TokenError::Store { .. } => (503, "The store is not available"),
        TokenError::Definition { .. } | TokenError::GrantUnusable { .. } => {
            (500, "The connection cannot be used as it is defined")
        }
        TokenError::GrantRefused { .. } | TokenError::GrantHeld { .. } => {
            (422, "The grant cannot be taken over")
        }
        TokenError::ShuttingDown => (503, "Shutting down"),
    };
    let mut problem = Problem::new(status, error.code(), title, token_message(error));
    if let Some(after) = error.retry_after() {
        problem = problem.with("retry_after", whole_seconds(after));
    }
    match error {
        TokenError::Failed { class, code, .. } => {
            problem.with("class", class.as_str()).with("provider_code", code.as_str())
        }
        TokenError::Interrupted { attempt, .. } => problem.with("attempt", attempt.to_string()),
        _ => problem,
    }
}

/// The error in one sentence, with what to do.
pub fn token_message(error: &TokenError) -> String {
    let cure = match error {
        TokenError::UnknownConnection { name, .. } => {
            format!("define it under [connections.{name}] in jeton.toml")
        }
        TokenError::NotConnected { name } => format!("run `jeton connect {name}`"),
        TokenError::Dead { name, .. } => format!("a person must consent again: `jeton connect {name}`"),
        TokenError::Interrupted { name, .. } => format!(
            "look at `jeton logs`, then `jeton refresh --connection {name} --force` sends it once more, or `jeton \
             connect {name}` replaces the grant"
        ),
        TokenError::Paused { name } => format!("`jeton resume {name}` goes on"),
        TokenError::OnHold => "if the original no longer runs, `jeton adopt` takes it over".to_owned(),
        TokenError::RolledBack { .. } => {
            "put the newer database back, or `jeton adopt` goes on with this one, and what \
                                          was spent since must be connected again"
                .to_owned()
        }
        TokenError::GrantUnusable { name, .. } => format!("`jeton connect {name}` replaces the grant"),
        TokenError::GrantHeld { by, .. } => {
            format!("use that connection, or `jeton disconnect {by}` first")
        }
        _ => return error.to_string(),
    };
    format!("{error}; {cure}")
}

/// The error in one sentence, with what to do.
pub fn consent_message(error: &ConsentError) -> String {
    let again = |name: &ConnectionName| format!("begin again with `jeton connect {name}`");
    let cure = match error {
        ConsentError::UnknownLink => "ask for a new one with `jeton connect NAME`".to_owned(),
        ConsentError::UsedLink { name } | ConsentError::LateLink { name } => {
            format!("ask for a new one with `jeton connect {name}`")
        }
        ConsentError::NoState => "begin with `jeton connect NAME`".to_owned(),
        ConsentError::UnknownState => "begin again with `jeton connect NAME`".to_owned(),
        ConsentError::UsedAnswer { progress: Progress::Done { .. }, .. } => return error.to_string(),
        ConsentError::UsedAnswer { progress: Progress::Exchanging, .. } => {
            "`jeton status` says when it is done".to_owned()
        }
        ConsentError::AnotherBrowser => {
            "go on there, or begin again with `jeton connect NAME` and open the link here".to_owned()
        }
        ConsentError::ForTerminal { name } => {
            format!(
                "copy the address of this page into the terminal where `jeton connect {name} --code` runs"
            )
        }
        ConsentError::Stateless { .. } => {
            "paste the whole address that the browser ended on, with its `code` and its `state`".to_owned()
        }
        ConsentError::Redefined { name, .. } => {
            format!("restart `jeton serve` where its definition was changed, and {}", again(name))
        }
        ConsentError::Denied { name, .. } => format!("to ask again, `jeton connect {name}`"),
        ConsentError::Failed { code, .. } if code == GRANT_HELD => {
            "use that connection, or `jeton disconnect` it first".to_owned()
        }
        ConsentError::Failed { code, .. } if code == GRANT_SUPERSEDED => {
            "`jeton status` shows how it stands".to_owned()
        }
        ConsentError::Kept { name, .. } => {
            format!("do not begin again, and wait until `jeton status` shows `{name}` as live")
        }
        ConsentError::Slow { .. } => "`jeton status` says when it is done".to_owned(),
        ConsentError::Keeper(error) => return token_message(error),
        ConsentError::UsedAnswer { name, .. }
        | ConsentError::LateAnswer { name }
        | ConsentError::Foreign { name, .. }
        | ConsentError::Failed { name, .. }
        | ConsentError::Unknown { name, .. }
        | ConsentError::Defect { name } => again(name),
    };
    format!("{error}; {cure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_person_can_mend_names_the_command() {
        let name: ConnectionName = "acme".parse().unwrap();
        let named = |error: TokenError| token_problem(&error).detail;
        assert!(named(TokenError::NotConnected { name: name.clone() }).ends_with("run `jeton connect acme`"));
        let code = "invalid_grant".to_owned();
        assert!(named(TokenError::Dead { name: name.clone(), code }).ends_with("`jeton connect acme`"));
        assert!(named(TokenError::Paused { name: name.clone() }).contains("`jeton resume acme`"));
        assert!(named(TokenError::OnHold).contains("`jeton adopt`"));
        let by = "other".parse().unwrap();
        assert!(named(TokenError::GrantHeld { name: name.clone(), by }).contains("`jeton disconnect other`"));
        let message = "it does not open".to_owned();
        assert!(
            named(TokenError::GrantUnusable { name: name.clone(), message }).contains("`jeton connect acme`")
        );
        assert!(consent_message(&ConsentError::LateLink { name }).contains("`jeton connect acme`"));
    }
}
