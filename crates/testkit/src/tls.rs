//! TLS in front of a plain server, and the authority that certifies it; a proxy that passes TLS on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::api::TestServer;

/// An authority, made for one test.
#[derive(Debug)]
pub struct TestAuthority(CertifiedIssuer<'static, KeyPair>);

impl Default for TestAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl TestAuthority {
    /// A new one.
    ///
    /// # Panics
    /// No key can be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no name is a valid list of names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate can be made"))
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a client, and its key, both in PEM.
    ///
    /// # Panics
    /// No key can be made.
    pub fn client_certificate(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new([name.to_owned()]).expect("it is a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.0).expect("a certificate can be made");
        (certificate.pem(), key.serialize_pem())
    }

    /// TLS in front of a plain server, with a certificate for a name or an address.
    pub async fn tls_in_front_of(&self, server: SocketAddr, name: &str) -> TestServer {
        self.front(server, name, None).await
    }

    /// The same, for clients alone that have a certificate of an authority.
    pub async fn mutual_tls_in_front_of(&self, server: SocketAddr, name: &str, clients: &Self) -> TestServer {
        self.front(server, name, Some(clients)).await
    }

    async fn front(&self, server: SocketAddr, name: &str, clients: Option<&Self>) -> TestServer {
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new([name.to_owned()]).expect("it is a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate can be made");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is a key");
        let config = ServerConfig::builder();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).expect("it is a certificate");
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                config.with_client_cert_verifier(verifier.expect("there is an authority"))
            }
        };
        let config = config.with_single_cert(vec![certificate.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("certificate and key belong together")));
        TestServer::accepting(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                // Who does not trust the certificate, or has none, ends it here.
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let Ok(mut inside) = TcpStream::connect(server).await else { return };
                // Either side may end it.
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            }
        })
        .await
    }
}

/// A proxy for TLS (`CONNECT`) that knows hosts which nobody else knows.
#[derive(Clone, Debug)]
pub struct TestProxy {
    server: TestServer,
    received: Arc<Mutex<Vec<String>>>,
}

impl TestProxy {
    /// A proxy that leads each `HOST:PORT` to an address.
    pub async fn leading(routes: &[(&str, SocketAddr)]) -> Self {
        let routes: BTreeMap<String, SocketAddr> =
            routes.iter().map(|(host, address)| ((*host).to_owned(), *address)).collect();
        let received: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = Arc::clone(&received);
        let server = TestServer::accepting(move |mut outside| {
            let (routes, all) = (routes.clone(), Arc::clone(&all));
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = outside.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let host = head.split(' ').nth(1).unwrap_or_default().to_owned();
                all.lock().push(head);
                let inside = match routes.get(&host) {
                    Some(address) => TcpStream::connect(address).await.ok(),
                    None => None,
                };
                let answer = if inside.is_some() { "200 OK" } else { "502 Bad Gateway" };
                let answered = outside.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await;
                if let (Ok(()), Some(mut inside)) = (answered, inside) {
                    // Either side may end it.
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                }
            }
        })
        .await;
        Self { server, received }
    }

    /// `http://127.0.0.1:PORT`
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The heads of the requests so far.
    pub fn received(&self) -> Vec<String> {
        self.received.lock().clone()
    }
}
