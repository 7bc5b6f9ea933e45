//! Where the schema of records of Avro is found: in a file, or in a schema registry.

use std::path::PathBuf;

use super::secret_reference::SecretReference;
use super::setting::{Setting, SettingKind, setting_keys};
use super::toml_reader::{TomlItem, TomlSection};
use crate::error::Result;

/// The settings of sources and sinks with `format = "avro"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvroSettings {
    /// A file with the schema.
    pub schema: Option<PathBuf>,
    /// The registry. The id of its schema is in front of each record.
    pub registry: Option<RegistrySettings>,
}

/// A schema registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Its address, with `http` or `https`.
    pub url: String,
    /// The name under which it keeps the schemas of the topic. By default the topic and `-value`.
    pub subject: Option<String>,
    /// The user of the registry.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<SecretReference>,
    /// Whether a sink registers a schema that the registry lacks.
    pub register: bool,
}

/// The settings that [`avro`] reads.
pub const AVRO_SETTINGS: &[Setting] = &[
    Setting::new(
        "schema",
        SettingKind::Path,
        "a source without it needs a `registry`; a sink without it has the schema of its rows",
    ),
    Setting::new("registry", SettingKind::Table, "none"),
    Setting::required("registry.url", SettingKind::Pattern("^https?://[^/?#@]")),
    Setting::new("registry.subject", SettingKind::Text, "the topic and `-value`"),
    Setting::new("registry.username", SettingKind::Text, "none"),
    Setting::new("registry.password", SettingKind::Secret, "none"),
];

/// The setting that only sinks have.
pub const REGISTER_SETTINGS: &[Setting] = &[Setting::new("registry.register", SettingKind::Boolean, "`true`")];

/// Reads `schema` and `registry`. `is_avro` tells whether they have an effect, `is_sink` whether the section is a sink.
pub(super) fn avro(section: &TomlSection<'_>, is_avro: bool, is_sink: bool) -> Result<Option<AvroSettings>> {
    for key in setting_keys(AVRO_SETTINGS, None) {
        if let Some(item) = section.get(key).filter(|_| !is_avro) {
            return Err(item.invalid("has no effect without format = \"avro\""));
        }
    }
    if !is_avro {
        return Ok(None);
    }
    let schema = section.get("schema").map(|item| item.string().map(PathBuf::from)).transpose()?;
    let registry = section.get("registry").map(|item| registry(&item, is_sink)).transpose()?;
    if schema.is_none() && registry.is_none() && !is_sink {
        let error = section.need("format")?.invalid("is \"avro\", which needs the schema of the records");
        return Err(
            error.hint("name a file: schema = \"FILE.avsc\"; or a registry: registry = { url = \"http://HOST:PORT\" }")
        );
    }
    Ok(Some(AvroSettings { schema, registry }))
}

/// Checks an address. Its text is not shown in the error, because it may contain a password.
fn check_url(url: &TomlItem<'_>) -> Result<()> {
    let text = url.string()?;
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return Err(url.invalid("must begin with http:// or https://"));
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.contains('@') || rest.contains(['?', '#']) {
        return Err(url.invalid("must not contain credentials or a query").hint("use `username` and `password`"));
    }
    let is_host = !host.starts_with(':') && !host.is_empty() && !host.contains(char::is_whitespace);
    // An address of IPv6 is in brackets.
    let port = match host.rsplit_once(']') {
        Some((_, behind)) => behind.strip_prefix(':'),
        None => host.rsplit_once(':').map(|(_, port)| port),
    };
    let has_port = port.is_none_or(|port| port.parse().is_ok_and(|port: u16| port > 0));
    match is_host && has_port {
        true => Ok(()),
        false => Err(url.invalid("must have a host, and a port if the service has one of its own")),
    }
}

fn registry(item: &TomlItem<'_>, is_sink: bool) -> Result<RegistrySettings> {
    let section = item.section()?;
    section.check_keys(&setting_keys(&[AVRO_SETTINGS, REGISTER_SETTINGS].concat(), Some("registry")))?;
    let text = |key: &str| section.get(key).map(|item| item.string().map(str::to_owned)).transpose();
    let url = section.need("url")?;
    check_url(&url)?;
    if let Some(register) = section.get("register").filter(|_| !is_sink) {
        return Err(register.invalid("has no effect on a source, which registers nothing"));
    }
    let password = section.get("password").map(|item| item.secret()).transpose()?;
    let username = text("username")?;
    if username.is_none()
        && let Some(password) = section.get("password")
    {
        return Err(password.invalid("has no effect without a `username`"));
    }
    Ok(RegistrySettings {
        url: url.string()?.to_owned(),
        subject: text("subject")?,
        username,
        password,
        register: section.get("register").map(|item| item.bool()).transpose()?.unwrap_or(true),
    })
}
