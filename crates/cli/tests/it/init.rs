//! `jeton init`: what it writes can be used at once, and what was there stays as it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use jeton_testkit::{OidcRig, OidcSettings, TestInstallation, jeton_binary};

use crate::fixture::{error_line, run};
use crate::terminal::Person;

const ADD: [&str; 13] = [
    "init",
    "--provider",
    "oauth2",
    "--name",
    "acme",
    "--var",
    "token_url=https://sso.example.com/token",
    "--client-id",
    "id-1",
    "--client-secret-env",
    "ACME_SECRET",
    "--var",
    "scope=read \"all\"",
];

/// A home without a settings file.
fn without_settings() -> TestInstallation {
    let home = TestInstallation::new().unwrap();
    fs::remove_file(home.settings()).unwrap();
    home
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The names in the home, to see that nothing else was left there.
fn names(home: &TestInstallation) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "outputs")
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_new_file_is_private_right_and_never_written_over() {
    let home = without_settings();
    let said = run(&home, ["init"]).await.success().unwrap();
    assert!(said.contains("next: jeton init --provider PROVIDER --name NAME"), "{said}");
    assert_eq!(mode(&home.settings()), 0o600);
    assert_eq!(run(&home, ["config", "check"]).await.success().unwrap(), "OK (connections: 0)\n");
    let before = fs::read_to_string(home.settings()).unwrap();
    let sentence = error_line(&run(&home, ["init"]).await, 2);
    assert!(sentence.contains("exists already and was not changed"), "{sentence}");
    assert_eq!(fs::read_to_string(home.settings()).unwrap(), before);
    assert_eq!(names(&home), ["jeton.toml"]);
}

#[tokio::test]
async fn a_connection_is_added_below_what_is_there_and_can_be_used() {
    let home = without_settings();
    let before = "# mine\n[log]\nlevel   = \"warn\" # loud enough\n\n[connections.first]\nprovider = \"oauth2\"\n\
                  vars = { token_url = \"https://x.example.com/t\" }\nclient = { id = \"a\", secret = \"b\" }";
    home.write_settings(before).unwrap();
    fs::set_permissions(home.settings(), fs::Permissions::from_mode(0o640)).unwrap();
    let said = run(&home, ADD).await.success().unwrap();
    assert!(
        said.contains("now has the connection `acme`; next: jeton connect acme --refresh-token-stdin"),
        "{said}"
    );
    let after = fs::read_to_string(home.settings()).unwrap();
    assert!(after.starts_with(&format!("{before}\n")), "{after}");
    assert!(
        after.contains("\n#introspect_url = \"...\"\n"),
        "what was not given stands there as a comment: {after}"
    );
    assert_eq!(mode(&home.settings()), 0o640, "the mode stays");
    let check = home.command(["config", "check"]).unwrap().env("ACME_SECRET", "s");
    let check = check.run(crate::fixture::PATIENCE).await.unwrap();
    assert_eq!(check.success().unwrap(), "OK (connections: 2)\n");
    let shown = home.command(["config", "show", "--json"]).unwrap().env("ACME_SECRET", "s");
    let shown = shown.run(crate::fixture::PATIENCE).await.unwrap().success().unwrap();
    assert!(shown.contains("connections.acme.client.secret_env"), "{shown}");
}

#[tokio::test]
async fn a_connection_can_be_the_beginning_of_a_file_and_a_link_stays_a_link() {
    let home = without_settings();
    let said = run(&home, ADD).await.success().unwrap();
    assert!(said.contains("was created, with the connection `acme`"), "{said}");
    assert_eq!(mode(&home.settings()), 0o600);
    let real = home.path().join("real.toml");
    fs::rename(home.settings(), &real).unwrap();
    symlink(&real, home.settings()).unwrap();
    let mut other = ADD;
    other[4] = "b.c";
    run(&home, other).await.success().unwrap();
    assert!(home.settings().is_symlink());
    assert!(fs::read_to_string(real).unwrap().contains("[connections.\"b.c\"]"));
    assert_eq!(names(&home), ["jeton.toml", "real.toml"]);
}

