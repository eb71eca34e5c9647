//! A provider and an API behind TLS, certified by an authority that only the settings name.

use std::net::SocketAddr;
use std::sync::Arc;

use jeton_gateway::Settings;
use jeton_keeper::{Roots, TokenRequest};
use jeton_testkit::TestServer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::fixture::{Fixture, Options, echo_api, error_code};

/// An authority, made for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(self.0.pem().as_bytes()).unwrap()
    }

    /// TLS in front of a plain server, with a certificate for the loopback address.
    async fn tls_in_front_of(&self, server: SocketAddr) -> TestServer {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        TestServer::accepting(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // A caller that does not trust the certificate ends it here.
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            }
        })
        .await
    }
}

fn trusting(roots: Roots) -> Options {
    Options { settings: Settings { roots, ..Settings::default() }, ..Options::default() }
}

#[tokio::test]
async fn an_api_that_a_private_authority_certifies_is_called_only_where_it_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let api = echo_api().await;
    let base = format!("https://{}", authority.tls_in_front_of(api.address()).await.address);
    let fixture = Fixture::with_options(&base, trusting(authority.roots())).await;
    let token = fixture.access_token().await;
    for _ in 0..2 {
        assert_eq!(fixture.get("/x").await.status, 200);
    }
    assert!(
        api.received().len() == 2 && api.received().iter().all(|request| request.bearer() == token.reveal())
    );

    for roots in [other.roots(), Roots::default()] {
        let fixture = Fixture::with_options(&base, trusting(roots)).await;
        let reply = fixture.get("/x").await;
        assert_eq!(error_code(&reply, 502), "UPSTREAM_UNREACHABLE");
        assert!(reply.text().contains("no TLS with `127.0.0.1`"), "{}", reply.text());
    }
    assert_eq!(api.received().len(), 2, "no request was sent without trust");
}

#[tokio::test]
async fn a_token_endpoint_that_a_private_authority_certifies_is_trusted_by_the_same_setting() {
    let authority = Authority::new();
    for (roots, trusted) in [(authority.roots(), true), (Roots::default(), false)] {
        let emulator = jeton_emulator::Emulator::start(jeton_emulator::Settings::default()).await.unwrap();
        let inside: SocketAddr = emulator.base_url().strip_prefix("http://").unwrap().parse().unwrap();
        let token_url = format!("https://{}/token", authority.tls_in_front_of(inside).await.address);
        let options = Options { token_url: Some(token_url), ..trusting(roots) };
        let fixture = Fixture::with_emulator(emulator, "http://127.0.0.1:1", options).await;
        let given = fixture.vault.token("acme", TokenRequest::default()).await;
        assert_eq!(given.is_ok(), trusted, "{given:?}");
        assert_eq!(fixture.emulator.stats().accepted, u64::from(trusted));
    }
}

#[tokio::test]
async fn the_certificate_must_be_for_the_host_that_is_called() {
    let authority = Authority::new();
    let api = echo_api().await;
    let front = authority.tls_in_front_of(api.address()).await;
    let fixture = Fixture::with_options(
        &format!("https://localhost:{}", front.address.port()),
        trusting(authority.roots()),
    )
    .await;
    let reply = fixture.get("/x").await;
    assert_eq!(error_code(&reply, 502), "UPSTREAM_UNREACHABLE");
    assert!(api.received().is_empty());
}
