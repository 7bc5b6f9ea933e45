//! The settings of a connection that sources and sinks share.

use super::client::KafkaConnection;
use super::security_settings::SecuritySpec;
use crate::access::PipelinePaths;
use crate::error::Result;
use crate::pipeline::{SecretReference, TomlItem, TomlSection};

/// How to reach a cluster, without the values of secrets.
#[derive(Clone, Debug)]
pub(super) struct ConnectionSpec {
    /// Host and port of each broker that is asked first.
    brokers: Vec<String>,
    security: SecuritySpec,
}

impl ConnectionSpec {
    /// Reads `brokers` and `security`.
    pub(super) fn read(section: &TomlSection<'_>) -> Result<ConnectionSpec> {
        let security = section.get("security").map(|item| SecuritySpec::read(&item)).transpose()?;
        Ok(ConnectionSpec { brokers: brokers(&section.need("brokers")?)?, security: security.unwrap_or_default() })
    }

    /// The settings of a connection without encryption.
    #[cfg(test)]
    pub(super) fn of_test(brokers: &str) -> ConnectionSpec {
        let brokers = brokers.split(',').map(str::to_owned).collect();
        ConnectionSpec { brokers, security: SecuritySpec::default() }
    }

    /// Checks that the brokers may be reached. Error: `address-denied`.
    pub(super) fn check(&self, paths: &PipelinePaths) -> Result<()> {
        self.brokers.iter().try_for_each(|broker| paths.policy.check_address(broker))
    }

    /// Returns the secrets with the setting that refers to them.
    pub(super) fn secrets(&self) -> Vec<(&'static str, &SecretReference)> {
        self.security.secrets().into_iter().map(|reference| ("security", reference)).collect()
    }

    /// Returns the brokers as messages name them.
    pub(super) fn shown(&self) -> String {
        self.brokers.join(",")
    }

    /// Reads all files and secrets. Errors: those of [`ConnectionSpec::check`] and [`SecuritySpec::resolve`].
    pub(super) fn resolve(&self, paths: &PipelinePaths, node: &str, client_id: String) -> Result<KafkaConnection> {
        self.check(paths)?;
        Ok(KafkaConnection {
            brokers: self.brokers.join(","),
            security: self.security.resolve(paths)?,
            node: node.to_owned(),
            client_id,
            policy: paths.policy.clone(),
        })
    }
}

/// Reads `"host:port,host:port"` or a list of such texts.
fn brokers(item: &TomlItem<'_>) -> Result<Vec<String>> {
    let mut brokers = Vec::new();
    match item.elements() {
        Some(elements) => {
            for element in elements {
                brokers.push(element.address()?.to_owned());
            }
        }
        None => {
            for one in item.string()?.split(',') {
                let is_address = one.trim().rsplit_once(':').is_some_and(|(host, port)| {
                    !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok_and(|port| port > 0)
                });
                if !is_address {
                    return Err(item.invalid("must be \"host:port\", several with commas between or as a list"));
                }
                brokers.push(one.trim().to_owned());
            }
        }
    }
    if brokers.is_empty() {
        return Err(item.invalid("must name at least one broker"));
    }
    Ok(brokers)
}
