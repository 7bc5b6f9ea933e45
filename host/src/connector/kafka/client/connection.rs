//! Brokers and security, as settings of librdkafka.

use std::sync::OnceLock;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use super::client_error::{KafkaError, KafkaErrorKind};
use super::client_state::{ClientState, StateContext};
use crate::access::AccessPolicy;
use crate::error::{Error, Result, internal};

/// What librdkafka must have been built with. Its build leaves a feature out in silence if it cannot have it.
const FEATURES: [&str; 7] = ["ssl", "sasl_plain", "sasl_scram", "zstd", "lz4", "snappy", "gzip"];

/// How to reach a cluster.
#[derive(Clone, Default)]
pub(crate) struct KafkaConnection {
    /// Hosts and ports, separated by commas.
    pub(crate) brokers: String,
    pub(crate) security: SecuritySettings,
    /// The node that connects.
    pub(crate) node: String,
    /// Names the client in the broker's log.
    pub(crate) client_id: String,
    /// Decides which brokers the client may connect to.
    pub(crate) policy: AccessPolicy,
}

/// Encryption and authentication, with the contents of all files and secrets.
#[derive(Clone, Default)]
pub(crate) struct SecuritySettings {
    pub(crate) protocol: SecurityProtocol,
    /// Certificates that are trusted, as PEM. `None` trusts those that the system trusts.
    pub(crate) ca: Option<String>,
    /// The client's certificate and its key, as PEM.
    pub(crate) certificate: Option<(String, String)>,
    pub(crate) mechanism: SaslMechanism,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// Encryption and authentication of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SecurityProtocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

/// How a client authenticates itself with a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SaslMechanism {
    Plain,
    ScramSha256,
    #[default]
    ScramSha512,
}

impl SecurityProtocol {
    /// All protocols with their names in a pipeline file.
    pub(crate) const ALL: [(&'static str, SecurityProtocol); 4] = [
        ("plaintext", SecurityProtocol::Plaintext),
        ("ssl", SecurityProtocol::Ssl),
        ("sasl-plaintext", SecurityProtocol::SaslPlaintext),
        ("sasl-ssl", SecurityProtocol::SaslSsl),
    ];

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }

    pub(crate) fn has_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }

    fn native_name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "plaintext",
            SecurityProtocol::Ssl => "ssl",
            SecurityProtocol::SaslPlaintext => "sasl_plaintext",
            SecurityProtocol::SaslSsl => "sasl_ssl",
        }
    }
}

impl SaslMechanism {
    /// All mechanisms with their names in a pipeline file.
    pub(crate) const ALL: [(&'static str, SaslMechanism); 3] = [
        ("plain", SaslMechanism::Plain),
        ("scram-sha-256", SaslMechanism::ScramSha256),
        ("scram-sha-512", SaslMechanism::ScramSha512),
    ];

    fn native_name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl KafkaConnection {
    /// Returns the callbacks of a client, which report to `state`.
    pub(super) fn context(&self, state: &ClientState) -> StateContext {
        StateContext { state: state.clone(), policy: self.policy.clone(), node: self.node.clone() }
    }

    /// Returns the settings that consumers and producers share. The brokers are added later, see `allowed_brokers`.
    pub(super) fn config(&self) -> Result<ClientConfig> {
        check_features()?;
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("client.id", &self.client_id);
        config.set("allow.auto.create.topics", "false");
        config.set("socket.keepalive.enable", "true");
        config.set("statistics.interval.ms", "2000");
        // A broker that was away for long is found again within this time.
        config.set("reconnect.backoff.max.ms", "2000");
        let SecuritySettings { protocol, ca, certificate, mechanism, username, password } = &self.security;
        config.set("security.protocol", protocol.native_name());
        if protocol.has_tls() {
            match ca {
                Some(pem) => config.set("ssl.ca.pem", pem),
                // OpenSSL is linked statically and does not know where this system keeps its certificates.
                None => config.set("ssl.ca.location", "probe"),
            };
            if let Some((certificate, key)) = certificate {
                config.set("ssl.certificate.pem", certificate).set("ssl.key.pem", key);
            }
        }
        if protocol.has_sasl() {
            config.set("sasl.mechanism", mechanism.native_name());
            config.set("sasl.username", username).set("sasl.password", password);
        }
        Ok(config)
    }
}

/// Checks once that librdkafka has all features that settings offer.
pub(crate) fn check_features() -> Result<()> {
    static MISSING: OnceLock<Result<(), Error>> = OnceLock::new();
    MISSING.get_or_init(find_missing_features).clone()
}

fn find_missing_features() -> Result<()> {
    let native = ClientConfig::new().create_native_config();
    let built = native.and_then(|config| config.get("builtin.features"));
    let built = built.map_err(|error| internal(KafkaError::of("librdkafka does not start", &error).message))?;
    let has = |feature: &&str| built.trim_end_matches('\0').split(',').any(|one| one.trim() == *feature);
    let missing: Vec<&str> = FEATURES.into_iter().filter(|feature| !has(feature)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(internal(format!("librdkafka was built without {}; it has {built}", missing.join(", "))))
}

/// Converts the error of a client that could not be created: a setting is wrong.
pub(super) fn creation_error(error: &rdkafka::error::KafkaError) -> KafkaError {
    let mut described = KafkaError::of("the Kafka client cannot be created", error);
    described.kind = KafkaErrorKind::Denied;
    described
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_has_tls_scram_and_all_compressions() {
        check_features().unwrap();
    }
}
