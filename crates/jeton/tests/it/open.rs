//! How a vault is opened, and what is rejected.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jeton::policy::{DurationText, PolicyOverrides};
use jeton::{Builder, Connected, Connection, Grant, OpenError, Secret, TokenError, Vault};
use jeton_core::entropy::SystemEntropy;
use jeton_core::seal::KeyRing;

use jeton_keeper::Host;
use jeton_testkit::TestServer;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{ACME, Fixture, spawn_test, token_file};

async fn open_error(builder: Builder) -> String {
    let text = builder.open().await.unwrap_err().to_string();
    assert!(!text.contains('\n') && !text.contains("hush"), "{text}");
    text
}

#[tokio::test]
async fn what_is_wrong_with_a_definition_is_named_with_its_field_and_what_to_do() {
    let oauth2 = || Connection::at("oauth2").client("id", "hush");
    let with = |connection| Vault::in_memory().connection(ACME, connection);
    let text = open_error(with(Connection::at("gogle"))).await;
    assert!(
        text.contains("`acme`: provider: there is no provider `gogle`; did you mean `google`?"),
        "{text}"
    );
    let text = open_error(with(oauth2())).await;
    assert!(text.contains("`acme`: vars.token_url: the provider `oauth2` cannot do without it"), "{text}");
    let text = open_error(with(oauth2().var("token_ulr", "hush"))).await;
    assert!(text.contains("did you mean `token_url`?"), "{text}");
    let text = open_error(with(oauth2().var("token_url", "http://far.example.com/token"))).await;
    assert!(text.contains("plain http is for this machine alone"), "{text}");
    let here = || oauth2().var("token_url", "http://127.0.0.1:9/token");
    let text = open_error(with(here().emulated_at("nowhere"))).await;
    assert!(text.contains("an emulated provider is on this machine"), "{text}");
    let text = open_error(Vault::in_memory().connection("Not A Name", here())).await;
    assert!(text.contains("the name \"Not A Name\" is not usable"), "{text}");
    let text = open_error(Vault::in_memory().provider_file("own.toml", "name = \"own\"\nhots = []")).await;
    assert!(text.starts_with("own.toml:2: hots:"), "{text}");
}

