//! `jeton connect` where a person consents: by a link, and by a pasted address.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::provider::{Catalogue, Client as ProviderClient, Emulation, Provider, Setup};
use jeton_core::secret::Secret;
use jeton_emulator::Emulator;
use jeton_testkit::{Client, CommandOutput, ConnectionSettings, FreePort, ServerProcess, TestInstallation};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::fixture::{PATIENCE, error_line, run};

/// A home whose connection `acme` is one of an emulated provider, and a server that runs in it.
struct Fixture {
    home: TestInstallation,
    emulator: Emulator,
    server: Option<ServerProcess>,
}

impl Fixture {
    async fn new(serving: bool) -> Self {
        Self::of("amocrm", serving).await
    }

    async fn of(provider: &str, serving: bool) -> Self {
        let port = FreePort::find().unwrap();
        let base = port.base_url();
        let (emulator, connection) = played(provider, &base).await;
        let mut home = TestInstallation::new().unwrap();
        home.add_connection("acme", connection).unwrap();
        settled(&mut home, &port);
        let server = if serving { Some(serve(&home, port).await) } else { None };
        Self { home, emulator, server }
    }

    /// The page that the emulated provider sends a browser to, from the provider's own page.
    async fn consent_at(&self, page: &str) -> String {
        assert!(page.starts_with(&self.emulator.base_url()), "{page}");
        consent_at(page).await
    }
}

/// A provider that is played for the server at `base`, and a connection to it for a person to consent to.
pub(crate) async fn played(provider: &str, base: &str) -> (Emulator, ConnectionSettings) {
    let name = provider;
    let provider = Catalogue::builtin().get(name).unwrap().clone();
    let mut setup = provider.example().unwrap();
    setup.client.redirect_uri = Some(format!("{base}/oauth/callback"));
    let emulation = Emulation::of(provider.define(setup.clone()).unwrap());
    let settings = jeton_emulator::Settings::for_provider(emulation, Duration::from_mins(1));
    let emulator = Emulator::start(settings).await.unwrap();
    let client =
        [("id", setup.client.id), ("secret", setup.client.secret.map(|s: Secret| s.reveal().to_owned()))];
    // What is captured at consent is not in the settings of anybody who has not consented yet.
    let captured = |name: &String| provider.vars().any(|var| var.name() == name && var.capture().is_some());
    let vars = setup.vars.iter().filter(|(name, _)| !captured(name));
    let connection = ConnectionSettings {
        provider: name.to_owned(),
        emulated_at: Some(emulator.base_url()),
        vars: vars.map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        client: client.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect(),
        ..ConnectionSettings::default()
    };
    (emulator, connection)
}

/// A home whose provider is played and gives no refresh token.
pub(crate) async fn without_refresh(port: &FreePort) -> (TestInstallation, Emulator) {
    const FILE: &str = r#"
name = "brief"
title = "Brief"
hosts = ["brief.example.com"]
[client]
auth = "post"
[authorize]
url = "https://brief.example.com/authorize"
query = { client_id = "${client.id}", redirect_uri = "${client.redirect_uri}", state = "${state}" }
[exchange]
url = "https://brief.example.com/token"
form = { grant_type = "authorization_code", code = "${code}" }
[refresh]
url = "https://brief.example.com/token"
form = { grant_type = "refresh_token", refresh_token = "${refresh}" }
[[tests]]
name = "a code is exchanged for an access token alone"
step = "exchange"
client = { id = "app", secret = "hush" }
slots = { code = "code-1" }
reply = { status = 200, json = { access_token = "at-1", expires_in = 60 } }
expect = { outcome = "tokens" }
"#;
    let provider = Arc::new(Provider::from_toml("brief.toml", FILE).unwrap());
    let setup = Setup {
        client: ProviderClient {
            id: Some("brief-client".to_owned()),
            secret: Some("brief-secret".into()),
            redirect_uri: Some(format!("{}/oauth/callback", port.base_url())),
        },
        ..Setup::default()
    };
    let emulation = Emulation::of(provider.define(setup).unwrap());
    let settings = jeton_emulator::Settings::for_provider(emulation, Duration::from_mins(1));
    let emulator = Emulator::start(settings).await.unwrap();
    let mut home = TestInstallation::new().unwrap();
    let file = home.path().join("brief.toml");
    std::fs::write(&file, FILE).unwrap();
    home.set("providers", "paths", vec![file.display().to_string()]).unwrap();
    let client = [("id", "brief-client"), ("secret", "brief-secret")];
    let connection = ConnectionSettings {
        provider: "brief".to_owned(),
        emulated_at: Some(emulator.base_url()),
        client: client.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..ConnectionSettings::default()
    };
    home.add_connection("acme", connection).unwrap();
    settled(&mut home, port);
    (home, emulator)
}

