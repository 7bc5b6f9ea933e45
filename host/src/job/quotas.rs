//! Quotas: what one namespace may use at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytesize::ByteSize;

use crate::auth::check_namespace_name;
use crate::error::{Error, quota_exceeded};
use crate::namespace_usage::{ByteAccount, NamespaceLog, NamespaceUsage};

/// Keys of quotas that jobs reach while they run.
const STATE_BYTES: &str = "state_bytes";
const DEAD_LETTER_BYTES: &str = "dead_letter_bytes";

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
    /// Bytes of the running state of all jobs.
    pub state_bytes: Option<u64>,
    /// Bytes of the kept dead letters of all jobs.
    pub dead_letter_bytes: Option<u64>,
    /// Bytes of log lines of functions, per second.
    pub log_bytes: Option<u64>,
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
            state_bytes: own.state_bytes.or(common.state_bytes),
            dead_letter_bytes: own.dead_letter_bytes.or(common.dead_letter_bytes),
            log_bytes: own.log_bytes.or(common.log_bytes),
        }
    }
}

impl Quotas {
    /// Returns the accounts of a namespace with these quotas.
    pub fn usage(&self) -> NamespaceUsage {
        NamespaceUsage {
            state: ByteAccount::new(STATE_BYTES, self.state_bytes),
            letters: ByteAccount::new(DEAD_LETTER_BYTES, self.dead_letter_bytes),
            log: Arc::new(NamespaceLog::new(self.log_bytes)),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|_| "the value is not a number".to_owned());
        let size = || {
            let size = value.parse::<ByteSize>().map_err(|_| "the value is not a size such as 64MiB".to_owned())?;
            Ok::<u64, String>(size.as_u64())
        };
        match key {
            "jobs" => self.jobs = Some(number()?),
            "subtasks" => self.subtasks = Some(number()?),
            "components" => self.components = Some(number()?),
            "component_bytes" => self.component_bytes = Some(size()?),
            STATE_BYTES => self.state_bytes = Some(size()?),
            DEAD_LETTER_BYTES => self.dead_letter_bytes = Some(size()?),
            "log_bytes" => self.log_bytes = Some(size()?),
            other => {
                return Err(format!(
                    "there is no quota `{other}`; the quotas are jobs, subtasks, components, component_bytes, {STATE_BYTES}, \
                     {DEAD_LETTER_BYTES} and log_bytes"
                ));
            }
        }
        Ok(())
    }
}

/// What a namespace uses, for monitoring.
pub struct UsedQuotas {
    /// Bytes of uploaded components.
    pub component_bytes: u64,
    /// Bytes of the running state of all jobs.
    pub state_bytes: u64,
    /// Bytes of the kept dead letters of all jobs.
    pub dead_letter_bytes: u64,
    /// Bytes of log lines of functions since the process began.
    pub log_bytes: u64,
    /// The used share of each quota that is set, by its key. That of `log_bytes` is a rate, and left out.
    pub shares: Vec<(&'static str, f64)>,
}

impl Quotas {
    /// Compares what is used with the quotas: jobs, subtasks, the number of components and their bytes, and the accounts.
    pub fn used(&self, counts: [u64; 4], usage: &NamespaceUsage) -> UsedQuotas {
        let [jobs, subtasks, components, component_bytes] = counts;
        let (state_bytes, dead_letter_bytes) = (usage.state.used(), usage.letters.used());
        let all = [
            ("jobs", self.jobs, jobs),
            ("subtasks", self.subtasks, subtasks),
            ("components", self.components, components),
            ("component_bytes", self.component_bytes, component_bytes),
            (STATE_BYTES, self.state_bytes, state_bytes),
            (DEAD_LETTER_BYTES, self.dead_letter_bytes, dead_letter_bytes),
        ];
        let shares = all.into_iter().filter_map(|(key, max, used)| Some((key, used as f64 / (max?.max(1)) as f64)));
        let (log_bytes, shares) = (usage.log.bytes(), shares.collect());
        UsedQuotas { component_bytes, state_bytes, dead_letter_bytes, log_bytes, shares }
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
        let texts = ["jobs=3", "component_bytes=1MiB", "team-a:jobs=5", "team-a:subtasks=9", "team-a:state_bytes=2KiB"]
            .map(str::to_owned);
        let list = QuotaList::parse(&texts).unwrap();
        let common = Quotas { jobs: Some(3), component_bytes: Some(1 << 20), ..Quotas::default() };
        assert_eq!(list.of("default"), common);
        assert_eq!(list.of("team-a"), Quotas { jobs: Some(5), subtasks: Some(9), state_bytes: Some(2048), ..common });
        for wrong in ["jobs", "jobs=x", "job=3", "A:jobs=3", "component_bytes=much", "jobs=-1"] {
            assert!(QuotaList::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert!(check_quota(Some(3), 2, 1, "jobs").is_ok() && check_quota(None, 9, 9, "jobs").is_ok());
        assert_eq!(check_quota(Some(3), 3, 1, "jobs").unwrap_err().code, "quota-exceeded");
    }
}
