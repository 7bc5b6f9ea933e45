//! How commands reach a server: its URL, the token, the namespace and the certificates to trust.
//!
//! An option or its variable wins over the profile. Invariant: a token is not sent unencrypted to another machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use serde::Deserialize;
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use super::access_arguments::ConnectionArgs;
use super::variables::variable;
use crate::error::{Error, Result, connection_invalid};
use crate::stdio;

/// Where commands look for a server if nothing is said.
pub(super) const DEFAULT_SERVER: &str = "http://127.0.0.1:7070";
const DEFAULT_PROFILE: &str = "default";
/// The variable that holds a token. There is no option for it, because other users can see the options of a process.
const TOKEN_VARIABLE: &str = "COFFERDAM_TOKEN";
const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("x-cofferdam-namespace");

/// Everything that a client needs.
#[derive(Clone, Debug, Default)]
pub struct ConnectionSettings {
    /// URL of the server.
    pub server: String,
    pub(super) token: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) profile: Option<UsedProfile>,
}

/// The profile whose settings apply where no option or variable is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedProfile {
    /// Its name.
    pub name: String,
    /// The file that contains it.
    pub file: PathBuf,
    /// URL of its server, if it has one.
    pub server: Option<String>,
}

/// The file with profiles.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    #[serde(default)]
    profile: BTreeMap<String, ConnectionProfile>,
}

/// One profile. Relative paths refer to the folder of the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionProfile {
    server: Option<String>,
    token_file: Option<PathBuf>,
    namespace: Option<String>,
    ca_file: Option<PathBuf>,
}

impl ConnectionSettings {
    /// Collects the settings of a command. Error: `connection-invalid`.
    pub fn of(args: &ConnectionArgs) -> Result<ConnectionSettings> {
        let token = variable(TOKEN_VARIABLE);
        ConnectionSettings::from_parts(args, token, config_file().as_deref())
    }

    fn from_parts(args: &ConnectionArgs, token: Option<String>, file: Option<&Path>) -> Result<ConnectionSettings> {
        let (used, profile) = read_profile(file, args.profile.as_deref())?.unzip();
        let profile = profile.unwrap_or_default();
        let token = match (&args.token_file, token) {
            (Some(file), _) => Some(read_token(file)?),
            (None, Some(token)) => Some(token),
            // The token of a profile is for its server.
            (None, None) if args.server.is_none() || args.server == profile.server => {
                profile.token_file.as_deref().map(read_token).transpose()?
            }
            (None, None) => None,
        };
        let settings = ConnectionSettings {
            server: args.server.clone().or(profile.server).unwrap_or_else(|| DEFAULT_SERVER.to_owned()),
            token,
            namespace: args.namespace.clone().or(profile.namespace),
            ca_file: args.ca_file.clone().or(profile.ca_file),
            profile: used,
        };
        settings.check_token_is_encrypted()?;
        Ok(settings)
    }

    /// Checks that a token goes to this machine, or through TLS.
    fn check_token_is_encrypted(&self) -> Result<()> {
        let url = self.server.parse::<Uri>().ok();
        let host = url.as_ref().and_then(Uri::host).unwrap_or_default().trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let is_https = url.as_ref().and_then(Uri::scheme_str) == Some("https");
        match self.token.is_none() || is_here || is_https {
            true => Ok(()),
            false => Err(connection_invalid(format!("the token would be sent to {} without TLS", self.server))
                .hint("use a URL that begins with https://")),
        }
    }

    /// Returns the headers of every request.
    pub fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>> {
        let mut headers = Vec::new();
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| connection_invalid("the token contains characters that no token has"))?;
            value.set_sensitive(true);
            headers.push((ureq::http::header::AUTHORIZATION, value));
        }
        if let Some(namespace) = &self.namespace {
            let value = HeaderValue::from_str(namespace);
            let value = value.map_err(|_| connection_invalid(format!("`{namespace}` cannot name a namespace")))?;
            headers.push((NAMESPACE_HEADER, value));
        }
        Ok(headers)
    }

    /// Returns the settings of TLS.
    pub fn tls(&self) -> Result<TlsConfig> {
        let roots = match &self.ca_file {
            Some(file) => RootCerts::new_with_certs(&read_certificates(file)?),
            None => RootCerts::PlatformVerifier,
        };
        Ok(TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build())
    }
}

/// Returns the path of the file with profiles.
fn config_file() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(folder.join("cofferdam").join("config.toml"))
}