/// Where a played provider sends a browser to, from its own page.
pub(crate) async fn consent_at(page: &str) -> String {
    let (base, path) = split(page);
    let given = Client::new(&base).get(&path).await.unwrap();
    assert_eq!(given.status, 302, "{}", given.text());
    given.headers["location"].to_str().unwrap().to_owned()
}

/// The settings of a home say where its server is.
pub(crate) fn settled(home: &mut TestInstallation, port: &FreePort) {
    home.set("server", "listen", port.address().to_string()).unwrap();
    home.set("server", "public_url", port.base_url()).unwrap();
}

pub(crate) async fn serve(home: &TestInstallation, port: FreePort) -> ServerProcess {
    let mut server = home.command(["serve"]).unwrap().serve_at(port).unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    server
}

/// Waits until what a command has said so far holds what `read` looks for.
pub(crate) async fn heard<T>(said: &Path, read: impl Fn(&str) -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(said).unwrap_or_default();
        if let Some(found) = read(&text) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it never said what is waited for: {text}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Runs `jeton connect acme` beside `person`, who gets the link once it is printed, and where the command speaks.
pub(crate) async fn connect_beside(
    home: &TestInstallation,
    person: impl AsyncFnOnce(String, &Path),
) -> CommandOutput {
    connect_beside_at(home, "debug", person).await
}

/// The same, as talkative as `level` says.
pub(crate) async fn connect_beside_at(
    home: &TestInstallation,
    level: &str,
    person: impl AsyncFnOnce(String, &Path),
) -> CommandOutput {
    let connect = home.command(["--json", "connect", "acme"]).unwrap().env("JETON__LOG__LEVEL", level);
    let said = connect.stderr_file();
    let watch = async {
        let link = heard(&said, |text| {
            let shown: Value = serde_json::from_str(text.lines().find(|line| line.starts_with('{'))?).ok()?;
            Some(shown["link"].as_str()?.to_owned())
        });
        person(link.await, &said).await;
    };
    let (finished, ()) = tokio::join!(connect.run(PATIENCE), watch);
    finished.unwrap()
}

/// The provider's page that `jeton connect --code` prints before it waits for an answer.
async fn printed_page(said: &Path) -> String {
    heard(said, |text| {
        let asked = text.contains("Paste its whole address");
        let page = text.lines().map(str::trim).find(|line| line.starts_with("http"))?;
        asked.then(|| page.to_owned())
    })
    .await
}

/// Presses the button on the page of a link; answers the provider's page and the cookie.
pub(crate) async fn open(link: &str) -> (String, String) {
    let (base, path) = split(link);
    let opened = Client::new(&base).with_header("origin", &base).post_form(&path, &[]).await.unwrap();
    assert_eq!(opened.status, 200, "{}", opened.text());
    let cookie = opened.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let refresh = opened.headers["refresh"].to_str().unwrap();
    (refresh.strip_prefix("0; url=").unwrap().to_owned(), cookie.to_owned())
}

pub(crate) fn split(url: &str) -> (String, String) {
    let at = url.match_indices('/').nth(2).unwrap().0;
    (url[..at].to_owned(), url[at..].to_owned())
}

#[tokio::test]
async fn a_link_is_printed_and_waited_for_until_the_connection_is_made() {
    let fixture = Fixture::new(true).await;
    let finished = connect_beside(&fixture.home, async |link, said| {
        let (page, cookie) = open(&link).await;
        heard(said, |text| text.contains("the link was opened").then_some(())).await;
        let (base, path) = split(&fixture.consent_at(&page).await);
        let back = Client::new(&base).with_header("cookie", &cookie).get(&path).await.unwrap();
        assert_eq!(back.status, 303, "{}", back.text());
    })
    .await;
    let answer = finished.json().unwrap();
    assert_eq!((&answer["connection"], &answer["generation"]), (&"acme".into(), &1.into()));
    assert_eq!(answer["renews"], true);
    let client = fixture.server.as_ref().unwrap().client();
    let given = client.get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(fixture.emulator.accepts(given["access_token"].as_str().unwrap()));
    run(&fixture.home, ["refresh", "--force", "--sync"]).await.success().unwrap();

    // Whoever has a link can give the grant: who made it is on record beside the consent that it led to.
    let rows = run(&fixture.home, ["audit", "acme", "--json"]).await.json().unwrap();
    let (connected, invited) = (&rows[0], &rows[1]);
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows}");
    let deeds = (&connected["deed"], &invited["deed"]);
    assert_eq!(deeds, (&"connection.connected".into(), &"connection.invited".into()));
    let consent = invited["details"]["consent"].as_str().unwrap();
    assert_eq!(connected["actor"], format!("consent:{consent}"));
    assert!(invited["actor"].as_str().unwrap().starts_with("shell:"), "{invited}");
}

