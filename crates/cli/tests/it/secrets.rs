//! No secret in anything that is written, at the most talkative level.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jeton_emulator::{Behaviour, Fault, FaultKind, Settings};
use jeton_testkit::{Client, FreePort, TestInstallation, grep_tree, jeton_binary};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

use crate::consent::{connect_beside_at, consent_at, open, played, settled, split};
use crate::fixture::{Fixture, PATIENCE};

#[tokio::test]
async fn no_secret_is_written_at_trace_level() {
    let settings = Settings { access_ttl: Duration::from_secs(2), ..Settings::default() };
    let fixture = Fixture::with(settings).await;
    let first = fixture.connect("acme").await;
    // A good reply, then one that cannot be read and is kept, then the one recovery, which the provider refuses.
    fixture.emulator.set_behaviour(Behaviour::from_queue([Fault::none(), Fault::new(FaultKind::Garbage)]));
    let serve =
        fixture.home.command(["serve"]).unwrap().env("JETON__LOG__LEVEL", "trace,hyper=trace,rustls=trace");
    let serve = serve.env("JETON__CONNECTIONS__ACME__POLICY__UNKNOWN_HOLD", "100ms");
    let mut server = serve.serve().unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();
    let mut seen = Vec::new();
    let begun = Instant::now();
    while fixture.emulator.stats().requests < 3 {
        assert!(begun.elapsed() < PATIENCE, "{}", server.output().unwrap());
        seen.extend(ask(&server.client()).await);
        sleep(Duration::from_millis(50)).await;
    }
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();
    assert!(!seen.is_empty(), "{}", server.output().unwrap());

    let second = fixture.connect("acme").await;
    fixture.emulator.set_behaviour(Behaviour::from_queue([Fault::new(FaultKind::WrongClient)]));
    let refresh = fixture.home.command(["refresh", "--force"]).unwrap().env("JETON__LOG__LEVEL", "trace");
    assert!(refresh.run(PATIENCE).await.unwrap().stdout.contains("failed"));

    let written = server.output().unwrap();
    assert!(written.contains("TRACE jeton") || written.contains("DEBUG jeton"), "the level is in force");
    assert!(!written.contains("TRACE hyper") && !written.contains("DEBUG hyper"), "others are held at info");
    seen.sort_unstable();
    seen.dedup();
    let secrets =
        seen.iter().map(String::as_str).chain([first.reveal(), second.reveal(), TestInstallation::API_KEY]);
    for secret in secrets {
        assert_eq!(grep_tree(fixture.home.path(), secret).unwrap(), [], "a secret is written in clear");
    }
    // The settings file is where the client secret was written by its owner.
    let leaks = grep_tree(fixture.home.path(), "emulated-secret").unwrap();
    assert!(leaks.iter().all(|leak| leak.file == fixture.home.settings()), "{leaks:?}");
}

/// Asks for a token and reports it as refused; gives it.
async fn ask(client: &Client) -> Option<String> {
    let reply = client.get("/api/v1/connections/acme/token").await.unwrap();
    let token = reply.json().unwrap()["access_token"].as_str()?.to_owned();
    client.post("/api/v1/connections/acme/token/reject", &json!({ "access_token": token })).await.unwrap();
    Some(token)
}

