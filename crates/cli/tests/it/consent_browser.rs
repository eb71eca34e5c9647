//! A person consents in a real browser, on the pages of a server that others wrote.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jeton_testkit::{
    Browser, Client, FreePort, OidcRig, OidcSettings, PageContent, PageLayout, TestInstallation,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::consent::{connect_beside, open, serve, settled, without_refresh};
use crate::fixture::PATIENCE;

/// How a consent is given on the pages that oidc-provider has for trying things out.
fn sign_in(browser: Browser, name: &str) -> Browser {
    browser
        .fill(name, "input[name=login]", "somebody")
        .fill(name, "input[name=password]", "anything")
        .click(name, "button[type=submit]")
        .until(name, "Authorize")
}

/// The page as it was read, without the browser's own remark on its status, which is judged by itself.
fn seen(value: &Value) -> PageContent {
    let mut page: PageContent = serde_json::from_value(value.clone()).unwrap();
    let status = format!("a status of {}", page.status);
    page.console.retain(|line| !line.contains(&status));
    page
}

/// A page that runs nothing, loads nothing, breaks no policy of its own, and fits every window by day and by night.
fn stands_well(page: &PageContent, looks: &[Value]) {
    assert_eq!((page.loaded.as_slice(), page.console.as_slice()), (&[][..], &[][..]), "{page:?}");
    let looks: Vec<PageLayout> =
        looks.iter().map(|look| serde_json::from_value(look.clone()).unwrap()).collect();
    assert_eq!(looks.len(), 4);
    assert!(looks.iter().all(|look| look.page_width <= look.width), "{looks:?}");
    assert_ne!(looks[0].background, looks[1].background, "day and night differ: {looks:?}");
    assert!(looks.iter().all(|look| look.background != look.color), "{looks:?}");
}

/// A person opens a link and presses the button on its page.
fn press(browser: Browser, name: &str, link: &str) -> Browser {
    browser.goto(name, link).until(name, "Connect an account").click(name, "button[type=submit]")
}

