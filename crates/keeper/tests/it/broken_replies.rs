//! Replies that do not come to their end, over TCP and TLS, and what is kept of them.

use std::sync::Arc;
use std::time::Duration;

use jeton_core::keep::attempt::AttemptStatus;
use jeton_core::keep::provider::ErrorClass;
use jeton_core::seal::SealContext;
use jeton_core::secret::Secret;
use jeton_keeper::{Grant, Roots, Settings, TokenError};
use jeton_testkit::TestServer;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::fixture::{ACME, Fixture, Options, short_settings};
use crate::process::Process;

const JSON: &str = r#"{"access_token":"at-1-xxxxxxxx","expires_in":3600,"refresh_token":"rt-1-yyyyyyyy"}"#;
const FORM: &str = "access_token=at-1-xxxxxxxx&expires_in=3600&refresh_token=rt-1-yyyyyyyy";

/// A server whose certificate the settings trust.
struct Certified {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    roots: Roots,
}

impl Certified {
    fn new() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate is made");
        let roots = Roots::from_pem(made.cert.pem().as_bytes()).expect("it can be trusted");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("it is a key");
        Self { certificate: made.cert.der().clone(), key, roots }
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_of(ServerConfig::builder().with_no_client_auth())
    }

    /// Asks for a certificate that nobody has.
    fn strict_acceptor(&self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it can be trusted");
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("it can verify");
        self.acceptor_of(ServerConfig::builder().with_client_cert_verifier(verifier))
    }

    fn acceptor_of(
        &self,
        config: rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    ) -> TlsAcceptor {
        let config = config
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("they belong together");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Reads a request and writes a reply.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), reply: &str) {
    let mut request = Vec::new();
    while !String::from_utf8_lossy(&request).contains("refresh_token=") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    stream.write_all(reply.as_bytes()).await.expect("the client reads it");
    stream.flush().await.expect("the client reads it");
}

/// A server that writes `reply` over TLS, and ends TLS if it is `polite`.
async fn over_tls(acceptor: TlsAcceptor, reply: String, polite: bool) -> TestServer {
    TestServer::accepting(move |stream| {
        let (acceptor, reply) = (acceptor.clone(), reply.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            answer(&mut stream, &reply).await;
            if polite {
                stream.shutdown().await.expect("the client is there");
            }
        }
    })
    .await
}

async fn over_tcp(reply: String) -> TestServer {
    TestServer::accepting(move |mut stream| {
        let reply = reply.clone();
        async move { answer(&mut stream, &reply).await }
    })
    .await
}

/// A connection with a refresh token and no living access token, whose endpoint is that server.
async fn connected(scheme: &str, server: &TestServer, roots: Roots) -> (Fixture, Process) {
    let token_url = Some(format!("{scheme}://{}/token", server.address));
    let settings = Settings {
        outbound: jeton_keeper::OutboundSettings { roots, ..Default::default() },
        lease: Duration::from_secs(20),
        redeem_timeout: Duration::from_secs(15),
        wait: Duration::from_secs(30),
        ..short_settings()
    };
    let (fixture, process) = Fixture::with(Options { settings, token_url, ..Options::default() }).await;
    process.connect(ACME, Grant { refresh: Some(Secret::new("rt-0")), ..Grant::default() }).await;
    (fixture, process)
}

async fn message(process: &Process) -> String {
    process.last_attempt(ACME).await.message.unwrap_or_default()
}

/// The raw reply that was kept, opened.
async fn kept(fixture: &Fixture, process: &Process) -> Option<String> {
    let attempt = process.last_attempt(ACME).await;
    let sealed = process.store.find_kept_reply(attempt.id).await.expect("the store answers")?;
    let row = attempt.id.to_string();
    let place = SealContext { table: "attempts", row: &row, field: "kept_reply", generation: 0 };
    let opened = fixture.sealer(process).await.open(&sealed, place).expect("it opens");
    Some(String::from_utf8_lossy(&opened).into_owned())
}

fn head(framing: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{framing}\r\n")
}

#[tokio::test]
async fn a_whole_document_is_read_over_tls_that_nobody_ends_and_the_refresh_log_says_so() {
    for (polite, warns) in [(true, false), (false, true)] {
        let certified = Certified::new();
        let server = over_tls(certified.acceptor(), head("") + JSON, polite).await;
        let (fixture, process) = connected("https", &server, certified.roots).await;
        assert_eq!(process.token(ACME).await.unwrap().access.reveal(), "at-1-xxxxxxxx");
        assert_eq!(fixture.held_refresh(&process, ACME).await.unwrap().reveal(), "rt-1-yyyyyyyy");
        assert_eq!(message(&process).await.contains("no close_notify"), warns);
    }
}