#[tokio::test]
async fn a_provider_of_ones_own_is_a_file() {
    let fixture = Fixture::new().await;
    let vault = fixture.own_provider(r#"["127.0.0.1"]"#, "").open().await.unwrap();
    vault.connect(ACME, fixture.refresh_token()).await.unwrap();
    assert!(fixture.provider.accepts(vault.token(ACME).await.unwrap().access.reveal()));
}

#[tokio::test]
async fn errors_name_what_a_program_does_and_no_command() {
    let fixture = Fixture::new().await;
    let vault = fixture.vault(Vault::in_memory()).await;
    let unknown = vault.token("acmee").await.unwrap_err().to_string();
    assert!(unknown.contains("did you mean acme?") && unknown.contains("`Builder::connection`"), "{unknown}");
    let unconnected = vault.token(ACME).await.unwrap_err();
    assert!(unconnected.to_string().contains("give `Vault::connect` a refresh token"), "{unconnected}");
    assert_eq!(unconnected.code(), "NOT_CONNECTED");
    vault.connect(ACME, fixture.refresh_token()).await.unwrap();
    vault.pause(ACME).await.unwrap();
    let paused = vault.token(ACME).await.unwrap_err().to_string();
    assert!(paused.contains("is paused"), "{paused}");
    vault.resume(ACME).await.unwrap();
    vault.token(ACME).await.unwrap();
    vault.disconnect(ACME).await.unwrap();
    assert!(matches!(vault.token(ACME).await.unwrap_err().why(), TokenError::NotConnected { .. }));
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_file_outlives_its_program_sealed_and_private() {
    let fixture = Fixture::new().await;
    let (folder, path) = token_file();
    let vault = fixture.vault(Vault::on_file(&path)).await;
    let refresh_token = fixture.refresh_token();
    vault.connect(ACME, refresh_token.clone()).await.unwrap();
    let token = vault.token(ACME).await.unwrap();
    vault.close().await;
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(!kept.contains(token.access.reveal()) && !kept.contains(refresh_token.reveal()));
    assert_eq!((mode(&path), mode(&folder.path().join("tokens.json.d"))), (0o600, 0o700));
    assert_eq!(mode(&folder.path().join("tokens.json.d/key")), 0o600);
    let again = fixture.vault(Vault::on_file(&path)).await;
    assert_eq!(again.token(ACME).await.unwrap().access, token.access);
    assert_eq!(fixture.requests(), 1);
}

#[tokio::test]
async fn a_database_outlives_its_program() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jeton.sqlite");
    let vault = fixture.connected_on(Vault::on_sqlite(&path)).await;
    let token = vault.token(ACME).await.unwrap();
    vault.close().await;
    drop(vault);
    let again = fixture.vault(Vault::on_sqlite(&path)).await;
    assert_eq!(again.token(ACME).await.unwrap().access, token.access);
}

#[tokio::test]
async fn a_file_without_its_key_or_with_another_is_refused_and_unchanged() {
    let fixture = Fixture::new().await;
    let (folder, path) = token_file();
    let vault = fixture.connected_on(Vault::on_file(&path)).await;
    vault.close().await;
    let kept = std::fs::read(&path).unwrap();
    let key = folder.path().join("tokens.json.d/key");
    std::fs::remove_file(&key).unwrap();
    let text = open_error(Vault::on_file(&path).connection(ACME, fixture.acme())).await;
    assert!(text.contains("is missing; put the key back from your backup"), "{text}");
    let other = KeyRing::generate(&SystemEntropy).to_text();
    let other = Vault::on_file(&path).key(jeton::KeySource::Text(other));
    let text = open_error(other.connection(ACME, fixture.acme())).await;
    assert!(text.contains("is not the one this store was sealed with"), "{text}");
    assert_eq!(std::fs::read(&path).unwrap(), kept);
}

#[tokio::test]
async fn a_copy_spends_nothing_until_it_is_taken_over() {
    let fixture = Fixture::new().await;
    let (folder, path) = token_file();
    let vault = fixture.connected_on(Vault::on_file(&path)).await;
    vault.close().await;
    let copy = folder.path().join("copy.json");
    std::fs::copy(&path, &copy).unwrap();
    let key = folder.path().join("tokens.json.d/key");
    let open = || Vault::on_file(&copy).key(jeton::KeySource::File(key.clone()));
    let held = fixture.vault(open()).await;
    let error = held.token(ACME).await.unwrap_err();
    assert!(error.to_string().contains("`Builder::adopt` takes this store over"), "{error}");
    assert_eq!(fixture.requests(), 0);
    held.close().await;
    let adopted = fixture.vault(open().adopt()).await;
    assert!(adopted.token(ACME).await.is_ok());
}

#[tokio::test]
async fn a_folder_that_is_rolled_back_as_a_whole_is_noticed_by_the_mark_outside() {
    let fixture = Fixture::new().await;
    let (folder, path) = token_file();
    let open = || Vault::on_file(&path).mark_dir(folder.path().join("marks"));
    let vault = fixture.connected_on(open()).await;
    vault.token(ACME).await.unwrap();
    vault.close().await;
    let files = [path.clone(), folder.path().join("tokens.json.d/high-water")];
    let snapshot = files.each_ref().map(|file| std::fs::read(file).unwrap());
    let vault = fixture.vault(open()).await;
    vault.refresh(ACME).await.unwrap();
    vault.close().await;
    for (file, text) in files.iter().zip(snapshot) {
        std::fs::write(file, text).unwrap();
    }
    let held = fixture.vault(open()).await;
    let error = held.refresh(ACME).await.unwrap_err();
    assert!(error.to_string().contains("`Builder::adopt`"), "{error}");
    held.close().await;
    fixture.assert_spent_once();
    let adopted = fixture.vault(open().adopt()).await;
    adopted.close().await;
    assert!(!fixture.vault(open()).await.keeper().on_hold());
}

#[tokio::test]
async fn a_data_directory_of_another_machine_spends_nothing_until_it_is_taken_over() {
    let fixture = Fixture::new().await;
    let (folder, path) = token_file();
    let open = || Vault::on_file(&path);
    fixture.connected_on(open()).await.close().await;
    std::fs::write(folder.path().join("tokens.json.d/host"), "another-machine another-boot\n").unwrap();
    assert!(!fixture.vault(open().bound_to_machine(false)).await.keeper().on_hold());
    // A container has no id that would say anything.
    let has_id = Host::system(None).machine.is_some();
    assert_eq!(fixture.vault(open()).await.keeper().on_hold(), has_id);
    let adopted = fixture.vault(open().adopt()).await;
    assert!(adopted.token(ACME).await.is_ok());
    adopted.close().await;
    assert!(!fixture.vault(open()).await.keeper().on_hold());
}

#[tokio::test]
#[ignore = "a child of another test"]
async fn asks_a_host_that_only_the_proxy_knows() {
    let acme = || Connection::at("oauth2").var("token_url", "https://sso.test/token").client("id", "secret");
    for (builder, by_proxy) in [(Vault::in_memory(), true), (Vault::in_memory().ignore_environment(), false)]
    {
        let vault = builder.connection(ACME, acme()).open().await.unwrap();
        vault.connect(ACME, "the-first-refresh-token").await.unwrap();
        let error = vault.token(ACME).await.unwrap_err().to_string();
        assert_eq!(error.contains("through the proxy"), by_proxy, "{error}");
        vault.close().await;
    }
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used_unless_the_program_says_otherwise() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&heard);
    let proxy = TestServer::accepting(move |mut stream| {
        let lines = Arc::clone(&lines);
        async move {
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).await.unwrap_or(0);
            let line = String::from_utf8_lossy(&bytes[..count]).lines().next().unwrap_or_default().to_owned();
            lines.lock().push(line);
            // Who asked may have gone.
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let url = format!("http://{}", proxy.address);
    let mut child =
        spawn_test("open::asks_a_host_that_only_the_proxy_knows", [("HTTPS_PROXY", url.as_str())]);
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert!(ended.success());
    assert_eq!(*heard.lock(), ["CONNECT sso.test:443 HTTP/1.1"]);
}

#[tokio::test]
async fn a_token_file_that_is_gone_is_refused_and_begun_anew_only_on_purpose() {
    let fixture = Fixture::new().await;
    let (_folder, path) = token_file();
    let vault = fixture.connected_on(Vault::on_file(&path)).await;
    vault.close().await;
    std::fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        let text = open_error(Vault::on_file(&path).connection(ACME, fixture.acme())).await;
        assert!(text.contains("tokens.json does not exist, and the data directory"), "{text}");
        assert!(text.contains("`Builder::adopt`") && !path.exists(), "{text}");
    }
    let anew = fixture.vault(Vault::on_file(&path).adopt()).await;
    assert_eq!(anew.token(ACME).await.unwrap_err().code(), "NOT_CONNECTED");
    anew.close().await;
    fixture.vault(Vault::on_file(&path)).await;
}

#[tokio::test]
async fn a_vault_in_memory_begins_anew_in_a_data_directory_that_was_used_before() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let vault = fixture.connected_on(Vault::in_memory().data_dir(folder.path().join("data"))).await;
        vault.token(ACME).await.unwrap();
        vault.close().await;
    }
}

