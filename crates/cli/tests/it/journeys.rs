//! From nothing to a token, and what people do to a connection afterwards.

use std::collections::BTreeMap;
use std::fs;

use futures_util::future::join_all;
use jeton_emulator::{Behaviour, Emulator, Fault, FaultKind};
use jeton_testkit::{ConnectionSettings, TestInstallation};

use crate::fixture::{Fixture, PATIENCE, connection, error_line, run, until};

#[tokio::test]
async fn a_token_is_printed_as_itself_as_a_header_or_in_full() {
    let (fixture, _) = Fixture::connected().await;
    let raw = fixture.run(["token", "acme"]).await.success().unwrap();
    let token = raw.strip_suffix('\n').unwrap();
    assert!(fixture.emulator.accepts(token));
    let header = fixture.run(["token", "acme", "--format", "header"]).await.success().unwrap();
    assert_eq!(header, format!("Authorization: Bearer {token}\n"));
    let json = fixture.run(["token", "acme", "--format", "json"]).await.json().unwrap();
    assert_eq!(json["access_token"], token);
    assert_eq!(
        json,
        fixture
            .run(["--json", "token", "acme"])
            .await
            .json()
            .map(|mut again| {
                // The one member that goes down meanwhile.
                again["expires_in"] = json["expires_in"].clone();
                again
            })
            .unwrap()
    );
    assert_eq!(fixture.spent(), 1, "a living token is not refreshed");
}

/// An installation whose connection `acme` has a token `at-1`, which its provider wants in these places.
async fn with_injections(inject: &str) -> TestInstallation {
    let mut home = TestInstallation::new().unwrap();
    let file = format!(
        "name = 'mine'\ntitle = 'Mine'\nhosts = ['login.example.com']\n[refresh]\nurl = 'https://login.example.com/t'\n\
         form = {{ grant_type = 'refresh_token', refresh_token = '${{refresh}}' }}\n[client]\nauth = 'none'\n{inject}"
    );
    fs::write(home.path().join("mine.toml"), file).unwrap();
    fs::write(
        home.path().join("tokens.json"),
        r#"{"access_token": "at-1", "refresh_token": "rt-1", "expires_at": 4102444800}"#,
    )
    .unwrap();
    home.set("providers", "paths", vec![toml::Value::from("mine.toml")]).unwrap();
    let client = BTreeMap::from([("id".to_owned(), "my-app".to_owned())]);
    let connection =
        ConnectionSettings { provider: "mine".to_owned(), client, ..ConnectionSettings::default() };
    home.add_connection("acme", connection).unwrap();
    let tokens = home.path().join("tokens.json");
    run(&home, ["connect", "acme", "--import", tokens.to_str().unwrap()]).await.success().unwrap();
    home
}

#[tokio::test]
async fn the_header_lines_of_a_token_are_those_that_its_provider_wants() {
    let home = with_injections(
        "[[inject]]\nheader = 'X-Token'\nvalue = 'jwt ${access}'\n[[inject]]\ncookie = 'session'\nvalue = '${access}'\n\
         [[inject]]\nheader = 'x-client-id'\nvalue = '${client.id}'\n[[inject]]\ncookie = 'app'\nvalue = '${client.id}'",
    )
    .await;
    let lines = run(&home, ["token", "acme", "--format", "header"]).await.success().unwrap();
    assert_eq!(lines, "X-Token: jwt at-1\nX-Client-Id: my-app\nCookie: session=at-1; app=my-app\n");

    let home = with_injections("[[inject]]\nquery = 'key'\nvalue = '${access}'").await;
    let sentence = error_line(&run(&home, ["token", "acme", "--format", "header"]).await, 2);
    let expected = "the token of `acme` is not in headers alone: its provider takes the token in the query parameter `key`; use ";
    assert!(sentence.starts_with(expected), "{sentence}");
    assert_eq!(run(&home, ["token", "acme"]).await.success().unwrap(), "at-1\n");
}

