//! Quotas: what one namespace may use at most.

use std::collections::BTreeMap;

use bytesize::ByteSize;

use crate::auth::check_namespace_name;
use crate::error::{Error, quota_exceeded};

/// What one namespace may use. `None` means without a limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Jobs that have not ended.
    pub jobs: Option<u64>,
    /// Subtasks of these jobs.
    pub subtasks: Option<u64>,
    /// Uploaded components.
    pub components: Option<u64>,
    /// Bytes of these components.
    pub component_bytes: Option<u64>,
}

/// The quotas of all namespaces.
#[derive(Clone, Debug, Default)]
pub struct QuotaList {
    /// Of each namespace without an entry of its own for that key.
    common: Quotas,
    own: BTreeMap<String, Quotas>,
}

impl QuotaList {
    /// Parses texts of the form `KEY=VALUE` and `NAMESPACE:KEY=VALUE`. The error says what is wrong.
    pub fn parse(texts: &[String]) -> Result<QuotaList, String> {
        let mut list = QuotaList::default();
        for text in texts {
            let (target, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
            let (quotas, key) = match target.split_once(':') {
                Some((namespace, key)) => {
                    check_namespace_name(namespace).map_err(|error| error.message)?;
                    (list.own.entry(namespace.to_owned()).or_default(), key)
                }
                None => (&mut list.common, target),
            };
            quotas.set(key, value).map_err(|why| format!("`{text}`: {why}"))?;
        }
        Ok(list)
    }

    /// Returns the quotas of a namespace.
    pub fn of(&self, namespace: &str) -> Quotas {
        let own = self.own.get(namespace).copied().unwrap_or_default();
        let common = self.common;
        Quotas {
            jobs: own.jobs.or(common.jobs),
            subtasks: own.subtasks.or(common.subtasks),
            components: own.components.or(common.components),
            component_bytes: own.component_bytes.or(common.component_bytes),
        }
    }
}

impl Quotas {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|_| "the value is not a number".to_owned());
        match key {
            "jobs" => self.jobs = Some(number()?),
            "subtasks" => self.subtasks = Some(number()?),
            "components" => self.components = Some(number()?),
            "component_bytes" => {
                let size = value.parse::<ByteSize>().map_err(|_| "the value is not a size such as 64MiB".to_owned())?;
                self.component_bytes = Some(size.as_u64());
            }
            other => {
                return Err(format!(
                    "there is no quota `{other}`; the quotas are jobs, subtasks, components and component_bytes"
                ));
            }
        }
        Ok(())
    }
}

/// Checks that `used` and `more` of something do not exceed a quota. Error: `quota-exceeded`.
pub fn check_quota(max: Option<u64>, used: u64, more: u64, what: &str) -> Result<(), Error> {
    match max {
        Some(max) if used.saturating_add(more) > max => {
            let message = format!("the namespace may use {max} {what}, and uses {used}; {more} more were requested");
            Err(quota_exceeded(message)
                .hint("remove what is not used, or ask the operator of the server for a larger --quota"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_of_a_namespace_replaces_the_common_one() {
        let texts = ["jobs=3", "component_bytes=1MiB", "team-a:jobs=5", "team-a:subtasks=9"].map(str::to_owned);
        let list = QuotaList::parse(&texts).unwrap();
        let common = Quotas { jobs: Some(3), component_bytes: Some(1 << 20), ..Quotas::default() };
        assert_eq!(list.of("default"), common);
        assert_eq!(list.of("team-a"), Quotas { jobs: Some(5), subtasks: Some(9), ..common });
        for wrong in ["jobs", "jobs=x", "job=3", "A:jobs=3", "component_bytes=much", "jobs=-1"] {
            assert!(QuotaList::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(check_quota(Some(3), 2, 1, "jobs").is_ok() && check_quota(None, 9, 9, "jobs").is_ok());
        assert_eq!(check_quota(Some(3), 3, 1, "jobs").unwrap_err().code, "quota-exceeded");
    }
}