#[tokio::test]
async fn a_seed_is_taken_on_the_first_start_alone() {
    let fixture = Fixture::new().await;
    let (_folder, path) = token_file();
    let first = fixture.refresh_token();
    for start in 1..=3 {
        let vault = fixture.vault(Vault::on_file(&path)).await;
        let seeded = vault.seed(ACME, first.clone()).await.unwrap();
        assert_eq!(matches!(seeded, Connected::Stored { .. }), start == 1);
        fixture.clock.advance(Duration::from_mins(2));
        vault.token(ACME).await.unwrap();
        vault.close().await;
    }
    assert_eq!(fixture.requests(), 3);
    // Another one is not taken either: whoever wants that says `connect`.
    let vault = fixture.vault(Vault::on_file(&path)).await;
    let held = vault.status(ACME).await.unwrap().generation;
    assert_eq!(vault.seed(ACME, fixture.refresh_token()).await.unwrap(), Connected::Unchanged);
    assert_eq!(vault.status(ACME).await.unwrap().generation, held);
    fixture.assert_spent_once();
    // Where it would have to be sent again it is refused.
    let spent = vault.connect(ACME, first).await.unwrap_err();
    assert!(matches!(spent.why(), TokenError::GrantRefused { .. }), "{spent}");
}

/// A policy that confirms a refusal at once.
fn confirming_at_once() -> PolicyOverrides {
    PolicyOverrides { confirm_dead: Some(DurationText(Duration::ZERO)), ..PolicyOverrides::default() }
}