#[tokio::test]
async fn a_refusal_ends_the_waiting_with_the_sentence_of_the_page() {
    let fixture = Fixture::new(true).await;
    let finished = connect_beside(&fixture.home, async |link, _| {
        let (page, cookie) = open(&link).await;
        let (_, state) = page.split_once("state=").unwrap();
        let (base, _) = split(&link);
        let path = format!("/oauth/callback?error=access_denied&state={}", state.split('&').next().unwrap());
        let back = Client::new(&base).with_header("cookie", &cookie).get(&path).await.unwrap();
        assert_eq!(back.status, 303, "{}", back.text());
    })
    .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("the consent was refused at the provider"), "{finished:?}");
    assert!(finished.stderr.contains("CONSENT_FAILED"), "{finished:?}");
}

#[tokio::test]
async fn without_a_server_no_link_is_made() {
    let fixture = Fixture::new(false).await;
    let sentence = error_line(&run(&fixture.home, ["connect", "acme"]).await, 1);
    assert!(sentence.starts_with("no jeton answers at http://127.0.0.1:"), "{sentence}");
    assert!(sentence.contains("`jeton connect acme --code`"), "{sentence}");
}

#[tokio::test]
async fn the_terminal_says_that_a_grant_without_a_refresh_token_ends() {
    let port = FreePort::find().unwrap();
    let (home, _emulator) = without_refresh(&port).await;
    let connect = home.command(["connect", "acme", "--code"]).unwrap();
    let said = connect.stderr_file();
    let answer = async { consent_at(&printed_page(&said).await).await };
    let said = connect.run_with_answer(PATIENCE, answer).await.unwrap().success().unwrap();
    assert!(said.contains("the provider gave no refresh token, so it ends with its access token"), "{said}");
    // The terminal that only waits says the same.
    let _server = serve(&home, port).await;
    let finished = connect_beside(&home, async |link, _| {
        let (page, cookie) = open(&link).await;
        let (base, path) = split(&consent_at(&page).await);
        let back = Client::new(&base).with_header("cookie", &cookie).get(&path).await.unwrap();
        let result = format!("/oauth/{}", back.headers["location"].to_str().unwrap());
        let result = Client::new(&base).get(&result).await.unwrap();
        assert!(result.text().contains("Connected for now"), "{}", result.text());
    })
    .await;
    let answer = finished.json().unwrap();
    assert_eq!((&answer["generation"], &answer["renews"]), (&2.into(), &false.into()));
}

