//! A client with nothing between the test and the wire: it sends bytes and keeps the bytes that came back.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jeton_emulator::{Emulator, Settings};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came back before the connection ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) raw: String,
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Whether the body is as long as the head announced.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.raw))
    }

    pub(crate) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_else(|| panic!("no {member} in {}", self.body)).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let head = self.raw.split("\r\n\r\n").next()?;
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends one request and reads until the server closes; `None` when it closed without a word.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.expect("the emulator listens");
    stream.write_all(request(method, path, headers, body).as_bytes()).await.expect("the request is sent");
    let mut bytes = Vec::new();
    // A reset after half an answer is one of the things to be seen here, so its bytes count and its error does not.
    let _reset = stream.read_to_end(&mut bytes).await;
    let raw = String::from_utf8(bytes).expect("answers are text");
    let (head, body) = raw.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("the head has a status");
    let mut answer = Answer { raw: raw.clone(), status, body: body.to_owned(), whole: false };
    let announced: Option<usize> = answer.header("content-length").and_then(|length| length.parse().ok());
    answer.whole = announced == Some(answer.body.len());
    Some(answer)
}

pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: emulator\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub(crate) const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

pub(crate) fn basic() -> String {
    let settings = Settings::default();
    let pair = format!("{}:{}", settings.client_id, settings.client_secret.reveal());
    format!("{FORM}Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

pub(crate) fn refresh_form(token: &str) -> String {
    format!("grant_type=refresh_token&refresh_token={token}")
}

/// Presents a refresh token; `None` when the connection ended without an answer.
pub(crate) async fn try_refresh(emulator: &Emulator, token: &str) -> Option<Answer> {
    send(emulator.address(), "POST", "/token", &basic(), &refresh_form(token)).await
}

pub(crate) async fn refresh(emulator: &Emulator, token: &str) -> Answer {
    try_refresh(emulator, token).await.expect("the emulator answers")
}

pub(crate) async fn call(emulator: &Emulator, access: &str) -> u16 {
    let bearer = format!("Authorization: Bearer {access}\r\n");
    send(emulator.address(), "GET", "/api/account", &bearer, "").await.expect("the resource answers").status
}

/// An emulator and one refresh token minted there.
pub(crate) async fn start(settings: Settings) -> (Emulator, String) {
    let emulator = Emulator::start(settings).await.expect("it starts");
    let token = emulator.mint(1).remove(0).reveal().to_owned();
    (emulator, token)
}