#[tokio::test]
async fn a_person_consents_on_the_pages_of_a_server_that_others_wrote() {
    let port = FreePort::find().unwrap();
    let redirect_uri = Some(format!("{}/oauth/callback", port.base_url()));
    let settings = OidcSettings { access_ttl: Duration::from_secs(3), redirect_uri };
    let rig = OidcRig::start(settings).await.unwrap();
    let mut home = TestInstallation::new().unwrap();
    home.add_connection("acme", rig.consented_connection()).unwrap();
    settled(&mut home, &port);
    let mut server = serve(&home, port).await;

    let finished = connect_beside(&home, async |link, _| {
        let plan = Browser::new().goto("own", &link).read("own").measure("own", "link");
        let plan = sign_in(press(plan, "own", &link), "own").click("own", "button[type=submit]");
        let plan = plan.until("own", "You can close this page").read("own").measure("own", "success");
        let plan = plan.reload("own").read("own");
        // The same link once more, and in another browser.
        let plan = plan.goto("own", &link).read("own").measure("own", "used-link");
        let plan = plan.goto("other", &link).read("other");
        let saw = plan.run().await.unwrap();
        for (index, title) in [(0, "Connect an account · jeton"), (5, "Connected · jeton")] {
            let page = seen(&saw[index]);
            assert_eq!((page.status, page.title.as_str()), (200, title), "{page:?}");
            stands_well(&page, &saw[index + 1..index + 5]);
        }
        let reloaded = seen(&saw[10]);
        assert_eq!((reloaded.status, reloaded.title.as_str()), (200, "Connected · jeton"), "{reloaded:?}");
        assert!(!reloaded.url.contains("code=") && !reloaded.url.contains("state="), "{reloaded:?}");
        for used in [seen(&saw[11]), seen(&saw[16])] {
            assert_eq!((used.status, used.title.as_str()), (410, "This link was used · jeton"), "{used:?}");
        }
        stands_well(&seen(&saw[11]), &saw[12..16]);
    })
    .await;
    assert_eq!(finished.json().unwrap()["result"], "stored");

    // It goes on by itself: tokens of 3 s are replaced again and again, each refresh token used once.
    let client = server.client();
    let begun = Instant::now();
    while rig.stats().await.unwrap().refresh_ok < 3 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.output().unwrap());
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
    let mut home = TestInstallation::new().unwrap();
    home.add_connection("acme", rig.consented_connection()).unwrap();
    settled(&mut home, &port);
    let _server = serve(&home, port).await;

    // The person cancels at the provider.
    let finished = connect_beside(&home, async |link, _| {
        let plan = sign_in(press(Browser::new(), "own", &link), "own").click("own", "a[href$=abort]");
        let plan = plan.until("own", "Consent refused").read("own").measure("own", "refused");
        // Pages that anybody can come by.
        let plan = plan.goto("own", &format!("{base}/oauth/callback")).read("own").measure("own", "no-state");
        let plan = plan
            .goto("own", &format!("{base}/oauth/authorize?ticket=none"))
            .read("own")
            .measure("own", "unknown-link");
        let plan = plan
            .goto("own", &format!("{base}/oauth/callback?state=a&code=b"))
            .read("own")
            .measure("own", "unknown-state");
        let saw = plan.run().await.unwrap();
        for (index, status, title) in [
            (0, 403, "Consent refused · jeton"),
            (5, 400, "Nothing to do here · jeton"),
            (10, 404, "Unknown link · jeton"),
            (15, 400, "Unknown sign-in · jeton"),
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
        let saw = Browser::new().goto("other", &carried).read("other").measure("other", "another-browser");
        let saw = saw.run().await.unwrap();
        let page = seen(&saw[0]);
        assert_eq!((page.status, page.title.as_str()), (403, "Wrong browser · jeton"), "{page:?}");
        assert_eq!(rig.stats().await.unwrap().token_requests, 0);
        // The one that began it goes on.
        let own = Client::new(&base).with_header("cookie", &cookie).get(&answer("code=any")).await.unwrap();
        assert_eq!(own.status, 303, "{}", own.text());
    })
    .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(rig.stats().await.unwrap().grant_errors.get("invalid_grant"), Some(&1));
}

/// A proxy that takes `/tokens` away from the paths of its requests, and passes the rest on; what it was asked is kept.
struct Proxy {
    base: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/tokens", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (asked, connections) = (Arc::clone(&heads), TaskTracker::new());
        TaskTracker::new().spawn(async move {
            while let Ok((browser, _)) = listener.accept().await {
                connections.spawn(pass_on(browser, server, Arc::clone(&asked)));
            }
        });
        Self { base, heads }
    }

    /// The requests to a path, as browsers sent them.
    fn asked(&self, start: &str) -> Vec<String> {
        self.heads.lock().iter().filter(|head| head.starts_with(start)).cloned().collect()
    }
}