#[tokio::test]
async fn a_form_is_read_only_where_its_end_is_certain_and_the_message_says_what_ended_it() {
    let certified = Certified::new();
    for (framing, polite, expected) in [
        ("", false, Some("closed the TCP connection without ending TLS (no close_notify)")),
        ("", true, None),
        ("Content-Length: 900\r\n", true, Some("the server ended TLS, 830 bytes before the end")),
        ("Content-Length: 70\r\n", false, None),
    ] {
        let server = over_tls(certified.acceptor(), head(framing) + FORM, polite).await;
        let (fixture, process) = connected("https", &server, certified.roots.clone()).await;
        let given = process.token(ACME).await;
        let Some(expected) = expected else {
            assert_eq!(given.unwrap().access.reveal(), "at-1-xxxxxxxx");
            continue;
        };
        assert!(matches!(given, Err(TokenError::Interrupted { .. })), "{given:?}");
        assert!(message(&process).await.contains(expected), "{}", message(&process).await);
        assert!(kept(&fixture, &process).await.unwrap().ends_with(FORM));
    }
    let server = over_tcp(head("Content-Length: 900\r\n") + FORM).await;
    let (_fixture, process) = connected("http", &server, Roots::default()).await;
    assert!(matches!(process.token(ACME).await, Err(TokenError::Interrupted { .. })));
    assert!(
        message(&process).await.contains("the server closed the TCP connection, 830 bytes before the end")
    );
}

#[tokio::test]
async fn what_came_of_a_broken_reply_is_kept_sealed_and_never_taken_for_a_token() {
    let cut = &JSON[..60];
    for body in [cut, FORM, "access_token=at-1-xxxxxxxx&refresh_token=rt-1"] {
        let server = over_tcp(head("Content-Length: 900\r\n") + body).await;
        let (fixture, process) = connected("http", &server, Roots::default()).await;
        assert!(matches!(process.token(ACME).await, Err(TokenError::Interrupted { .. })));
        let attempt = process.last_attempt(ACME).await;
        assert_eq!((attempt.http_status, attempt.code.as_deref()), (Some(200), Some("no_reply")));
        assert!(kept(&fixture, &process).await.unwrap().ends_with(body));
        // A new process looks at it again before anything else.
        let later = fixture.process().await;
        assert!(later.token(ACME).await.is_err(), "{body}");
        assert_eq!(later.last_attempt(ACME).await.status, AttemptStatus::Interrupted);
        assert_eq!(later.row(ACME).await.generation.0, 1);
    }
}

#[tokio::test]
async fn nothing_of_a_refusal_that_breaks_off_is_kept() {
    let reply = "HTTP/1.1 400 Bad Request\r\nContent-Length: 900\r\n\r\n{\"error\":\"inva";
    let server = over_tcp(reply.to_owned()).await;
    let (fixture, process) = connected("http", &server, Roots::default()).await;
    assert!(matches!(process.token(ACME).await, Err(TokenError::Interrupted { .. })));
    assert_eq!(process.last_attempt(ACME).await.http_status, Some(400));
    assert_eq!(kept(&fixture, &process).await, None);
}

#[tokio::test]
async fn a_refusal_that_is_whole_counts_although_its_length_is_wrong() {
    let reply = "HTTP/1.1 400 Bad Request\r\nContent-Length: 900\r\n\r\n{\"error\":\"invalid_client\"}";
    let server = over_tcp(reply.to_owned()).await;
    let (_fixture, process) = connected("http", &server, Roots::default()).await;
    let failed = process.token(ACME).await;
    let Err(TokenError::Failed { class: ErrorClass::BadClient, .. }) = failed else { panic!("{failed:?}") };
}

#[tokio::test]
async fn a_server_that_refuses_the_handshake_after_the_request_was_written_has_read_nothing() {
    let certified = Certified::new();
    let server = over_tls(certified.strict_acceptor(), head("") + JSON, true).await;
    let (_fixture, process) = connected("https", &server, certified.roots).await;
    let failed = process.token(ACME).await;
    let Err(TokenError::Failed { class, code, .. }) = &failed else { panic!("{failed:?}") };
    assert_eq!((*class, code.as_str()), (ErrorClass::Transient, "not_sent"));
    let said = message(&process).await;
    assert!(said.contains("no TLS with `127.0.0.1` at") && said.contains("CertificateRequired"), "{said}");
    assert_eq!(process.row(ACME).await.open_attempt, None);
}

/// Sends headers of its own.
const OWN_HEADERS: &str = own_provider!(
    one_time_tokens,
    r#"
headers = { User-Agent = "linux:com.acme.bot:v1.2 (by /u/acme)", ACCEPT = "*/*", X_Key = "1", X-Key = "2" }
"#
);

#[tokio::test]
async fn headers_of_the_provider_file_replace_ours_in_any_case() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let server = TestServer::accepting(move |mut stream| {
        let tell = tell.clone();
        async move {
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).contains("refresh_token=") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            tell.send(String::from_utf8(request).unwrap().to_ascii_lowercase()).unwrap();
            stream.write_all((head("") + JSON).as_bytes()).await.unwrap();
        }
    })
    .await;
    let token_url = Some(format!("http://{}/token", server.address));
    let options = Options { token_url, provider: Some(OWN_HEADERS), ..Options::default() };
    let (_fixture, process) = Fixture::with(options).await;
    process.connect(ACME, Grant { refresh: Some(Secret::new("rt-0")), ..Grant::default() }).await;
    process.token(ACME).await.unwrap();
    let sent = told.recv().await.unwrap();
    let values = |name: &str| -> Vec<&str> {
        sent.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    };
    assert_eq!(values("user-agent"), ["linux:com.acme.bot:v1.2 (by /u/acme)"]);
    assert_eq!(values("accept"), ["*/*"]);
    assert_eq!((values("x_key"), values("x-key")), (vec!["1"], vec!["2"]));
    assert_eq!((values("accept-encoding"), values("connection")), (vec!["identity"], vec!["close"]));
}