#[tokio::test]
async fn a_token_that_lives_too_short_is_refreshed_first() {
    let (fixture, _) = Fixture::connected().await;
    let first = fixture.run(["token", "acme"]).await.success().unwrap();
    let longer = fixture.run(["token", "acme", "--min-ttl", "10s"]).await.success().unwrap();
    assert_eq!(first, longer);
    let finished = fixture.run(["token", "acme", "--min-ttl", "soon"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("is not a duration"), "{finished:?}");
}

#[tokio::test]
async fn a_refresh_says_what_became_of_each_connection() {
    let (fixture, _) = Fixture::connected().await;
    let line = fixture.run(["refresh"]).await.success().unwrap();
    assert!(line.starts_with("acme: refreshed, generation 2, expires in "), "{line}");
    let line = fixture.run(["refresh"]).await.success().unwrap();
    assert!(line.starts_with("acme: not due, expires in "), "{line}");
    let table = fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    assert!(table.starts_with("CONNECTION  RESULT\nacme        refreshed, generation 3, "), "{table}");
    assert_eq!(fixture.spent(), 2);
}

#[tokio::test]
async fn a_failed_refresh_fails_the_command_only_where_it_was_waited_for() {
    let (fixture, _) = Fixture::connected().await;
    fixture.emulator.set_behaviour(Behaviour::from_queue([
        Fault::new(FaultKind::WrongClient),
        Fault::new(FaultKind::WrongClient),
    ]));
    let waited = fixture.run(["refresh", "--force", "--sync"]).await;
    assert_eq!((waited.code, waited.stderr.as_str()), (Some(1), ""), "{waited:?}");
    assert!(waited.stdout.contains("failed: `acme` could not be refreshed"), "{waited:?}");
    let asked = fixture.run(["refresh", "--force"]).await;
    assert_eq!(asked.code, Some(0), "{asked:?}");
    assert!(asked.stdout.starts_with("acme: failed: "), "{asked:?}");
    let failed = fixture.run(["logs", "--failed", "--json"]).await.json().unwrap();
    assert!(!failed.as_array().unwrap().is_empty());
    assert!(failed.as_array().unwrap().iter().all(|attempt| attempt["status"] == "failed"), "{failed}");
}

#[tokio::test]
async fn a_check_of_the_status_fails_where_a_person_is_needed() {
    let fixture = Fixture::new().await;
    let token = fixture.connect("acme").await;
    fixture.run(["status", "--check"]).await.success().unwrap();
    fixture.run(["token", "acme"]).await.success().unwrap();
    let all = fixture.run(["status", "--check"]).await.success().unwrap();
    assert_eq!(fixture.run(["status"]).await.success().unwrap().lines().count(), all.lines().count());
    // What goes on by itself needs nobody.
    fixture
        .emulator
        .set_behaviour(Behaviour::from_queue([Fault::new(FaultKind::RateLimited { retry_after_secs: 1 })]));
    fixture.run(["refresh", "--force", "--sync"]).await;
    fixture.run(["status", "acme", "--check"]).await.success().unwrap();
    fixture.emulator.revoke_grant(token.reveal());
    fixture.run(["refresh", "--force", "--sync"]).await;
    for arguments in
        [&["status", "--check"][..], &["status", "acme", "--check"], &["status", "--check", "--json"]]
    {
        let needed = fixture.home.command(arguments.iter().copied()).unwrap().run(PATIENCE).await.unwrap();
        assert_eq!((needed.code, needed.stderr.as_str()), (Some(1), ""), "{needed:?}");
        assert!(needed.stdout.contains("dead"), "{needed:?}");
    }
    let plain = fixture.run(["status"]).await;
    assert_eq!(plain.code, Some(0), "{plain:?}");
    fixture.run(["disconnect", "acme"]).await.success().unwrap();
    assert_eq!(fixture.run(["status", "--check"]).await.code, Some(1), "nobody has connected it");
}

#[tokio::test]
async fn a_group_is_chosen_by_provider_and_a_wrong_name_is_told() {
    let (fixture, _) = Fixture::connected().await;
    let line = fixture.run(["refresh", "--provider", "oauth2", "--force"]).await.success().unwrap();
    assert!(line.starts_with("acme: refreshed"), "{line}");
    let sentence = error_line(&fixture.run(["refresh", "--provider", "oauth"]).await, 1);
    assert_eq!(sentence, "no connection has the provider `oauth`; did you mean `oauth2`?");
    let sentence = error_line(&fixture.run(["refresh", "--connection", "acne"]).await, 1);
    assert!(sentence.starts_with("there is no connection `acne` (did you mean acme?)"), "{sentence}");
    let sentence =
        error_line(&fixture.run(["refresh", "--connection", "acme", "--provider", "amocrm"]).await, 2);
    assert_eq!(sentence, "`acme` is a connection of `oauth2`, not of `amocrm`");
}

#[tokio::test]
async fn commands_that_run_at_once_spend_one_token() {
    let (fixture, _) = Fixture::connected().await;
    let tokens = join_all((0..6).map(|_| fixture.run(["token", "acme"]))).await;
    for token in tokens {
        assert!(fixture.emulator.accepts(token.success().unwrap().trim_end()));
    }
    assert_eq!(fixture.spent(), 1);
}

#[tokio::test]
async fn a_paused_connection_spends_nothing_until_it_is_resumed() {
    let (fixture, _) = Fixture::connected().await;
    let said = fixture.run(["pause", "acme"]).await.success().unwrap();
    assert!(said.starts_with("`acme` is paused"), "{said}");
    let sentence = error_line(&fixture.run(["token", "acme"]).await, 1);
    assert!(sentence.contains("`jeton resume acme` goes on"), "{sentence}");
    assert_eq!(fixture.spent(), 0);
    fixture.run(["resume", "acme"]).await.success().unwrap();
    fixture.run(["token", "acme"]).await.success().unwrap();
}

#[tokio::test]
async fn logs_status_and_doctor_say_who_asked_and_what_the_provider_said() {
    let (fixture, _) = Fixture::connected().await;
    fixture.emulator.enqueue([Fault::new(FaultKind::WrongClient)]);
    let words = "the client did not prove who it is";
    let refresh = fixture.run(["refresh", "--connection", "acme", "--force", "--sync"]).await;
    assert!(refresh.stdout.contains(words), "{refresh:?}");
    for command in [&["logs"][..], &["status"], &["doctor"]] {
        let shown = fixture.home.command(command.iter().copied()).unwrap().run(PATIENCE).await.unwrap();
        assert!(shown.stdout.contains(&format!("the provider says: \"{words}\"")), "{command:?}: {shown:?}");
    }
    let logs = fixture.run(["logs", "--json"]).await.json().unwrap();
    assert_eq!(logs[0]["provider_message"], words, "{logs}");
    assert!(logs[0]["asked_by"].as_str().unwrap().starts_with("shell:"), "{logs}");
    let status = fixture.run(["status", "acme", "--json"]).await.json().unwrap();
    assert_eq!(status[0]["provider_message"], words, "{status}");
}

#[tokio::test]
async fn a_disconnected_connection_has_no_token_and_keeps_its_log() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    fixture.run(["disconnect", "acme"]).await.success().unwrap();
    let sentence = error_line(&fixture.run(["token", "acme"]).await, 1);
    assert!(sentence.contains("`jeton connect acme`"), "{sentence}");
    assert!(fixture.run(["logs"]).await.success().unwrap().contains("redeem"));
    fixture.connect("acme").await;
    let token = fixture.run(["token", "acme"]).await.success().unwrap();
    assert!(fixture.emulator.accepts(token.trim_end()));
}

