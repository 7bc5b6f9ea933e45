//! `security = { .. }` of a Kafka source or sink, and its values when a connector is opened.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::client::{SaslMechanism, SecurityProtocol, SecuritySettings};
use crate::access::{PipelinePaths, denied_or};
use crate::error::{Result, peer_denied};
use crate::pipeline::{SecretOrText, SecretReference, Setting, SettingKind, TomlItem, setting_keys};

/// The choices of `protocol` and `mechanism`.
const PROTOCOLS: &[&str] = &["plaintext", "ssl", "sasl-plaintext", "sasl-ssl"];
const MECHANISMS: &[&str] = &["plain", "scram-sha-256", "scram-sha-512"];
/// The settings of sources and sinks that this file reads.
pub(super) const SECURITY_SETTINGS: &[Setting] = &[
    Setting::new("security", SettingKind::Table, "plaintext"),
    Setting::required("security.protocol", SettingKind::Choice(PROTOCOLS)),
    Setting::new("security.ca", SettingKind::Path, "those of the system"),
    Setting::new("security.certificate", SettingKind::Path, ""),
    Setting::new("security.key", SettingKind::Secret, ""),
    Setting::new("security.mechanism", SettingKind::Choice(MECHANISMS), ""),
    Setting::new("security.username", SettingKind::TextOrSecret, ""),
    Setting::new("security.password", SettingKind::Secret, ""),
];
/// Longest certificate file that is read.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// How to encrypt and authenticate, without the values of secrets.
#[derive(Clone, Debug, Default)]
pub(super) struct SecuritySpec {
    protocol: SecurityProtocol,
    /// A PEM file of trusted certificates.
    ca: Option<PathBuf>,
    /// The client's certificate, a PEM file, and its key.
    certificate: Option<(PathBuf, SecretReference)>,
    mechanism: SaslMechanism,
    login: Option<(SecretOrText, SecretReference)>,
}

impl SecuritySpec {
    /// Reads the table.
    pub(super) fn read(item: &TomlItem<'_>) -> Result<SecuritySpec> {
        let section = item.section()?;
        section.check_keys(&setting_keys(SECURITY_SETTINGS, Some("security")))?;
        let protocol = section.need("protocol")?.choose(&SecurityProtocol::ALL)?;
        let without = |keys: &[&str], why: &str| match keys.iter().find_map(|key| section.get(key)) {
            Some(item) => Err(item.invalid(why)),
            None => Ok(()),
        };
        let mut spec = SecuritySpec { protocol, ..SecuritySpec::default() };
        if protocol.has_tls() {
            spec.ca = section.get("ca").map(|item| item.string().map(PathBuf::from)).transpose()?;
            spec.certificate = match (section.get("certificate"), section.get("key")) {
                (Some(certificate), _) => Some((certificate.string()?.into(), section.need("key")?.secret()?)),
                (None, Some(key)) => return Err(key.invalid("has no effect without `certificate`")),
                (None, None) => None,
            };
        } else {
            without(&["ca", "certificate", "key"], "has no effect without protocol = \"ssl\" or \"sasl-ssl\"")?;
        }
        if protocol.has_sasl() {
            spec.mechanism = section.need("mechanism")?.choose(&SaslMechanism::ALL)?;
            spec.login = Some((section.need("username")?.secret_or_text()?, section.need("password")?.secret()?));
        } else {
            without(
                &["mechanism", "username", "password"],
                "has no effect without protocol = \"sasl-plaintext\" or \"sasl-ssl\"",
            )?;
        }
        Ok(spec)
    }

    /// Returns the secrets.
    pub(super) fn secrets(&self) -> Vec<&SecretReference> {
        let key = self.certificate.iter().map(|(_, key)| key);
        let login =
            self.login.iter().flat_map(|(username, password)| username.reference().into_iter().chain([password]));
        key.chain(login).collect()
    }

    /// Reads all files and secrets. Errors: `path-denied`, `peer-denied` for a file that cannot be read, `secret-missing`,
    /// `secret-denied`.
    pub(super) fn resolve(&self, paths: &PipelinePaths) -> Result<SecuritySettings> {
        let secret = |reference: &SecretReference| {
            let secret = paths.policy.secrets().read(reference, &paths.base_dir)?;
            Ok::<_, crate::error::Error>(secret.expose().to_owned())
        };
        let mut resolved =
            SecuritySettings { protocol: self.protocol, mechanism: self.mechanism, ..SecuritySettings::default() };
        resolved.ca = self.ca.as_ref().map(|path| read_pem(path, paths)).transpose()?;
        if let Some((certificate, key)) = &self.certificate {
            resolved.certificate = Some((read_pem(certificate, paths)?, secret(key)?));
        }
        if let Some((username, password)) = &self.login {
            resolved.username = match username {
                SecretOrText::Text(text) => text.clone(),
                SecretOrText::Secret(reference) => secret(reference)?,
            };
            resolved.password = secret(password)?;
        }
        Ok(resolved)
    }
}

fn read_pem(path: &Path, paths: &PipelinePaths) -> Result<String> {
    let path = paths.join(path);
    let read = || {
        let mut text = String::new();
        let file: fs::File = paths.policy.open_file(&path)?;
        file.take(PEM_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|cause: std::io::Error| {
        denied_or(&cause, || peer_denied(format!("the certificate file {} cannot be read: {cause}", path.display())))
    })
}
