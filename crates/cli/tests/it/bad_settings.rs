//! Settings that are wrong: one sentence with file, line and cure; nothing is made, nothing is spent.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use jeton_testkit::TestInstallation;

use crate::fixture::{PATIENCE, error_line, run};

const CONNECTION: &str = "[connections.acme]\nprovider = \"oauth2\"\n[connections.acme.vars]\n\
                          token_url = \"https://login.example.com/token\"\n[connections.acme.client]\nid = \"me\"\n";

/// What every command that needs settings says of these, without the path of the home.
async fn said(home: &TestInstallation, settings: &str) -> String {
    let data = format!("data_dir = \"{}\"\n", home.data_dir().display());
    home.write_settings(&(data + settings)).unwrap();
    let checked = error_line(&run(home, ["config", "check"]).await, 1);
    for arguments in [["token", "acme"], ["refresh", "--sync"], ["provider", "status"]] {
        // `provider status` is no command: wrong use is told from wrong settings.
        let code = if arguments[0] == "provider" { 2 } else { 1 };
        let finished = run(home, arguments).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        assert!(code == 2 || error_line(&finished, 1) == checked, "{finished:?}");
    }
    assert!(!home.data_dir().exists(), "a run with wrong settings makes nothing");
    checked.replace(&format!("{}/", home.path().display()), "")
}

#[tokio::test]
async fn an_unknown_setting_is_named_with_line_and_nearest_right_name() {
    let home = TestInstallation::new().unwrap();
    assert_eq!(
        said(&home, "[server]\nlisen = \"127.0.0.1:1\"\n").await,
        "jeton.toml:3: server.lisen: there is no such setting; did you mean `listen`?"
    );
}

#[tokio::test]
async fn a_misspelt_provider_variable_is_named_with_line_and_nearest_right_name() {
    let home = TestInstallation::new().unwrap();
    let text = CONNECTION.replace("token_url", "token_ulr") + "secret = \"x\"\n";
    assert_eq!(
        said(&home, &text).await,
        "jeton.toml:5: connections.acme.vars.token_ulr: the provider `oauth2` has no variable `token_ulr`; did you mean \
         `token_url`?"
    );
}

#[tokio::test]
async fn a_url_with_the_wrong_scheme_is_refused() {
    let home = TestInstallation::new().unwrap();
    let text = CONNECTION.replace("https:", "gopher:") + "secret = \"x\"\n";
    let sentence = said(&home, &text).await;
    assert!(sentence.starts_with("jeton.toml:5: connections.acme.vars.token_url: "), "{sentence}");
    assert!(sentence.contains("https"), "{sentence}");
    assert_eq!(
        said(&home, "[store]\nurl = \"mysql://root:hunter2@db/jeton\"\n").await,
        "jeton.toml:3: store.url: the scheme of a store must be `sqlite` or `postgres`, and `mysql` is not one; write sqlite:PATH or postgres://USER@HOST/DATABASE"
    );
}

#[tokio::test]
async fn a_missing_client_secret_says_how_to_give_one() {
    let home = TestInstallation::new().unwrap();
    assert_eq!(
        said(&home, CONNECTION).await,
        "jeton.toml:6: connections.acme.client.secret: the provider `oauth2` needs it for its token requests: set it, as \
         `secret_file`, `secret_env` or `secret`"
    );
}

#[tokio::test]
async fn a_secret_file_that_others_can_read_is_refused() {
    let home = TestInstallation::new().unwrap();
    let file = home.path().join("acme.secret");
    fs::write(&file, "hush-hush-hush").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(
        said(&home, &format!("{CONNECTION}secret_file = \"acme.secret\"\n")).await,
        "jeton.toml:8: connections.acme.client.secret_file: acme.secret can be read by others; run `chmod 600 acme.secret`"
    );
}

#[tokio::test]
async fn what_is_not_toml_is_said_with_its_line() {
    let home = TestInstallation::new().unwrap();
    let sentence = said(&home, "[server\n").await;
    assert!(sentence.starts_with("jeton.toml:2: this is not TOML: "), "{sentence}");
}

#[tokio::test]
async fn every_fault_is_a_sentence_of_its_own_and_a_member_of_the_json_answer() {
    let home = TestInstallation::new().unwrap();
    home.write_settings("[log]\nlevel = \"inof\"\n[keeper]\nwait = 5\n").unwrap();
    let finished = run(&home, ["config", "check"]).await;
    assert_eq!(finished.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 2, "{finished:?}");
    let finished = run(&home, ["config", "check", "--json"]).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""));
    let answer: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["faults"][0]["setting"], "log.level");
    assert_eq!(answer["faults"][0]["origin"]["line"], 2);
    assert_eq!(answer["faults"][1]["setting"], "keeper.wait");
    let finished = run(&home, ["status", "--json"]).await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    let problem: serde_json::Value = serde_json::from_str(&finished.stderr).unwrap();
    assert_eq!(problem["code"], "SETTINGS_INVALID");
    assert_eq!(problem["faults"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn wrong_names_in_the_environment_and_in_flags_are_refused_alike() {
    let home = TestInstallation::new().unwrap();
    let command = home.command(["status"]).unwrap().env("JETON__STORE__URI", "sqlite:x");
    assert_eq!(
        error_line(&command.run(PATIENCE).await.unwrap(), 1),
        "environment JETON__STORE__URI: store.uri: there is no such setting; did you mean `url`?"
    );
    let finished = run(&home, ["status", "--set", "keeper.leese=1s"]).await;
    assert_eq!(
        error_line(&finished, 1),
        "--set: keeper.leese: there is no such setting; did you mean `lease`?"
    );
    let finished = run(&home, ["status", "--nonsense"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let finished = run(&home, ["status", "--set", "keeper.lease"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let finished = run(&home, ["status", "--nonsense", "--json"]).await;
    let problem: serde_json::Value = serde_json::from_str(&finished.stderr).unwrap();
    assert_eq!((finished.code, &problem["code"]), (Some(2), &"WRONG_USE".into()));
}
