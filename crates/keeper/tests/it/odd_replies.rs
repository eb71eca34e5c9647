//! A reply that common clients can read is read: it may be the only copy of a one-time token.

mod bodies;
mod corpus;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use jeton_core::secret::Secret;
use jeton_core::time::Clock as _;
use jeton_keeper::{Grant, PastedAnswer, Settings, TokenError};
use jeton_testkit::TestServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{ACME, Fixture, Options, names, short_settings};
use crate::process::operator;
use crate::{exchange, introspection};
use corpus::{ACCESS, OddReply, REFRESH, Then, codings, contents, corpus, ends, heads};

/// Answers the request that names `case-N` with the reply of that index.
async fn serve(replies: Arc<Vec<OddReply>>) -> TestServer {
    TestServer::accepting(move |stream| answer(stream, Arc::clone(&replies))).await
}

async fn answer(mut stream: TcpStream, replies: Arc<Vec<OddReply>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let (_, number) = request.split_once("case-").expect("it names the reply");
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    let reply = &replies[digits.parse::<usize>().expect("a number")];
    // A client may have gone by then.
    let _ = stream.write_all(&reply.bytes).await;
    match reply.then {
        Then::Close => {}
        Then::Reset => {
            // What was written must have arrived: a reset takes what is still on its way.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = stream.set_zero_linger();
        }
        Then::Wait => while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {},
    }
}

/// The whole request; absent when the client goes before.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lines = head.to_ascii_lowercase();
        let length =
            lines.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            return Some(text);
        }
    }
}

/// As many at once as it takes for a store to write them together.
const AT_ONCE: usize = 32;

fn patient_settings() -> Settings {
    Settings {
        lease: Duration::from_secs(40),
        redeem_timeout: Duration::from_secs(30),
        wait: Duration::from_mins(1),
        provider_concurrency: AT_ONCE,
        // One token endpoint never gets all of them.
        spill_slots: 2 * AT_ONCE,
        ..short_settings()
    }
}

/// What became of each reply: the tokens that are held now, or the error.
async fn read_all(replies: &Arc<Vec<OddReply>>) -> Vec<Result<(String, Option<Secret>), TokenError>> {
    let server = serve(Arc::clone(replies)).await;
    let names = names(replies.len());
    let token_url = Some(format!("http://{}/token", server.address));
    let settings = patient_settings();
    let (fixture, process) =
        Fixture::with(Options { settings, token_url, names: names.clone(), ..Options::default() }).await;
    let (fixture, process) = (&fixture, &process);
    let each = futures_util::stream::iter(names.iter().enumerate()).map(|(index, name)| async move {
        let refresh = Some(Secret::new(format!("case-{index}")));
        process.connect(name, Grant { refresh, ..Grant::default() }).await;
        let mut token = process.token(name).await;
        if let Err(TokenError::ProviderUnavailable { .. }) = &token {
            // Several replies in a row that nobody can read look like an outage, which does not stop a person.
            process.force(name).await?;
            token = process.token(name).await;
        }
        let token = token?;
        Ok((token.access.reveal().to_owned(), fixture.held_refresh(process, name).await))
    });
    each.buffered(AT_ONCE).collect().await
}