async fn pass_on(
    mut browser: TcpStream,
    server: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(browser.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    asked.lock().push(head.clone());
    let Some((method, rest)) = head.split_once(" /tokens/") else {
        return browser
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
    };
    let mut server = TcpStream::connect(server).await?;
    let head = format!("{method} /{rest}").replace("Connection: keep-alive", "Connection: close");
    server.write_all(head.as_bytes()).await?;
    copy_bidirectional(&mut browser, &mut server).await.map(drop)
}

#[tokio::test]
async fn behind_a_proxy_with_a_path_the_cookie_comes_back_and_then_goes_away() {
    let port = FreePort::find().unwrap();
    let proxy = Proxy::before(port.address()).await;
    let redirect_uri = Some(format!("{}/oauth/callback", proxy.base));
    let rig = OidcRig::start(OidcSettings { redirect_uri, ..OidcSettings::default() }).await.unwrap();
    let mut home = TestInstallation::new().unwrap();
    home.add_connection("acme", rig.consented_connection()).unwrap();
    settled(&mut home, &port);
    home.set("server", "public_url", proxy.base.as_str()).unwrap();
    let _server = serve(&home, port).await;

    let finished = connect_beside(&home, async |link, _| {
        assert!(link.starts_with(&proxy.base), "{link}");
        let plan = sign_in(press(Browser::new(), "own", &link), "own").click("own", "button[type=submit]");
        let plan = plan.until("own", "You can close this page");
        plan.goto("own", &link).until("own", "This link was used").run().await.unwrap();
    })
    .await;
    assert_eq!(finished.json().unwrap()["result"], "stored");

    let back = proxy.asked("GET /tokens/oauth/callback?");
    assert!(matches!(&back[..], [one] if one.contains("Cookie: jeton-")), "{back:?}");
    let looked = proxy.asked("GET /tokens/oauth/authorize?");
    assert!(looked.len() >= 2 && looked.iter().all(|head| !head.contains("jeton-")), "{looked:?}");
}

#[tokio::test]
async fn a_grant_without_a_refresh_token_looks_like_one_that_ends() {
    let port = FreePort::find().unwrap();
    let (home, _emulator) = without_refresh(&port).await;
    let _server = serve(&home, port).await;
    let finished = connect_beside(&home, async |link, _| {
        // The provider that is played consents at once.
        let plan = press(Browser::new(), "own", &link).until("own", "Connected for now");
        let saw = plan.read("own").measure("own", "for-a-while").run().await.unwrap();
        let page = seen(&saw[0]);
        assert_eq!((page.status, page.title.as_str()), (200, "Connected for now · jeton"), "{page:?}");
        stands_well(&page, &saw[1..5]);
    })
    .await;
    finished.success().unwrap();
}

#[tokio::test]
async fn an_answer_that_the_provider_posts_as_a_form_from_another_site_connects_too() {
    let port = FreePort::find().unwrap();
    // Another site than that of the provider, whose form comes without cookies (SameSite=Lax).
    let base = format!("http://localhost:{}", port.number());
    let redirect_uri = Some(format!("{base}/oauth/callback"));
    let rig = OidcRig::start(OidcSettings { redirect_uri, ..OidcSettings::default() }).await.unwrap();
    let mut connection = rig.consented_connection();
    let page = format!("{}/auth?prompt=consent&response_mode=form_post", rig.base_url());
    connection.vars.insert("authorize_url".to_owned(), page);
    let mut home = TestInstallation::new().unwrap();
    home.add_connection("acme", connection).unwrap();
    settled(&mut home, &port);
    home.set("server", "public_url", base.as_str()).unwrap();
    let _server = serve(&home, port).await;

    let finished = connect_beside(&home, async |link, _| {
        assert!(link.starts_with(&base), "{link}");
        let plan = sign_in(press(Browser::new(), "own", &link), "own").click("own", "button[type=submit]");
        let plan = plan.until("own", "You can close this page").read("own").reload("own").read("own");
        let saw = plan.run().await.unwrap();
        for page in [seen(&saw[0]), seen(&saw[1])] {
            assert_eq!((page.status, page.title.as_str()), (200, "Connected · jeton"), "{page:?}");
            assert!(!page.url.contains("code=") && !page.url.contains("state="), "{page:?}");
        }
    })
    .await;
    assert_eq!(finished.json().unwrap()["result"], "stored");

    // The person says no: the refusal is posted too.
    let finished = connect_beside(&home, async |link, _| {
        let plan = sign_in(press(Browser::new(), "own", &link), "own").click("own", "a[href$=abort]");
        let saw = plan.until("own", "Consent refused").read("own").run().await.unwrap();
        assert_eq!(seen(&saw[0]).status, 403);
    })
    .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(rig.stats().await.unwrap().code_ok, 1);
}