#[tokio::test]
async fn what_is_wrong_or_missing_is_said_and_nothing_is_written() {
    let home = without_settings();
    for (arguments, why) in [
        (vec!["--provider", "oauht2", "--name", "acme"], "did you mean `oauth2`?"),
        (vec!["--provider", "oauth2", "--name", "Acme Inc"], "--name: "),
        (
            vec!["--provider", "oauth2", "--name", "acme"],
            "vars.token_url: the provider `oauth2` cannot do without it",
        ),
        (vec!["--provider", "oauth2", "--name", "acme"], "give --var token_url=VALUE"),
        (
            vec!["--provider", "oauth2", "--name", "acme", "--var", "token_url=https://a.example.com/t"],
            "give --client-id ID",
        ),
        (
            vec!["--provider", "oauth2", "--name", "acme", "--var", "token_ulr=x"],
            "vars.token_ulr: the provider `oauth2` has no variable `token_ulr`; did you mean `token_url`?",
        ),
        (
            vec!["--provider", "amocrm", "--name", "acme", "--var", "domain=evil.example.com"],
            "vars.domain: \"evil.example.com\" does not match the pattern",
        ),
        (
            vec!["--provider", "oauth2", "--name", "acme", "--client-secret-file", "/nowhere"],
            "/nowhere cannot be read",
        ),
    ] {
        let all: Vec<&str> = ["init"].into_iter().chain(arguments.iter().copied()).collect();
        let finished = home.command(all).unwrap().run(crate::fixture::PATIENCE).await.unwrap();
        assert_eq!((finished.stdout.as_str(), names(&home).len()), ("", 0), "{finished:?}");
        assert!(finished.stderr.contains(why), "{arguments:?}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_file_that_cannot_take_the_connection_stays_as_it_was() {
    let home = without_settings();
    for (before, why) in [
        ("connections = {}\n", "this is not TOML"),
        ("[connections.acme]\nprovider = \"oauth2\"\n", "there is a connection `acme` already ("),
    ] {
        home.write_settings(before).unwrap();
        let finished = run(&home, ADD).await;
        assert_ne!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stderr.contains(why), "{finished:?}");
        assert_eq!(fs::read_to_string(home.settings()).unwrap(), before);
        assert_eq!(names(&home), ["jeton.toml"]);
    }
}

#[test]
fn a_person_is_asked_for_what_is_needed_and_the_secret_is_not_shown() {
    let home = without_settings();
    let mut person = Person::run(&home, &["init", "--provider", "amocrm", "--name", "acme"]);
    person.reads("client id at ");
    person.types("");
    person.reads("is empty");
    person.reads("client id at ");
    person.types("id-1");
    person.reads("client secret (is not shown): ");
    person.types("hush-hush-hush");
    person.reads("redirect URI");
    person.types("no url");
    person.reads("not an absolute URL");
    person.types("https://jeton.example.com/oauth/callback");
    person.reads("was created, with the connection `acme`; next: jeton connect acme");
    assert!(person.child.wait().unwrap().success());
    assert!(!person.seen.contains("hush"), "{}", person.seen);
    let secret = home.path().join("acme.secret");
    assert_eq!((fs::read_to_string(&secret).unwrap().as_str(), mode(&secret)), ("hush-hush-hush\n", 0o600));
    let settings = fs::read_to_string(home.settings()).unwrap();
    assert!(settings.contains("secret_file = \"acme.secret\"") && !settings.contains("hush"), "{settings}");
    let check = Command::new(jeton_binary().unwrap())
        .args(["config", "check", "--config"])
        .arg(home.settings())
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&check.stdout), "OK (connections: 1)\n");
}

#[test]
fn a_secret_typed_as_soon_as_the_question_shows_is_neither_shown_nor_lost() {
    for _ in 0..20 {
        let home = without_settings();
        let mut person = Person::run(&home, &["init", "--provider", "amocrm", "--name", "acme"]);
        person.reads("client id at ");
        person.types("id-1");
        person.reads("client secret (is not shown): ");
        person.types("hush-hush-hush");
        person.reads("redirect URI");
        assert!(!person.seen.contains("hush"), "{}", person.seen);
    }
}

