//! TLS to hosts of providers and to proxies.

use std::sync::Arc;

use jeton_core::keep::provider::ClientCertificate;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

use super::roots::Roots;

/// Whom we trust, and how TLS is spoken.
#[derive(Clone, Debug)]
pub(super) struct TlsClient {
    roots: Arc<RootCertStore>,
    /// Without a certificate of ours.
    anonymous: Arc<ClientConfig>,
}

impl TlsClient {
    pub(super) fn new(roots: &Roots) -> Self {
        let roots = Arc::new(roots.store());
        let anonymous = builder(&roots).with_no_client_auth();
        Self { roots, anonymous: Arc::new(over_http1(anonymous)) }
    }

    /// How to shake hands, showing this certificate to a server that asks for one.
    ///
    /// # Errors
    /// The certificate or its key cannot be used.
    pub(super) fn config(
        &self,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<ClientConfig>, String> {
        let Some(certificate) = certificate else { return Ok(Arc::clone(&self.anonymous)) };
        let (chain, key) = read(certificate)?;
        let config = builder(&self.roots).with_client_auth_cert(chain, key);
        Ok(Arc::new(over_http1(
            config.map_err(|error| format!("the client certificate is of no use ({error})"))?,
        )))
    }
}

/// Sees that a certificate and its key can be read, and belong together.
///
/// # Errors
/// What is wrong, in words that hold nothing of the key.
pub fn check_client_certificate(certificate: &ClientCertificate) -> Result<(), String> {
    let (chain, key) = read(certificate)?;
    CertifiedKey::from_der(chain, key, &provider())
        .map(drop)
        .map_err(|error| format!("the certificate and the key do not fit together ({error})"))
}

fn read(
    certificate: &ClientCertificate,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the client certificate is broken ({error})"))?;
    if chain.is_empty() {
        return Err("there is no client certificate (`-----BEGIN CERTIFICATE-----`)".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(certificate.key.reveal().as_bytes())
        .map_err(|_| "the key of the client certificate is no unencrypted private key in PEM".to_owned())?;
    Ok((chain, key))
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn builder(
    roots: &Arc<RootCertStore>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .expect("the crypto provider supports TLS 1.2 and 1.3")
        .with_root_certificates(Arc::clone(roots))
}

/// HTTP/1.1 only: an HTTP/2 connection may be shared and its requests re-sent by layers below us.
fn over_http1(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
