//! The guide on moving from a hand-written refresher: what it shows runs, and does what it says.

mod after;
#[expect(clippy::disallowed_methods, reason = "it is shown for what it is: code that others write")]
mod before;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use jeton_emulator::{Emulator, Fault, Settings};
use jeton_testkit::{ConnectionSettings, TestInstallation, project_root};

use crate::fixture::Fixture;

const TIMEOUT: Duration = Duration::from_mins(1);

#[expect(clippy::disallowed_methods, reason = "the program before reads this clock")]
fn long_ago() -> Instant {
    Instant::now()
}

fn guide() -> String {
    fs::read_to_string(project_root().join("docs/guides/move-from-a-hand-written-refresher.md")).unwrap()
}

/// The blocks of a language, as the guide shows them.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let guide = guide();
    let blocks = guide.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.collect()
}

#[test]
fn what_is_compiled_here_is_what_the_guide_shows() {
    let shown = blocks("rust");
    assert_eq!(shown.len(), 2);
    assert!(include_str!("guide/before.rs").contains(&shown[0]));
    assert!(include_str!("guide/after.rs").contains(&shown[1]));
}

#[tokio::test]
async fn a_caller_that_goes_away_costs_the_program_before_its_grant_and_the_program_after_nothing() {
    let fixture = Fixture::new().await;
    let slow = Fault::none().slow_after(Duration::from_millis(200));

    let before =
        before::Tokens::new(fixture.provider.token_url(), fixture.refresh_token().reveal().to_owned());
    fixture.provider.enqueue([slow]);
    tokio::select! {
        access = before.access() => panic!("the reply is not there yet: {access:?}"),
        () = fixture.until_accepted(1) => {}
    }
    let refused = before.access().await.unwrap_err();
    assert_eq!(refused.status().unwrap(), 400, "the token had been spent, and its successor was lost");
    assert_eq!(fixture.provider.stats().reuse_kills, 1, "the grant is dead");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    let vault =
        after::open(&file, &fixture.provider.token_url(), &fixture.provider.api_base()).await.unwrap();
    vault.seed("acme", fixture.refresh_token()).await.unwrap();
    fixture.provider.enqueue([slow]);
    tokio::select! {
        access = after::access(&vault) => panic!("the reply is not there yet: {access:?}"),
        () = fixture.until_accepted(2) => {}
    }
    assert!(fixture.provider.accepts(&after::access(&vault).await.unwrap()));
    vault.close().await;
}

/// Runs a program of the guide as a caller of that server.
fn caller(program: &str, file: &Path, server: &str, api: &str) -> Output {
    Command::new(program)
        .arg(file)
        .env("JETON_URL", server)
        .env("JETON_KEY", TestInstallation::API_KEY)
        .env("API_URL", api)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

// The callers are waited for on one thread, while the provider answers on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_in_three_languages_get_living_tokens_over_http_also_when_one_is_refused_early() {
    let provider = Emulator::start(Settings::default()).await.unwrap();
    let mut home = TestInstallation::new().unwrap();
    let (token_url, api) = (provider.token_url(), provider.api_base());
    home.add_connection("acme", ConnectionSettings::oauth2(&token_url, &api, "emulated", "emulated-secret"))
        .unwrap();
    let connect = home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    let refresh_token = format!("{}\n", provider.mint(1).remove(0).reveal());
    connect.stdin(&refresh_token).run(TIMEOUT).await.unwrap().success().unwrap();
    let mut server = home.command(["serve"]).unwrap().serve().unwrap();
    server.wait_until_ready(TIMEOUT).await.unwrap();

    let shell = blocks("sh").pop().unwrap();
    let interpreter = jeton_testkit::python().display().to_string();
    let programs = [
        ("sh", "caller.sh", shell),
        (interpreter.as_str(), "caller.py", blocks("python").remove(0)),
        ("node", "caller.mjs", blocks("js").remove(0)),
    ];
    for (program, name, text) in programs {
        let file = home.path().join(name);
        fs::write(&file, text).unwrap();
        let call = || {
            let ended = caller(program, &file, &server.base_url(), &api);
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert!(ended.status.success(), "{program}: {said}\n{stderr}");
            serde_json::from_str::<serde_json::Value>(&said).unwrap_or_else(|_| panic!("{program}: {said}"))
        };
        assert_eq!(call()["path"], "/api/account", "{program}");
        if program == "sh" {
            // It shows the one call alone.
            continue;
        }
        let given = server.client().get("/api/v1/connections/acme/token").await.unwrap().json().unwrap();
        assert!(provider.revoke_access(given["access_token"].as_str().unwrap()));
        let before = provider.stats();
        assert_eq!(call()["ok"], true, "{program}");
        let after = provider.stats();
        let change =
            (after.requests - before.requests, after.api_401 - before.api_401, after.api_ok - before.api_ok);
        assert_eq!(change, (1, 1, 1), "{program}: one refresh, one refusal, one repetition");
        // A manual refresh ends the pause after rejections, so that the next language begins without one.
        let force = home.command(["refresh", "--connection", "acme", "--force", "--sync"]).unwrap();
        force.run(TIMEOUT).await.unwrap().success().unwrap();
    }
}

#[test]
fn the_settings_that_the_guide_shows_are_right() {
    let home = TestInstallation::new().unwrap();
    let text = blocks("toml").remove(0);
    home.write_settings(&text).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checked = runtime.block_on(async { home.command(["config", "check"]).unwrap().run(TIMEOUT).await });
    checked.unwrap().success().unwrap();
}