#[tokio::test]
async fn a_grant_that_was_spent_is_not_taken_over_again() {
    let (fixture, first) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    let connect = fixture.home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    let finished = connect.stdin(first.reveal()).run(PATIENCE).await.unwrap();
    let sentence = error_line(&finished, 1);
    assert!(sentence.contains("has spent this refresh token already"), "{sentence}");
    assert!(!sentence.contains(first.reveal()));
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
}

#[tokio::test]
async fn a_tokens_json_of_an_older_program_is_taken_over() {
    let fixture = Fixture::new().await;
    let token = fixture.emulator.mint(1).remove(0);
    let file = fixture.home.path().join("tokens.json");
    let json = format!(
        r#"{{"access_token": "still-alive", "refresh_token": "{}", "expires_at": 4102444800}}"#,
        token.reveal()
    );
    fs::write(&file, json).unwrap();
    let path = file.to_str().unwrap();
    let said = fixture.run(["connect", "acme", "--import", path]).await.success().unwrap();
    assert!(
        said.starts_with("the grant of `acme` is stored and was not tried: `jeton serve` does not run"),
        "{said}"
    );
    assert_eq!(fixture.run(["token", "acme"]).await.success().unwrap(), "still-alive\n");
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();
    assert_eq!(fixture.spent(), 1);

    fs::write(&file, "{\"refresh_token\": \"hush-hush-hush\", \"expires_at\": -5}").unwrap();
    let sentence = error_line(&fixture.run(["connect", "acme", "--import", path]).await, 1);
    assert!(sentence.contains("tokens.json: `expires_at` is neither"), "{sentence}");
    assert!(!sentence.contains("hush"));
    let sentence = error_line(&fixture.run(["connect", "acme", "--import", "/nowhere.json"]).await, 2);
    assert!(sentence.contains("/nowhere.json cannot be read"), "{sentence}");
}