/// Reads a profile. The default one need not exist.
fn read_profile(file: Option<&Path>, name: Option<&str>) -> Result<Option<(UsedProfile, ConnectionProfile)>> {
    let missing = |name: &str| {
        let file = file.map(|file| file.display().to_string()).unwrap_or_default();
        connection_invalid(format!("there is no profile `{name}` in {file}"))
            .hint(format!("add a table [profile.{name}] with `server`, `token_file`, `namespace` or `ca_file`"))
    };
    let none = || match name {
        Some(name) => Err(missing(name)),
        None => Ok(None),
    };
    let Some(file) = file else { return none() };
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return none(),
        text => text.map_err(|error| failed(file, &error))?,
    };
    let profiles: ProfileFile = toml::from_str(&text).map_err(|error| failed(file, &error))?;
    let used = name.unwrap_or(DEFAULT_PROFILE);
    let Some(mut profile) = profiles.profile.get(used).cloned() else { return none() };
    let folder = file.parent().unwrap_or(Path::new(""));
    for path in [&mut profile.token_file, &mut profile.ca_file].into_iter().flatten() {
        *path = folder.join(&*path);
    }
    let used = UsedProfile { name: used.to_owned(), file: file.to_owned(), server: profile.server.clone() };
    Ok(Some((used, profile)))
}

fn read_token(file: &Path) -> Result<String> {
    let mode = fs::metadata(file).map_err(|error| failed(file, &error))?.permissions().mode();
    if mode & 0o077 != 0 {
        stdio::tell(format_args!("warning: other users can read the token in {}: chmod 600 it", file.display()));
    }
    let text = fs::read_to_string(file).map_err(|error| failed(file, &error))?;
    match text.trim() {
        "" => Err(failed(file, &"it contains no token")),
        token => Ok(token.to_owned()),
    }
}

fn read_certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let bytes = fs::read(file).map_err(|error| failed(file, &error))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(file, &error))? {
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err(failed(file, &"it contains no certificate")),
        false => Ok(certificates),
    }
}

fn failed(file: &Path, why: &dyn std::fmt::Display) -> Error {
    connection_invalid(format!("{}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(server: Option<&str>, profile: Option<&str>) -> ConnectionArgs {
        ConnectionArgs {
            server: server.map(str::to_owned),
            profile: profile.map(str::to_owned),
            ..ConnectionArgs::default()
        }
    }

    #[test]
    fn options_win_over_the_profile_and_its_token_stays_with_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        fs::write(dir.path().join("t"), " cofd_a_b\n").unwrap();
        let text = "[profile.default]\nserver = \"https://a\"\ntoken_file = \"t\"\n[profile.b]\nserver = \"http://b\"\n\
                    token_file = \"t\"\n[profile.c]\nnamespace = \"n\"\n";
        fs::write(&file, text).unwrap();
        let of = |args: &ConnectionArgs, token: Option<&str>| {
            ConnectionSettings::from_parts(args, token.map(str::to_owned), Some(&file))
        };
        let default = of(&args(None, None), None).unwrap();
        assert_eq!((default.server.as_str(), default.token.as_deref()), ("https://a", Some("cofd_a_b")));
        assert_eq!(default.profile.unwrap().name, "default");
        let other = of(&args(Some("https://evil"), None), None).unwrap();
        assert_eq!((other.server.as_str(), other.token), ("https://evil", None));
        let given = of(&args(None, None), Some("other")).unwrap();
        assert_eq!(given.token.as_deref(), Some("other"));
        let named = of(&args(None, Some("c")), None).unwrap();
        assert_eq!((named.server.as_str(), named.namespace.as_deref()), (DEFAULT_SERVER, Some("n")));
        assert_eq!(named.profile, Some(UsedProfile { name: "c".to_owned(), file: file.clone(), server: None }));
        for (refused, why) in [(args(None, Some("b")), "without TLS"), (args(None, Some("x")), "no profile `x`")] {
            let error = of(&refused, None).unwrap_err();
            assert!(error.code == "connection-invalid" && error.message.contains(why), "{error}");
        }
        assert!(of(&args(Some("http://127.0.0.1:7"), None), Some("t")).is_ok());
        assert!(of(&args(Some("http://localhost.evil"), None), Some("t")).is_err());
        fs::write(&file, "[profile.default]\nserveur = \"x\"\n").unwrap();
        assert!(of(&args(None, None), None).is_err());
        let absent = dir.path().join("absent.toml");
        let without = ConnectionSettings::from_parts(&args(None, None), None, Some(&absent)).unwrap();
        assert_eq!(without.profile, None);
    }
}
