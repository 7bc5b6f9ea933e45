//! TLS of a listener: its certificate and key, which can be replaced while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::error::{Result, tls_invalid};

/// The certificate chain and the key of a server, with the files that they come from.
pub struct TlsIdentity {
    certificate: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

impl TlsIdentity {
    /// Reads a certificate chain and its key, both PEM. Error: `tls-invalid`.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<TlsIdentity>> {
        let config = RwLock::new(read(certificate, key)?);
        Ok(Arc::new(TlsIdentity { certificate: certificate.to_owned(), key: key.to_owned(), config }))
    }

    /// Reads the files again. New connections use them. On error the old ones stay in use.
    pub fn reload(&self) -> Result<()> {
        let config = read(&self.certificate, &self.key)?;
        *self.config.write() = config;
        Ok(())
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().clone())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let failed = |path: &Path, why: &dyn std::fmt::Display| {
        tls_invalid(format!("{}: {why}", path.display()))
            .hint("--tls-cert names a PEM file with the certificate and its chain, --tls-key one with its private key")
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(|error| failed(certificate, &error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| failed(certificate, &error))?;
    if chain.is_empty() {
        return Err(failed(certificate, &"it contains no certificate"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(certificate, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| failed(key, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
