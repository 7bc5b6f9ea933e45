//! When a certificate ends: one in a file, or that of a server.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
};

use super::finding::{DAY_MS, Finding};
use crate::cli::print;

const CHECK: &str = "certificate";
/// Time before its end at which there is a warning.
const WARNING_MS: i64 = 14 * DAY_MS;
/// A moment after the end of every certificate, in the year 9999.
const FAR_FUTURE: Duration = Duration::from_secs(253_402_300_000);
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Checks the certificate in a PEM file.
pub fn of_file(file: &Path, now_ms: i64) -> Finding {
    match end_of_file_ms(file) {
        Ok(end_ms) => judge(&file.display().to_string(), end_ms, now_ms),
        Err(why) => Finding::fail(
            CHECK,
            format!("{}: {why}", file.display()),
            "name a PEM file with a certificate and its chain",
        ),
    }
}

/// Returns when the certificate in a file ends, or why that cannot be read.
pub(super) fn end_of_file_ms(file: &Path) -> Result<i64, String> {
    let certificate = CertificateDer::from_pem_file(file).map_err(|error| error.to_string())?;
    end_ms(&certificate).ok_or_else(|| "it cannot be read as a certificate".to_owned())
}

/// Checks the certificate of a server. Returns `None` if the server does not send one.
pub fn of_server(host: &str, port: u16, now_ms: i64) -> Option<Finding> {
    let end_ms = server_end_ms(host, port)?;
    Some(judge(&format!("that of {host}"), end_ms, now_ms))
}

fn judge(name: &str, end_ms: i64, now_ms: i64) -> Finding {
    let (at, rest_ms) = (print::time(end_ms), end_ms.saturating_sub(now_ms));
    const REMEDY: &str = "replace the files of --tls-cert and --tls-key, and send SIGHUP to the server";
    match rest_ms {
        ..0 => Finding::fail(CHECK, format!("{name} has ended at {at}"), REMEDY),
        0..WARNING_MS => Finding::warn(CHECK, format!("{name} ends in {} days, at {at}", rest_ms / DAY_MS), REMEDY),
        _ => Finding::ok(CHECK, format!("{name} ends at {at}")),
    }
}

/// Returns when a certificate ends, in milliseconds since the Unix epoch.
fn end_ms(certificate: &CertificateDer<'_>) -> Option<i64> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let far_future = UnixTime::since_unix_epoch(FAR_FUTURE);
    // Validity is checked before anything else, and the error says when it ends.
    let checked =
        verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], far_future, algorithms);
    match checked {
        Err(TlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            i64::try_from(not_after.as_secs()).ok()?.checked_mul(1000)
        }
        _ => None,
    }
}

/// Begins a handshake, and ends it as soon as the server has sent its certificate.
fn server_end_ms(host: &str, port: u16) -> Option<i64> {
    let seen = Arc::new(CertificateReader::default());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut addresses = (host, port).to_socket_addrs().ok()?;
    let mut stream = addresses.find_map(|address| TcpStream::connect_timeout(&address, CONNECT_TIME).ok())?;
    stream.set_read_timeout(Some(CONNECT_TIME)).ok()?;
    stream.set_write_timeout(Some(CONNECT_TIME)).ok()?;
    // Fails always: the reader refuses every certificate.
    let _ = connection.complete_io(&mut stream);
    *seen.end_ms.lock()
}

/// Remembers when the certificate of a server ends, and refuses it, so that nothing is sent to the server.
#[derive(Debug, Default)]
struct CertificateReader {
    end_ms: Mutex<Option<i64>>,
}

impl ServerCertVerifier for CertificateReader {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        *self.end_ms.lock() = end_ms(certificate);
        Err(refused())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(refused())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(refused())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn refused() -> TlsError {
    TlsError::General("the certificate has been read".to_owned())
}
