//! `jeton connect` where a person consents: by a link, by a pasted address, and in a real browser.

use std::path::Path;
use std::time::Duration;

use jeton_core::keep::provider::{Catalogue, Emulation};
use jeton_core::secret::Secret;
use jeton_emulator::Emulator;
use jeton_testkit::{
    Browser, Client, Connection, Finished, FreePort, Look, OidcRig, OidcSettings, Running, Seen, TempHome,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::house::{PATIENCE, complaint, run};

/// A home whose connection `acme` is one of amoCRM, played on this machine, and a server that runs in it.
struct Scene {
    home: TempHome,
    emulator: Emulator,
    server: Option<Running>,
}

impl Scene {
    async fn new(serving: bool) -> Self {
        let port = FreePort::find().unwrap();
        let base = port.base_url();
        let provider = Catalogue::builtin().get("amocrm").unwrap().clone();
        let mut setup = provider.example().unwrap();
        setup.client.redirect_uri = Some(format!("{base}/oauth/callback"));
        let emulation = Emulation::of(provider.define(setup.clone()).unwrap());
        let settings = jeton_emulator::Settings::playing(emulation, Duration::from_mins(1));
        let emulator = Emulator::start(settings).await.unwrap();
        let client =
            [("id", setup.client.id), ("secret", setup.client.secret.map(|s: Secret| s.reveal().to_owned()))];
        let mut home = TempHome::new().unwrap();
        let connection = Connection {
            provider: "amocrm".to_owned(),
            emulated_at: Some(emulator.base_url()),
            client: client.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect(),
            ..Connection::default()
        };
        home.connect("acme", connection).unwrap();
        settled(&mut home, &port);
        let server = if serving { Some(serve(&home, port).await) } else { None };
        Self { home, emulator, server }
    }

    /// The page that the emulated provider sends a browser to, from the provider's own page.
    async fn consent_at(&self, page: &str) -> String {
        let path = page.strip_prefix(&self.emulator.base_url()).unwrap();
        let given = Client::new(&self.emulator.base_url()).get(path).await.unwrap();
        assert_eq!(given.status, 302, "{}", given.text());
        given.headers["location"].to_str().unwrap().to_owned()
    }
}

/// The settings of a home say where its server is.
fn settled(home: &mut TempHome, port: &FreePort) {
    home.set("server", "listen", port.address().to_string()).unwrap();
    home.set("server", "public_url", port.base_url()).unwrap();
}

async fn serve(home: &TempHome, port: FreePort) -> Running {
    let mut server = home.command(["serve"]).unwrap().serve_at(port).unwrap();
    server.ready(PATIENCE).await.unwrap();
    server
}

/// Waits until what a command has said so far holds what `read` looks for.
async fn heard<T>(said: &Path, read: impl Fn(&str) -> Option<T>) -> T {
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
async fn connect_beside(home: &TempHome, person: impl AsyncFnOnce(String, &Path)) -> Finished {
    let connect = home.command(["--json", "connect", "acme"]).unwrap();
    let said = connect.complaints();
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

/// Opens a link as a browser; answers the provider's page and the cookie.
async fn open(link: &str) -> (String, String) {
    let (base, path) = split(link);
    let opened = Client::new(&base).get(&path).await.unwrap();
    assert_eq!(opened.status, 303, "{}", opened.text());
    let cookie = opened.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    (opened.headers["location"].to_str().unwrap().to_owned(), cookie.to_owned())
}

fn split(url: &str) -> (String, String) {
    let at = url.match_indices('/').nth(2).unwrap().0;
    (url[..at].to_owned(), url[at..].to_owned())
}

#[tokio::test]
async fn a_link_is_printed_and_waited_for_until_the_connection_is_made() {
    let scene = Scene::new(true).await;
    let finished = connect_beside(&scene.home, async |link, said| {
        let (page, cookie) = open(&link).await;
        heard(said, |text| text.contains("the link was opened").then_some(())).await;
        let (base, path) = split(&scene.consent_at(&page).await);
        let back = Client::new(&base).with_header("cookie", &cookie).get(&path).await.unwrap();
        assert_eq!(back.status, 200, "{}", back.text());
    })
    .await;
    let answer = finished.json().unwrap();
    assert_eq!((&answer["connection"], &answer["generation"]), (&"acme".into(), &1.into()));
    let client = scene.server.as_ref().unwrap().client();
    let given = client.get_json("/api/v1/connections/acme/token").await.unwrap();
    assert!(scene.emulator.accepts(given["access_token"].as_str().unwrap()));
    run(&scene.home, ["refresh", "--force", "--sync"]).await.success().unwrap();
}

#[tokio::test]
async fn a_refusal_ends_the_waiting_with_the_sentence_of_the_page() {
    let scene = Scene::new(true).await;
    let finished = connect_beside(&scene.home, async |link, _| {
        let (page, cookie) = open(&link).await;
        let (_, state) = page.split_once("state=").unwrap();
        let (base, _) = split(&link);
        let path = format!("/oauth/callback?error=access_denied&state={}", state.split('&').next().unwrap());
        let back = Client::new(&base).with_header("cookie", &cookie).get(&path).await.unwrap();
        assert_eq!(back.status, 403, "{}", back.text());
    })
    .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("the consent was refused at the provider"), "{finished:?}");
    assert!(finished.stderr.contains("CONSENT_FAILED"), "{finished:?}");
}

#[tokio::test]
async fn without_a_server_no_link_is_made() {
    let scene = Scene::new(false).await;
    let sentence = complaint(&run(&scene.home, ["connect", "acme"]).await, 1);
    assert!(sentence.starts_with("no jeton answers at http://127.0.0.1:"), "{sentence}");
    assert!(sentence.contains("`jeton connect acme --code`"), "{sentence}");
}

#[tokio::test]
async fn without_a_place_to_come_back_to_nobody_is_asked() {
    let mut scene = Scene::new(false).await;
    scene.home.unset("server", "public_url").unwrap();
    let sentence = complaint(&run(&scene.home, ["connect", "acme", "--code"]).await, 1);
    assert!(sentence.contains("client.redirect_uri"), "{sentence}");
}

#[tokio::test]
async fn a_pasted_address_connects_without_a_server() {
    let scene = Scene::new(false).await;
    for (paste, code, says) in [
        (Paste::Whole, 0, "`acme` is connected"),
        (Paste::Foreign, 1, "`referer`"),
        (Paste::Denied, 1, "the consent was refused"),
        (Paste::OtherState, 1, "belongs to no consent"),
        (Paste::CodeAlone, 1, "it comes with the consent (`referer`)"),
        (Paste::Nothing, 2, "nothing was pasted"),
    ] {
        let finished = paste.into_a_terminal(&scene).await;
        assert_eq!(finished.code, Some(code), "{finished:?}");
        let said = if code == 0 { &finished.stdout } else { &finished.stderr };
        assert!(said.contains(says), "{says}: {finished:?}");
    }
    assert_eq!(scene.emulator.stats().requests, 1, "only the right one was sent");
    let finished = run(&scene.home, ["connect", "acme", "--code", "--refresh-token-stdin"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
}

/// What a person pastes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paste {
    Whole,
    Foreign,
    Denied,
    OtherState,
    CodeAlone,
    Nothing,
}

impl Paste {
    /// The page is printed before anything is pasted, so the person answers through a pipe that stays open.
    async fn into_a_terminal(self, scene: &Scene) -> Finished {
        let connect = scene.home.command(["connect", "acme", "--code"]).unwrap();
        let said = connect.complaints();
        let answer = async {
            let page = printed_page(&said).await;
            let back = scene.consent_at(&page).await;
            let (address, query) = back.split_once('?').unwrap();
            let part = |name: &str| query.split('&').find(|pair| pair.starts_with(name)).unwrap().to_owned();
            match self {
                Self::Whole => back.clone(),
                Self::Foreign => back.replace(".amocrm.", ".amocrm.evil.example."),
                Self::Denied => format!("{address}?error=access_denied&{}", part("state=")),
                Self::OtherState => back.replace("state=", "state=x"),
                Self::CodeAlone => part("code=").replace("code=", ""),
                Self::Nothing => String::new(),
            }
        };
        connect.run_with_answer(PATIENCE, answer).await.unwrap()
    }
}

#[tokio::test]
async fn a_browser_that_lands_on_the_server_is_told_to_bring_the_address_to_the_terminal() {
    let scene = Scene::new(true).await;
    let connect = scene.home.command(["connect", "acme", "--code"]).unwrap();
    let said = connect.complaints();
    let answer = async {
        let page = printed_page(&said).await;
        let back = scene.consent_at(&page).await;
        let (base, path) = split(&back);
        let landed = Client::new(&base).get(&path).await.unwrap();
        assert_eq!(landed.status, 409);
        assert!(
            landed.text().contains("copy the address of this page into that terminal"),
            "{}",
            landed.text()
        );
        back
    };
    let finished = connect.run_with_answer(PATIENCE, answer).await.unwrap();
    assert_eq!(finished.success().unwrap(), "`acme` is connected\n");
}

/// How a consent is given on the pages that oidc-provider has for trying things out.
fn sign_in(browser: Browser, name: &str) -> Browser {
    browser
        .fill(name, "input[name=login]", "somebody")
        .fill(name, "input[name=password]", "anything")
        .click(name, "button[type=submit]")
        .until(name, "Authorize")
}

/// The page as it was read, without the browser's own remark on its status, which is judged by itself.
fn seen(value: &Value) -> Seen {
    let mut page: Seen = serde_json::from_value(value.clone()).unwrap();
    let status = format!("a status of {}", page.status);
    page.complaints.retain(|complaint| !complaint.contains(&status));
    page
}

/// A page that runs nothing, loads nothing, breaks no policy of its own, and fits every window by day and by night.
fn stands_well(page: &Seen, looks: &[Value]) {
    assert_eq!((page.loaded.as_slice(), page.complaints.as_slice()), (&[][..], &[][..]), "{page:?}");
    let looks: Vec<Look> = looks.iter().map(|look| serde_json::from_value(look.clone()).unwrap()).collect();
    assert_eq!(looks.len(), 4);
    assert!(looks.iter().all(|look| look.needed <= look.width), "{looks:?}");
    assert_ne!(looks[0].back, looks[1].back, "day and night differ: {looks:?}");
    assert!(looks.iter().all(|look| look.back != look.ink), "{looks:?}");
}

#[tokio::test]
async fn a_person_consents_on_the_pages_of_a_server_that_others_wrote() {
    let port = FreePort::find().unwrap();
    let redirect_uri = Some(format!("{}/oauth/callback", port.base_url()));
    let settings =
        OidcSettings { access_ttl: Duration::from_secs(3), redirect_uri, ..OidcSettings::default() };
    let rig = OidcRig::start(settings).await.unwrap();
    let mut home = TempHome::new().unwrap();
    home.connect("acme", rig.consented_connection()).unwrap();
    settled(&mut home, &port);
    let mut server = serve(&home, port).await;

    let finished = connect_beside(&home, async |link, _| {
        let plan = sign_in(Browser::new().goto("own", &link), "own").click("own", "button[type=submit]");
        let plan = plan.until("own", "You can close this page").read("own").look("own", "success");
        // The same link once more, and in another browser.
        let plan = plan.goto("own", &link).read("own").look("own", "used-link");
        let plan = plan.goto("other", &link).read("other");
        let saw = plan.run().await.unwrap();
        let page = seen(&saw[0]);
        assert_eq!((page.status, page.title.as_str()), (200, "Connected · jeton"), "{page:?}");
        stands_well(&page, &saw[1..5]);
        for used in [seen(&saw[5]), seen(&saw[10])] {
            assert_eq!((used.status, used.title.as_str()), (410, "This link was used · jeton"), "{used:?}");
        }
        stands_well(&seen(&saw[5]), &saw[6..10]);
    })
    .await;
    assert_eq!(finished.json().unwrap()["result"], "stored");

    // It goes on by itself: tokens of 3 s are replaced again and again, each refresh token used once.
    let client = server.client();
    let begun = Instant::now();
    while rig.stats().await.unwrap().refresh_ok < 3 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.written().unwrap());
        sleep(Duration::from_millis(50)).await;
    }
    let given = client.get_json("/api/v1/connections/acme/token?min_ttl=1s").await.unwrap();
    assert_eq!(rig.call(given["access_token"].as_str().unwrap()).await.unwrap(), 200);
    let stats = rig.stats().await.unwrap();
    assert_eq!((stats.code_ok, stats.grants_revoked), (1, 0), "{stats:?}");
    assert!(stats.grant_errors.is_empty(), "{stats:?}");
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_browser_shows_what_came_of_a_consent_that_came_to_nothing() {
    let port = FreePort::find().unwrap();
    let base = port.base_url();
    let redirect_uri = Some(format!("{base}/oauth/callback"));
    let rig = OidcRig::start(OidcSettings { redirect_uri, ..OidcSettings::default() }).await.unwrap();
    let mut home = TempHome::new().unwrap();
    home.connect("acme", rig.consented_connection()).unwrap();
    settled(&mut home, &port);
    let _server = serve(&home, port).await;

    // The person cancels at the provider.
    let finished = connect_beside(&home, async |link, _| {
        let plan = sign_in(Browser::new().goto("own", &link), "own").click("own", "a[href$=abort]");
        let plan = plan.until("own", "Consent refused").read("own").look("own", "refused");
        // Pages that anybody can come by.
        let plan = plan.goto("own", &format!("{base}/oauth/callback")).read("own").look("own", "no-state");
        let plan = plan
            .goto("own", &format!("{base}/oauth/authorize?ticket=none"))
            .read("own")
            .look("own", "unknown-link");
        let plan = plan
            .goto("own", &format!("{base}/oauth/callback?state=a&code=b"))
            .read("own")
            .look("own", "unknown-state");
        let saw = plan.run().await.unwrap();
        for (index, status, title) in [
            (0, 403, "Consent refused · jeton"),
            (5, 400, "Nothing to answer here · jeton"),
            (10, 404, "Unknown link · jeton"),
            (15, 400, "Unknown answer · jeton"),
        ] {
            let page = seen(&saw[index]);
            assert_eq!((page.status, page.title.as_str()), (status, title), "{page:?}");
            stands_well(&page, &saw[index + 1..index + 5]);
        }
    })
    .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(rig.stats().await.unwrap().token_requests, 0);

    // A link that was opened in one browser, whose answer is carried to another.
    let finished = connect_beside(&home, async |link, _| {
        let (page, cookie) = open(&link).await;
        let state = page.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let answer = |what: &str| format!("/oauth/callback?{what}&state={state}&iss={}", rig.base_url());
        let carried = format!("{base}{}", answer("code=any"));
        let saw = Browser::new().goto("other", &carried).read("other").look("other", "another-browser");
        let saw = saw.run().await.unwrap();
        let page = seen(&saw[0]);
        assert_eq!(
            (page.status, page.title.as_str()),
            (403, "Another browser began this · jeton"),
            "{page:?}"
        );
        assert_eq!(rig.stats().await.unwrap().token_requests, 0);
        // The one that began it goes on.
        let own = Client::new(&base).with_header("cookie", &cookie).get(&answer("code=any")).await.unwrap();
        assert_eq!(own.status, 502, "{}", own.text());
    })
    .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(rig.stats().await.unwrap().grant_errors.get("invalid_grant"), Some(&1));
}
