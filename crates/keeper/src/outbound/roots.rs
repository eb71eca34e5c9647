//! Whom token endpoints and APIs may be certified by.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Certificate authorities that are trusted besides the public ones that are built in and those of the operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads certificates in PEM (RFC 7468); anything else in the text is passed over.
    ///
    /// # Errors
    /// There is none, or one is broken, in words that complete a sentence about the text.
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        let mut known = RootCertStore::empty();
        let mut roots = Vec::new();
        for (index, certificate) in CertificateDer::pem_slice_iter(text).enumerate() {
            let broken = |error: String| {
                format!("cannot be used: its certificate number {} is broken ({error})", index + 1)
            };
            let certificate = certificate.map_err(|error| broken(error.to_string()))?;
            known.add(certificate.clone()).map_err(|error| broken(error.to_string()))?;
            roots.push(certificate);
        }
        if roots.is_empty() {
            return Err("holds no certificate (`-----BEGIN CERTIFICATE-----`)".to_owned());
        }
        Ok(Self(roots))
    }

    /// All that are trusted: the public authorities, these, and those of the operating system, as a company installs its own
    /// on every machine. On Linux `SSL_CERT_FILE` and `SSL_CERT_DIR` say where the latter are, else the usual places are
    /// read.
    pub(super) fn store(&self) -> RootCertStore {
        let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        // Each was taken by a store before.
        store.add_parsable_certificates(self.0.iter().cloned());
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "an authority that the system trusts cannot be read");
        }
        store.add_parsable_certificates(found.certs);
        store
    }
}