#[tokio::test]
async fn a_wrong_refresh_token_does_not_take_the_place_of_a_grant_that_works() {
    let (fixture, _) = Fixture::connected().await;
    fixture.run(["token", "acme"]).await.success().unwrap();
    let connect = async |text: &str, force: bool| {
        let arguments =
            ["connect", "acme", "--refresh-token-stdin"].into_iter().chain(force.then_some("--force"));
        fixture.home.command(arguments).unwrap().stdin(text).run(PATIENCE).await.unwrap()
    };
    for line in ["export REFRESH_TOKEN=oops", "REFRESH_TOKEN=oops", "\"oops\"", "Bearer oops"] {
        let sentence = error_line(&connect(line, false).await, 1);
        assert!(
            sentence.contains("pipe the refresh token alone") && !sentence.contains("oops"),
            "{sentence}"
        );
    }
    let sentence = error_line(&connect("oops-the-wrong-one", false).await, 1);
    let said =
        "`acme` keeps the grant that it has: the provider refused the new refresh token (invalid_grant)";
    assert!(sentence.starts_with(said) && sentence.contains("`--force`"), "{sentence}");
    fixture.run(["refresh", "--force", "--sync"]).await.success().unwrap();

    let good = fixture.emulator.mint(1).remove(0);
    let said = connect(good.reveal(), false).await.success().unwrap();
    assert!(
        said.starts_with("`acme` is connected: its new refresh token gave an access token that expires in"),
        "{said}"
    );
    let said = connect("oops the wrong one", true).await.success().unwrap();
    assert!(said.contains("is stored and was not tried"), "{said}");
    let sentence = error_line(&fixture.run(["connect", "acme", "--force"]).await, 2);
    assert!(sentence.contains("`--force` stores tokens that are given"), "{sentence}");
}

