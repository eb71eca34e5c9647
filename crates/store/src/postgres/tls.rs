//! TLS to the database: which server is trusted, in the four ways that `sslmode` names.

use std::sync::Arc;

use jeton_core::keep::ports::StoreError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{Address, Encryption};

/// What makes a TLS connection of a plain one.
pub(super) fn connector(address: &Address) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let trust: Arc<dyn ServerCertVerifier> = match address.encryption {
        Encryption::Disable | Encryption::Prefer | Encryption::Require => {
            Arc::new(CertificateVerifier { provider: Arc::clone(&provider), known: None, name: false })
        }
        Encryption::VerifyCa | Encryption::VerifyFull => {
            let pinned = certificates(address)?;
            let mut roots = RootCertStore::empty();
            if pinned.is_empty() {
                // As for token endpoints: a company installs its own authority on every machine.
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            roots.add_parsable_certificates(pinned.iter().cloned());
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let chain = chain.build().map_err(|error| unusable(address, &error.to_string()))?;
            let name = address.encryption == Encryption::VerifyFull;
            Arc::new(CertificateVerifier {
                provider: Arc::clone(&provider),
                known: Some(TrustedRoots { chain, pinned }),
                name,
            })
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(address, &error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(trust)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(address: &Address) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let Some(path) = &address.root_certificates else { return Ok(Vec::new()) };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| unusable(address, &error.to_string()))?;
    if found.is_empty() {
        return Err(unusable(address, "it holds no certificate"));
    }
    Ok(found)
}

fn unusable(address: &Address, why: &str) -> StoreError {
    let file = address
        .root_certificates
        .as_ref()
        .map_or("the built-in list and that of the operating system".into(), |path| {
            path.display().to_string()
        });
    StoreError::Refused(format!(
        "the certificates to trust for {} cannot be used ({file}: {why}): name a PEM file by sslrootcert in store.url",
        address.shown
    ))
}

#[derive(Debug)]
struct TrustedRoots {
    chain: Arc<WebPkiServerVerifier>,
    /// A server may show one of the trusted certificates itself, as a self-signed one does.
    pinned: Vec<CertificateDer<'static>>,
}

/// Whom to believe: anyone when nothing is known; else whoever is signed for, with or without the name in the URL.
#[derive(Debug)]
struct CertificateVerifier {
    provider: Arc<CryptoProvider>,
    known: Option<TrustedRoots>,
    name: bool,
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(known) = &self.known else { return Ok(ServerCertVerified::assertion()) };
        if known.pinned.iter().any(|pinned| pinned == shown) {
            if self.name {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(shown)?, server)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let judged = known.chain.verify_server_cert(shown, intermediates, server, ocsp, now);
        match judged {
            // The chain is judged before the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
