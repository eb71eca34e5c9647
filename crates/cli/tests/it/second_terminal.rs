//! An operator beside a server that a service manager started: another shell, another folder, none of the server's secrets.

use std::fs;

use crate::fixture::{Fixture, PATIENCE, error_line, until};

/// A fixture whose client secret is in a variable of the server alone.
async fn secret_in_the_environment() -> Fixture {
    let fixture = Fixture::new().await;
    let settings = fs::read_to_string(fixture.home.settings()).unwrap();
    let written = "secret = \"emulated-secret\"";
    assert!(settings.contains(written), "{settings}");
    fixture.home.write_settings(&settings.replace(written, "secret_env = \"ACME_SECRET\"")).unwrap();
    fixture
}

#[tokio::test]
async fn commands_that_ask_no_provider_need_no_client_secret() {
    let fixture = secret_in_the_environment().await;
    let token = fixture.emulator.mint(1).remove(0);
    let connect = fixture.home.command(["connect", "acme", "--refresh-token-stdin"]).unwrap();
    let connect = connect.env("ACME_SECRET", "emulated-secret").stdin(token.reveal());
    connect.run(PATIENCE).await.unwrap().success().unwrap();
    let serve = fixture.home.command(["serve"]).unwrap().env("ACME_SECRET", "emulated-secret");
    let mut server = serve.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    until("the server refreshed it", async || fixture.spent() == 1).await;

    for command in [
        &["status"][..],
        &["status", "acme"],
        &["status", "--nodes"],
        &["logs"],
        &["audit"],
        &["pause", "acme"],
        &["resume", "acme"],
        &["service-token", "list"],
        &["migrate", "--check"],
    ] {
        let finished = fixture.home.command(command.iter().copied()).unwrap().run(PATIENCE).await.unwrap();
        assert_eq!(finished.code, Some(0), "{command:?}: {finished:?}");
        assert!(!finished.stderr.contains("other definitions"), "{command:?}: {finished:?}");
    }
    // What sends the secret says that it is missing.
    for command in [&["refresh", "--force"][..], &["token", "acme"], &["config", "check"]] {
        let finished = fixture.home.command(command.iter().copied()).unwrap().run(PATIENCE).await.unwrap();
        let sentence = error_line(&finished, 1);
        assert!(
            sentence.contains("the environment variable ACME_SECRET is not set"),
            "{command:?}: {sentence}"
        );
    }
    // The doctor names it, and checks the rest.
    let examined = fixture.run(["doctor", "--offline"]).await;
    assert_eq!(examined.code, Some(0), "{examined:?}");
    assert!(
        examined.stdout.contains("warning  settings") && examined.stdout.contains("ACME_SECRET"),
        "{examined:?}"
    );
    assert!(examined.stdout.contains(" holds 1 of the connections"), "{examined:?}");
    assert_eq!(fixture.spent(), 1);
}

#[tokio::test]
async fn a_secret_file_of_another_user_stops_no_command_that_does_not_send_it() {
    let fixture = secret_in_the_environment().await;
    let settings = fs::read_to_string(fixture.home.settings()).unwrap();
    let missing = settings.replace("secret_env = \"ACME_SECRET\"", "secret_file = \"of-another-user\"");
    fixture.home.write_settings(&missing).unwrap();
    fixture.run(["service-token", "create", "bot1"]).await.success().unwrap();
    assert!(fixture.run(["status"]).await.success().unwrap().contains("pending"));
    let sentence = error_line(&fixture.run(["token", "acme"]).await, 1);
    assert!(sentence.contains("of-another-user cannot be read"), "{sentence}");
}

#[tokio::test]
async fn the_environment_names_the_settings_file_for_every_folder() {
    let (fixture, _) = Fixture::connected().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |variable: Option<&str>| {
        let mut command = std::process::Command::new(jeton_testkit::jeton_binary().unwrap());
        command.arg("status").current_dir(elsewhere.path()).env_clear();
        command.envs(variable.map(|file| ("JETON_CONFIG", file)));
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, said) = run(fixture.home.settings().to_str());
    assert!(code == Some(0) && said.contains("acme"), "{said}");
    for nothing in [None, Some("")] {
        let (code, said) = run(nothing);
        assert!(code == Some(1) && said.contains("JETON_CONFIG"), "{said}");
    }
    let (code, said) = run(Some("/nowhere/jeton.toml"));
    assert!(code == Some(1) && said.contains("/nowhere/jeton.toml cannot be read"), "{said}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0, "looking creates nothing");
}