/// A way to a provider on which everything that is sent to it is read along, and which lets questions about a token wait.
async fn tapped(provider: SocketAddr) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(String::new()));
    let (along, connections) = (Arc::clone(&heard), TaskTracker::new());
    TaskTracker::new().spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let along = Arc::clone(&along);
            connections.spawn(async move {
                let (mut to, mut bytes) = (TcpStream::connect(provider).await?, vec![0; 64 * 1024]);
                loop {
                    tokio::select! {
                        asked = from.read(&mut bytes) => {
                            let asked = &bytes[..asked?];
                            along.lock().push_str(&String::from_utf8_lossy(asked));
                            if asked.windows(11).any(|window| window == b"/introspect") {
                                sleep(Duration::from_secs(1)).await;
                            }
                            to.write_all(asked).await?;
                            if asked.is_empty() {
                                break;
                            }
                        }
                        answered = to.read_u8() => from.write_u8(answered?).await?,
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    (base, heard)
}

/// Everything that was written below `home` holds none of `secrets`, but for the line that shows the link to a person.
fn holds_none(home: &Path, said: &Path, secrets: &[(&str, String)]) {
    let shown = fs::read_to_string(said).unwrap();
    let besides: Vec<&str> = shown.lines().filter(|line| !line.starts_with("{\"link\":")).collect();
    assert!(besides.len() < shown.lines().count(), "{shown}");
    for (what, secret) in secrets {
        let leaks = grep_tree(home, secret).unwrap();
        assert!(leaks.iter().all(|leak| leak.file == said), "the {what} is written in clear: {leaks:?}");
        assert!(
            besides.iter().all(|line| !line.contains(secret)),
            "the {what} is written in clear: {besides:?}"
        );
    }
}

#[tokio::test]
async fn no_secret_of_a_consent_is_written_at_trace_level() {
    let port = FreePort::find().unwrap();
    // It has PKCE, and its token waits in a spill slot until introspection has answered.
    let (emulator, mut connection) = played("salesforce", &port.base_url()).await;
    let (tap, heard) = tapped(emulator.address()).await;
    connection.emulated_at = Some(tap);
    let mut home = TestInstallation::new().unwrap();
    home.add_connection("acme", connection).unwrap();
    settled(&mut home, &port);
    let trace = "trace,hyper=trace,rustls=trace";
    let serve = home.command(["serve"]).unwrap().env("JETON__LOG__LEVEL", trace);
    let mut server = serve.serve_at(port).unwrap();
    server.wait_until_ready(PATIENCE).await.unwrap();

    let (mut secrets, mut said_at) = (Vec::new(), None);
    let finished = connect_beside_at(&home, trace, async |link, said| {
        said_at = Some(said.to_owned());
        let (page, cookie) = open(&link).await;
        let back = consent_at(&page).await;
        let value = |url: &str, name: &str| {
            let (_, rest) = url.split_once(&format!("{name}=")).unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        secrets.push(("ticket", value(&link, "ticket")));
        secrets.push(("state", value(&page, "state")));
        secrets.push(("cookie", cookie.split_once('=').unwrap().1.to_owned()));
        secrets.push(("code", value(&back, "code")));
        let (base, path) = split(&back);
        let client = Client::new(&base).with_header("cookie", &cookie);
        let during = async {
            let begun = Instant::now();
            while !heard.lock().contains("/introspect") {
                assert!(begun.elapsed() < PATIENCE, "{}", server.output().unwrap());
                sleep(Duration::from_millis(10)).await;
            }
            let heard = heard.lock().clone();
            assert!(heard.contains(&format!("code={}", secrets[3].1)), "the code was sent in this very text");
            secrets.push(("verifier", value(&heard, "code_verifier")));
            let (_, access) = heard.rsplit_once("token=").unwrap();
            secrets.push(("access token", access.split('&').next().unwrap().to_owned()));
            let slots = jeton_keeper::inspect_spill_slots(&home.data_dir()).unwrap();
            assert!(slots.iter().any(|(_, state)| *state != jeton_keeper::SlotState::Free), "{slots:?}");
            holds_none(home.path(), said, &secrets);
        };
        let (replied, ()) = tokio::join!(client.get(&path), during);
        let replied = replied.unwrap();
        assert_eq!(replied.status, 303, "{}", replied.text());
    })
    .await;
    assert_eq!(finished.json().unwrap()["renews"], true);
    assert_eq!(secrets.len(), 6);
    server.terminate().unwrap();
    server.wait(PATIENCE).await.unwrap();
    let written = server.output().unwrap();
    assert!(written.contains("connected by consent"), "the consent is in the log: {written}");
    holds_none(home.path(), &said_at.unwrap(), &secrets);
}

#[test]
fn no_other_process_of_the_user_can_read_the_memory_and_no_core_file_is_left() {
    let mut emulate = Command::new(jeton_binary().unwrap());
    emulate.args(["provider", "emulate", "oauth2", "--listen", "127.0.0.1:0"]);
    emulate.current_dir("/").env_clear().stdout(Stdio::piped());
    // The files of a process that root runs are root's in any case.
    if rustix::process::geteuid().is_root() {
        emulate.uid(65_534);
    }
    let mut process = emulate.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let [environment, limits] = ["environ", "limits"].map(|file| format!("/proc/{}/{file}", process.id()));
    let owner = fs::metadata(environment).unwrap().uid();
    let limits = fs::read_to_string(limits).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!((owner, core.split_whitespace().nth(4)), (0, Some("0")), "{core}");
}