#[test]
fn a_signal_in_the_middle_leaves_no_file_and_restores_the_terminal() {
    let home = without_settings();
    let mut person = Person::run(&home, &["init", "--provider", "amocrm", "--name", "acme"]);
    person.reads("client id at ");
    person.types("id-1");
    person.reads("client secret (is not shown): ");
    let id = rustix::process::Pid::from_child(&person.child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    person.reads("stopped by");
    assert_eq!(person.child.wait().unwrap().code(), Some(1));
    let modes = rustix::termios::tcgetattr(&person.keyboard).unwrap().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ECHO), "the terminal shows again what is typed");
    assert_eq!(names(&home), [] as [&str; 0]);
}

/// The rest of a dialogue about `oauth2`, after its URLs.
fn finishes_public(person: &mut Person, next: &str) {
    person.reads("client id at ");
    person.types("id-1");
    person.reads("Enter for a public client, which has none): ");
    person.types("");
    person.reads("it is a public client");
    person.reads("scope (");
    person.types("read write");
    person.reads("the URL at which browsers reach this server");
    person.types("tokens.example.com");
    person.reads("not a URL that begins with http:// or https://");
    person.types("https://tokens.example.com/");
    person.reads(next);
    assert!(person.child.wait().unwrap().success());
}

#[test]
fn a_person_without_an_issuer_is_asked_for_urls_and_each_answer_is_judged_at_once() {
    let home = without_settings();
    let mut person = Person::run(&home, &["init", "--provider", "oauth2", "--name", "acme"]);
    person.reads("issuer (");
    person.types("sso.example.com");
    person.reads("not a URL");
    person.reads("issuer (");
    person.types("http://127.0.0.1:1/none");
    person.reads("/none/.well-known/openid-configuration: ");
    person.reads("you are asked for the URLs instead");
    person.reads("token_url (");
    person.types("http://sso.example.com/token");
    person.reads("plain http is for this machine alone");
    person.reads("token_url (");
    person.types("https://sso.example.com/token");
    person.reads("client id at ");
    person.types("id-1");
    person.reads("Enter for a public client, which has none): ");
    person.types("");
    person.reads("it is a public client");
    person.reads("authorize_url (");
    person.types("https://sso.example.com/authorize");
    person.reads("scope (");
    person.types("");
    person.reads("the URL at which browsers reach this server");
    person.types("");
    person.reads("next: set `server.public_url`, then `jeton connect acme`");
    assert!(person.child.wait().unwrap().success());
    let settings = fs::read_to_string(home.settings()).unwrap();
    for line in
        ["client_auth = \"none\"", "authorize_url = \"https://sso.example.com/authorize\"", "#issuer = "]
    {
        assert!(settings.contains(&format!("\n{line}")), "{line}: {settings}");
    }
    assert!(!home.path().join("acme.secret").exists(), "{settings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_an_issuer_is_asked_for_little_else_and_the_next_step_works() {
    let rig = OidcRig::start(OidcSettings::default()).await.unwrap();
    let (home, issuer) = (without_settings(), rig.base_url());
    let (home, settings) = tokio::task::spawn_blocking(move || {
        let mut person = Person::run(&home, &["init", "--provider", "oauth2", "--name", "acme"]);
        person.reads("issuer (");
        person.types(&issuer);
        person.reads(&format!("tokens come from {issuer}/token"));
        finishes_public(&mut person, "next: jeton connect acme");
        assert!(
            !person.seen.contains("token_url (") && !person.seen.contains("authorize_url ("),
            "{}",
            person.seen
        );
        let settings = fs::read_to_string(home.settings()).unwrap();
        (home, settings)
    })
    .await
    .unwrap();
    assert!(settings.contains("redirect_uri = \"https://tokens.example.com/oauth/callback\""), "{settings}");
    assert_eq!(run(&home, ["config", "check"]).await.success().unwrap(), "OK (connections: 1)\n");
    // The terminal shows the page that the metadata names.
    let asked = home.command(["connect", "acme", "--code"]).unwrap().stdin("\n");
    let asked = asked.run(crate::fixture::PATIENCE).await.unwrap();
    assert!(asked.stderr.contains(&format!("{}/auth?", rig.base_url())), "{asked:?}");
}