#[tokio::test]
async fn an_access_token_alone_says_that_it_cannot_be_renewed() {
    let (fixture, _) = Fixture::connected().await;
    let file = fixture.home.path().join("tokens.json");
    fs::write(&file, r#"{"access_token": "alone"}"#).unwrap();
    let path = file.to_str().unwrap();
    let sentence = error_line(&fixture.run(["connect", "acme", "--import", path]).await, 1);
    assert!(
        sentence.contains("`acme` keeps the grant that it has: the new grant has no refresh token"),
        "{sentence}"
    );
    let said = fixture.run(["connect", "acme", "--import", path, "--force"]).await.success().unwrap();
    assert!(said.contains("it has no refresh token, so it ends with its access token"), "{said}");
    fs::write(&file, r#"{"refresh_token": "REFRESH_TOKEN=oops"}"#).unwrap();
    let sentence = error_line(&fixture.run(["connect", "acme", "--import", path]).await, 1);
    assert!(sentence.contains("the text of `refresh_token` begins with a name and `=`"), "{sentence}");
}

#[tokio::test]
async fn a_grant_that_was_stored_says_when_the_server_uses_it_first() {
    let fixture = Fixture::new().await;
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let token = fixture.emulator.mint(1).remove(0);
    let connect = fixture.home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    let said = connect.stdin(token.reveal()).run(PATIENCE).await.unwrap().success().unwrap();
    assert!(said.contains("is stored and was not tried: `jeton serve` refreshes it"), "{said}");
    until("the server used it", async || fixture.spent() == 1).await;
    drop(server);
}

#[tokio::test]
async fn a_connection_that_needs_a_grant_says_how_to_give_one() {
    let fixture = Fixture::new().await;
    let sentence = error_line(&fixture.run(["connect", "acme"]).await, 1);
    for cure in ["needs a grant to begin with", "--refresh-token-stdin", "--import", "`authorize_url`"] {
        assert!(sentence.contains(cure), "{sentence}");
    }
    let finished = fixture.run(["connect", "acme", "--refresh-token-stdin", "--import", "x"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
}

#[tokio::test]
async fn a_command_that_fails_prints_one_sentence_and_no_log_line() {
    for (level, logs) in [(None, false), (Some("error"), true)] {
        let (fixture, token) = Fixture::connected().await;
        fixture.emulator.revoke_grant(token.reveal());
        let command = fixture.home.command(["token", "acme"]).unwrap();
        let command =
            level.into_iter().fold(command, |command, level| command.env("JETON__LOG__LEVEL", level));
        let finished = command.run(PATIENCE).await.unwrap();
        error_line(&finished, 1);
        assert_eq!(finished.stderr.lines().count() > 1, logs, "{finished:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_shown_with_what_follows_until_the_second_one_ends_the_grant() {
    let mut fixture = Fixture::new().await;
    let patient = connection(&fixture.emulator).with_policy("confirm_dead", "1h");
    fixture.home.add_connection("beta", patient).unwrap();
    let token = fixture.connect("beta").await;
    fixture.emulator.revoke_grant(token.reveal());
    let refused = fixture.run(["token", "beta"]).await;
    let sentence = error_line(&refused, 1);
    assert!(sentence.contains("is sent once more before the grant is taken for dead"), "{sentence}");
    for _ in 0..2 {
        let sentence = error_line(&fixture.run(["token", "beta"]).await, 1);
        assert!(
            sentence.contains("cools down after a failure (invalid_grant): the next refresh is tried in"),
            "{sentence}"
        );
    }
    assert_eq!(fixture.emulator.records().len(), 1, "whoever asks meanwhile causes no send");
    let status = fixture.run(["status", "beta"]).await.success().unwrap();
    let note = "refused once (invalid_grant), sent again in 1h";
    assert!(status.contains("failing") && status.contains(note), "{status}");
    let shown = fixture.run(["status", "beta", "--json"]).await.json().unwrap();
    assert_eq!((&shown[0]["condition"], &shown[0]["code"]), (&"failing".into(), &"invalid_grant".into()));
    let report = fixture.run(["doctor", "--offline"]).await.stdout;
    let line = report.lines().find(|line| line.contains("grant beta")).unwrap();
    assert!(
        line.starts_with("warning") && line.contains("refused its refresh token once (invalid_grant)"),
        "{line}"
    );
    assert!(line.contains("`jeton serve` sends it once more, and none runs: start it"), "{line}");
    let logs = fixture.run(["logs", "--failed"]).await.success().unwrap();
    assert!(logs.contains("invalid_grant"), "{logs}");

    let finished = fixture.run(["refresh", "--connection", "beta", "--force"]).await;
    assert!(finished.stdout.contains("the grant of `beta` is dead (invalid_grant)"), "{finished:?}");
    let status = fixture.run(["status", "beta"]).await.success().unwrap();
    assert!(status.contains("dead") && status.contains("`jeton connect beta` (invalid_grant)"), "{status}");
    assert_eq!(fixture.emulator.records().len(), 2);
}

#[tokio::test]
async fn the_status_of_a_connection_that_nobody_refreshes_says_so() {
    let (fixture, _) = Fixture::connected().await;
    let status = fixture.run(["status"]).await.success().unwrap();
    assert!(
        status.contains("stale") && status.contains("nobody tries again until `jeton serve` runs"),
        "{status}"
    );
    let mut server = fixture.home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    until("the server is seen", async || {
        !fixture.run(["status"]).await.success().unwrap().contains("until `jeton serve` runs")
    })
    .await;
}

#[tokio::test]
async fn a_connection_of_the_client_alone_starts_by_itself_and_says_so() {
    let emulator = Emulator::start(jeton_emulator::Settings::default()).await.unwrap();
    let mut home = TestInstallation::new().unwrap();
    let mut machine = connection(&emulator);
    machine.vars.insert("grant".to_owned(), "client_credentials".to_owned());
    machine.vars.insert("resource".to_owned(), "https://api.example.com/ urn:example:files".to_owned());
    home.add_connection("reports", machine).unwrap();
    // Something must have made the installation: `status` does not.
    run(&home, ["service-token", "create", "bot1"]).await.success().unwrap();
    let table = run(&home, ["status"]).await.success().unwrap();
    assert!(table.contains("`jeton serve` gets its first token by itself; no `jeton serve` runs"), "{table}");
    let mut server = home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    until("it has a token", async || {
        run(&home, ["status", "reports", "--json"]).await.json().unwrap()[0]["condition"] == "live"
    })
    .await;
    assert!(emulator.accepts(run(&home, ["token", "reports"]).await.success().unwrap().trim_end()));
    assert_eq!(emulator.records().len(), 1);
    let said = run(&home, ["connect", "reports"]).await.success().unwrap();
    assert_eq!(said, "`reports` is connected already; nothing was changed\n");
    run(&home, ["disconnect", "reports"]).await.success().unwrap();
    let table = run(&home, ["status"]).await.success().unwrap();
    assert!(table.contains("`jeton connect reports`"), "{table}");
    let said = run(&home, ["connect", "reports"]).await.success().unwrap();
    let expected = "`reports` needs no consent: its provider gives tokens to the client itself; ";
    assert!(said.starts_with(expected), "{said}");
    run(&home, ["token", "reports"]).await.success().unwrap();
}