async fn assert_read(replies: Vec<OddReply>) {
    let replies = Arc::new(replies);
    let expected = (ACCESS.to_owned(), Some(Secret::new(REFRESH)));
    let mut wrong = Vec::new();
    for (reply, outcome) in replies.iter().zip(read_all(&replies).await) {
        let right = match &outcome {
            Ok(tokens) => reply.readable && *tokens == expected,
            Err(error) => !reply.readable && matches!(error, TokenError::Interrupted { .. }),
        };
        if !right {
            wrong.push(format!("{}: {outcome:?}", reply.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), replies.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_reply_is_read_however_odd_its_head() {
    assert_read(heads()).await;
}

#[tokio::test]
async fn a_reply_is_read_however_odd_its_end_and_no_half_is_taken_for_the_whole() {
    assert_read(ends()).await;
}

#[tokio::test]
async fn a_reply_is_read_whatever_its_coding() {
    assert_read(codings()).await;
}

#[tokio::test]
async fn a_reply_is_read_whatever_its_character_set_and_dialect() {
    assert_read(contents()).await;
}

#[tokio::test]
async fn the_reply_to_the_code_of_a_consent_is_read_like_that_to_a_refresh() {
    let odd = [heads(), codings(), contents()].concat();
    let replies: Arc<Vec<_>> = Arc::new(odd.into_iter().filter(|reply| reply.readable).step_by(4).collect());
    assert!(replies.len() > 40, "{}", replies.len());
    let server = serve(Arc::clone(&replies)).await;
    let token_url = Some(format!("http://{}/token", server.address));
    let options = Options { provider: Some(exchange::provider("")), token_url, ..Options::default() };
    let (fixture, process) = Fixture::with(options).await;
    for (index, reply) in replies.iter().enumerate() {
        let consent = process.vault.start_terminal_consent(ACME, &operator()).await.unwrap();
        let state = consent.url.query_pairs().find(|(key, _)| key == "state").expect("it has a state").1;
        let params = [("state", state.into_owned()), ("code", format!("case-{index}"))];
        let params = params.map(|(name, value)| (name.to_owned(), value)).into();
        let taken = process.vault.finish_terminal_consent(consent.id, PastedAnswer::Address(params)).await;
        assert!(taken.is_ok(), "{}: {taken:?}", reply.name);
        let held = fixture.held_access(&process, ACME).await;
        assert_eq!(held, Some(Secret::new(ACCESS)), "{}", reply.name);
    }
}

/// Introspections that say in odd ways that a token expires at this second.
fn introspections(expiry: u64) -> Vec<(&'static str, Vec<u8>)> {
    let json = format!("{{\"active\":true,\"exp\":{expiry},\"note\":\"caf\u{e9}\"}}");
    let with = |head: &str, body: &[u8]| {
        let head = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let latin = json.replace('\u{e9}', "?").into_bytes();
    let latin: Vec<u8> = latin.into_iter().map(|byte| if byte == b'?' { 0xe9 } else { byte }).collect();
    let lines = "X-Line: x\r\n".repeat(200);
    let chunk =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{json}\r\n", json.len());
    vec![
        ("plain", with("", json.as_bytes())),
        ("a byte order mark", with("", format!("\u{feff}{json}").as_bytes())),
        ("gzip without a header", with("Content-Type: application/json\r\n", &corpus::gzip(json.as_bytes()))),
        ("another character set", with("Content-Type: application/json; charset=iso-8859-1\r\n", &latin)),
        ("a form", with("Content-Type: text/plain\r\n", format!("active=true&exp={expiry}").as_bytes())),
        ("many lines in its head", with(&lines, json.as_bytes())),
        ("no last chunk", chunk.into_bytes()),
    ]
}

#[tokio::test]
async fn an_introspection_is_read_like_the_reply_to_a_refresh() {
    const LIFE: u64 = 1_000;
    let shape = introspections(0).len();
    for index in 0..shape {
        let bytes: Arc<parking_lot::Mutex<Vec<u8>>> = Arc::default();
        let shown = Arc::clone(&bytes);
        let server = TestServer::accepting(move |mut stream: TcpStream| {
            let shown = Arc::clone(&shown);
            async move {
                if read_request(&mut stream).await.is_some() {
                    let bytes = shown.lock().clone();
                    // A client may have gone by then.
                    let _ = stream.write_all(&bytes).await;
                }
            }
        })
        .await;
        let provider = introspection::provider(&format!("http://{}/introspect", server.address));
        let provider = &*provider.replace("hosts = []", "hosts = ['127.0.0.1']").leak();
        let (fixture, process) =
            Fixture::with(Options { provider: Some(provider), ..Options::default() }).await;
        let expiry = fixture.clock.now().as_secs().unsigned_abs() + LIFE;
        let (name, reply) = introspections(expiry).swap_remove(index);
        *bytes.lock() = reply;
        process.connect(ACME, fixture.expired_grant()).await;
        process.token(ACME).await.unwrap();
        let tokens = process.row(ACME).await.tokens.expect("a token set is there");
        let life = tokens.access_expires_at.expect("it is known").since(fixture.clock.now());
        assert!(life <= Duration::from_secs(LIFE + 1), "{name}: {life:?}");
        assert_eq!(process.last_attempt(ACME).await.message, None, "{name}");
    }
}

/// The lists that a program prints.
async fn read_by(program: &str, script: &str, server: &TestServer, count: usize) -> serde_json::Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/odd_replies/").to_owned() + script;
    let mut command = Command::new(program);
    command.args([&script, &format!("http://{}/token", server.address), &count.to_string(), ACCESS, REFRESH]);
    let ended = tokio::task::spawn_blocking(move || command.output()).await.expect("waiting does not panic");
    let ended = ended
        .unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test --only tools` installs it"));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program}: {stderr}");
    serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{program}: {error}: {stderr}"))
}

fn booleans(list: &serde_json::Value) -> Vec<bool> {
    serde_json::from_value(list.clone()).expect("a list of booleans")
}

// What jeton reads of each is what the tests above show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_of_curl_and_requests_and_the_fetch_of_node_read_is_read() {
    let replies = Arc::new(corpus());
    assert!(replies.iter().filter(|reply| reply.readable).count() >= 300);
    let distinct: BTreeSet<_> = replies.iter().map(|reply| &reply.name).collect();
    assert_eq!(distinct.len(), replies.len(), "each has a name of its own");
    let server = serve(Arc::clone(&replies)).await;
    let python = jeton_testkit::python().display().to_string();
    let (by_python, by_node) = tokio::join!(
        read_by(&python, "clients.py", &server, replies.len()),
        read_by("node", "fetch.mjs", &server, replies.len())
    );
    let (curl, requests, node) =
        (booleans(&by_python["curl"]), booleans(&by_python["requests"]), booleans(&by_node));
    let count = |read: &dyn Fn(usize) -> bool| (0..replies.len()).filter(|index| read(*index)).count();
    let mut table = format!(
        "{} replies: curl reads {}, requests {}, fetch of Node.js {}, curl and requests both {}, jeton {}\n",
        replies.len(),
        count(&|index| curl[index]),
        count(&|index| requests[index]),
        count(&|index| node[index]),
        count(&|index| curl[index] && requests[index]),
        count(&|index| replies[index].readable),
    );
    let mut missed = Vec::new();
    for (index, reply) in replies.iter().enumerate() {
        let others = [("curl", curl[index]), ("requests", requests[index]), ("node", node[index])];
        let readers: Vec<_> = others.iter().filter(|(_, reads)| *reads).map(|(name, _)| *name).collect();
        if reply.readable && readers.is_empty() {
            table.extend(["only jeton: ", &reply.name, "\n"]);
        }
        if !reply.readable && readers.len() >= 2 {
            missed.push(format!("{}: {}", reply.name, readers.join(", ")));
        }
    }
    std::io::stdout().write_all(table.as_bytes()).expect("standard output takes it");
    assert!(missed.is_empty(), "read by others:\n{}", missed.join("\n"));
    assert!(count(&|index| curl[index] && requests[index]) >= 200, "{table}");
}