#[tokio::test]
async fn a_seed_that_was_wrong_is_replaced_by_a_right_one_at_the_next_start() {
    // Refused for good, and refused once.
    for policy in [confirming_at_once(), PolicyOverrides::default()] {
        let fixture = Fixture::new().await;
        let (_folder, path) = token_file();
        let (wrong, right) = (Secret::new("a-refresh-token-that-nobody-issued"), fixture.refresh_token());
        let start = async |seed: &Secret| {
            let acme = fixture.acme().policy(policy.clone());
            let vault =
                Vault::on_file(&path).clock(fixture.clock.clone()).connection(ACME, acme).open().await;
            let vault = vault.unwrap();
            let seeded = vault.seed(ACME, seed.clone()).await.unwrap();
            let token = vault.token(ACME).await;
            vault.close().await;
            (matches!(seeded, Connected::Stored { .. }), token.is_ok())
        };
        assert_eq!(start(&wrong).await, (true, false));
        let sent = fixture.requests();
        assert_eq!(start(&wrong).await, (false, false));
        assert_eq!(fixture.requests(), sent, "what the provider refused is not sent at each start");
        assert_eq!(start(&right).await, (true, true));
        assert_eq!(start(&wrong).await, (false, true), "a grant that works stays");
    }
}

#[tokio::test]
async fn the_seed_that_a_dead_grant_began_with_is_not_sent_again() {
    let fixture = Fixture::new().await;
    let (_folder, path) = token_file();
    let seed = fixture.refresh_token();
    for start in 1..=2 {
        let acme = fixture.acme().policy(confirming_at_once());
        let vault = Vault::on_file(&path).clock(fixture.clock.clone()).connection(ACME, acme).open().await;
        let vault = vault.unwrap();
        let seeded = vault.seed(ACME, seed.clone()).await.unwrap();
        assert_eq!(matches!(seeded, Connected::Stored { .. }), start == 1);
        if start == 1 {
            vault.token(ACME).await.unwrap();
            fixture.provider.revoke_grant(seed.reveal());
            fixture.clock.advance(Duration::from_mins(2));
        }
        assert_eq!(vault.token(ACME).await.unwrap_err().code(), "REAUTHORIZATION_REQUIRED");
        vault.close().await;
    }
    assert_eq!(fixture.requests(), 3, "one refresh, and two refusals of what it brought");
}

#[tokio::test]
async fn an_access_token_that_lives_is_taken_over_and_used() {
    let fixture = Fixture::new().await;
    let vault = fixture.vault(Vault::in_memory()).await;
    let grant = Grant {
        refresh: Some(fixture.refresh_token()),
        access: Some(Secret::new("still-good")),
        access_expires_at: Some(jeton_core::time::Clock::now(&*fixture.clock) + Duration::from_hours(1)),
        refresh_expires_at: None,
    };
    vault.take_over(ACME, grant).await.unwrap();
    assert_eq!(vault.token(ACME).await.unwrap().access.reveal(), "still-good");
    assert_eq!(fixture.requests(), 0);
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let (_folder, path) = token_file();
    std::fs::write(&path, r#"{"access_token": "hush"}"#).unwrap();
    let error = Vault::on_file(&path).open().await.unwrap_err();
    assert!(
        matches!(error, OpenError::Store(_)) && error.to_string().contains("not a token file of jeton"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), r#"{"access_token": "hush"}"#);
}