#[tokio::test]
async fn a_server_that_knows_the_connection_otherwise_is_found_before_anybody_gets_the_link() {
    let mut fixture = Fixture::new(true).await;
    let mut later = ConnectionSettings { provider: "amocrm".to_owned(), ..ConnectionSettings::default() };
    later.emulated_at = Some(fixture.emulator.base_url());
    later.client = [("id", "another"), ("secret", "another-secret")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    fixture.home.add_connection("late", later).unwrap();
    let sentence = error_line(&run(&fixture.home, ["connect", "late"]).await, 1);
    assert!(
        sentence.contains(
            "restart `jeton serve`, which started before `late` was defined or with other settings"
        ),
        "{sentence}"
    );
    assert!(!sentence.contains("ticket="), "{sentence}");
}

#[tokio::test]
async fn without_a_place_to_come_back_to_nobody_is_asked() {
    let mut fixture = Fixture::new(false).await;
    fixture.home.unset("server", "public_url").unwrap();
    let sentence = error_line(&run(&fixture.home, ["connect", "acme", "--code"]).await, 1);
    assert!(sentence.contains("client.redirect_uri"), "{sentence}");
}

#[tokio::test]
async fn a_pasted_address_connects_without_a_server() {
    let fixture = Fixture::new(false).await;
    for (paste, code, says) in [
        (Paste::Whole, 0, "`acme` is connected"),
        (Paste::Foreign, 1, "`referer`"),
        (Paste::Denied, 1, "the consent was refused"),
        (Paste::OtherState, 1, "belongs to no consent"),
        (
            Paste::NoState,
            1,
            "paste the whole address that the browser ended on, with its `code` and its `state`",
        ),
        (
            Paste::CodeAlone,
            1,
            "paste the whole address that the browser ended on, with its `code` and its `state`",
        ),
        (Paste::Nothing, 2, "nothing was pasted"),
    ] {
        let finished = paste.into_a_terminal(&fixture).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        let said = if code == 0 { &finished.stdout } else { &finished.stderr };
        assert!(said.contains(says), "{says}: {finished:?}");
        assert!(!finished.stderr.contains("or its `code`"), "only the address can work here: {finished:?}");
    }
    assert_eq!(fixture.emulator.stats().requests, 1, "only the right one was sent");
    let finished = run(&fixture.home, ["connect", "acme", "--code", "--refresh-token-stdin"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
}

#[tokio::test]
async fn what_was_pasted_by_mistake_uses_nothing_up_and_is_asked_for_again() {
    let fixture = Fixture::new(false).await;
    let finished = Paste::CodeThenNothingThenWhole.into_a_terminal(&fixture).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.contains("what was pasted does not say that it answers"), "{finished:?}");
    assert_eq!(fixture.emulator.stats().requests, 1);
}

#[tokio::test]
async fn a_code_alone_connects_where_pkce_ties_it_to_the_terminal() {
    let fixture = Fixture::of("google", false).await;
    for (paste, code, says) in [
        (Paste::CodeAlone, 0, "`acme` is connected"),
        (Paste::Whole, 0, "`acme` is connected"),
        (Paste::NoState, 1, "does not say that it answers the consent for `acme`"),
        (Paste::OtherState, 1, "belongs to no consent"),
    ] {
        let finished = paste.into_a_terminal(&fixture).await;
        assert_eq!(finished.code, Some(code), "{paste:?}: {finished:?}");
        assert!(finished.stderr.contains("whole address, or its `code` alone"), "{finished:?}");
        let said = if code == 0 { &finished.stdout } else { &finished.stderr };
        assert!(said.contains(says), "{says}: {finished:?}");
    }
    assert_eq!(fixture.emulator.stats().requests, 2);
}

/// What a person pastes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paste {
    Whole,
    Foreign,
    Denied,
    OtherState,
    NoState,
    CodeAlone,
    CodeThenNothingThenWhole,
    Nothing,
}

impl Paste {
    /// The page is printed before anything is pasted, so the person answers through a pipe that stays open.
    async fn into_a_terminal(self, fixture: &Fixture) -> CommandOutput {
        let connect = fixture.home.command(["connect", "acme", "--code"]).unwrap();
        let said = connect.stderr_file();
        let answer = async {
            let page = printed_page(&said).await;
            let back = fixture.consent_at(&page).await;
            let (address, query) = back.split_once('?').unwrap();
            let part = |name: &str| query.split('&').find(|pair| pair.starts_with(name)).unwrap().to_owned();
            match self {
                Self::Whole => back.clone(),
                Self::Foreign => back.replace(".amocrm.", ".amocrm.evil.example."),
                Self::Denied => format!("{address}?error=access_denied&{}", part("state=")),
                Self::OtherState => back.replace("state=", "state=x"),
                Self::NoState => back.replace(&part("state="), "x=y"),
                Self::CodeAlone => unescaped(&part("code=")),
                Self::CodeThenNothingThenWhole => format!("{}\n\n{back}", unescaped(&part("code="))),
                Self::Nothing => String::new(),
            }
        };
        connect.run_with_answer(PATIENCE, answer).await.unwrap()
    }
}

/// The value of a parameter, as people copy it.
fn unescaped(pair: &str) -> String {
    url::form_urlencoded::parse(pair.as_bytes()).next().unwrap().1.into_owned()
}

#[tokio::test]
async fn a_browser_that_lands_on_the_server_is_told_to_bring_the_address_to_the_terminal() {
    let fixture = Fixture::new(true).await;
    let connect = fixture.home.command(["connect", "acme", "--code"]).unwrap();
    let said = connect.stderr_file();
    let answer = async {
        let page = printed_page(&said).await;
        let back = fixture.consent_at(&page).await;
        let (base, path) = split(&back);
        let landed = Client::new(&base).get(&path).await.unwrap();
        assert_eq!(landed.status, 409);
        assert!(landed.text().contains("copy the address of this page into it"), "{}", landed.text());
        back
    };
    let finished = connect.run_with_answer(PATIENCE, answer).await.unwrap();
    assert_eq!(finished.success().unwrap(), "`acme` is connected\n");
}
