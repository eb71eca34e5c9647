//! A provider and an API behind TLS, certified by an authority that nobody knows but the settings.

use std::net::SocketAddr;
use std::sync::Arc;

use jeton_gateway::Settings;
use jeton_keeper::{Roots, TokenRequest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::api::{self, Api};
use crate::place::{Place, Plan, refusal};

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
    async fn before(&self, server: SocketAddr) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        api::raw(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // A caller that does not trust the certificate ends it here.
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(server).await.unwrap();
                drop(copy_bidirectional(&mut outside, &mut inside).await);
            }
        })
        .await
    }
}

fn trusting(roots: Roots) -> Plan {
    Plan { settings: Settings { roots, ..Settings::default() }, ..Plan::default() }
}

#[tokio::test]
async fn an_api_that_a_private_authority_certifies_is_called_by_those_who_trust_it_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let api = Api::echo().await;
    let base = format!("https://{}", authority.before(api.address).await);
    let place = Place::built(&base, trusting(authority.roots())).await;
    let token = place.access_token().await;
    for _ in 0..2 {
        assert_eq!(place.client().get("/api/v1/proxy/acme/x").await.unwrap().status, 200);
    }
    assert!(api.got().len() == 2 && api.got().iter().all(|got| got.bearer() == token.reveal()));

    for roots in [other.roots(), Roots::default()] {
        let place = Place::built(&base, trusting(roots)).await;
        let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
        assert_eq!(refusal(&reply, 502), "UPSTREAM_UNREACHABLE");
        assert!(reply.text().contains("no TLS with 127.0.0.1"), "{}", reply.text());
    }
    assert_eq!(api.got().len(), 2, "nobody else got as far as a request");
}

#[tokio::test]
async fn a_token_endpoint_that_a_private_authority_certifies_is_trusted_by_the_same_setting() {
    let authority = Authority::new();
    for (roots, trusted) in [(authority.roots(), true), (Roots::default(), false)] {
        let emulator = jeton_emulator::Emulator::start(jeton_emulator::Settings::default()).await.unwrap();
        let inside: SocketAddr = emulator.base_url().strip_prefix("http://").unwrap().parse().unwrap();
        let token_url = format!("https://{}/token", authority.before(inside).await);
        let plan = Plan { token_url: Some(token_url), ..trusting(roots) };
        let place = Place::around(emulator, "http://127.0.0.1:1", plan).await;
        let given = place.vault.token("acme", TokenRequest::default()).await;
        assert_eq!(given.is_ok(), trusted, "{given:?}");
        assert_eq!(place.emulator.stats().accepted, u64::from(trusted));
    }
}

#[tokio::test]
async fn the_certificate_must_be_for_the_host_that_is_called() {
    let authority = Authority::new();
    let api = Api::echo().await;
    let front = authority.before(api.address).await;
    let place =
        Place::built(&format!("https://localhost:{}", front.port()), trusting(authority.roots())).await;
    let reply = place.client().get("/api/v1/proxy/acme/x").await.unwrap();
    assert_eq!(refusal(&reply, 502), "UPSTREAM_UNREACHABLE");
    assert!(api.got().is_empty());
}
