//! Bytes that the jobs of a namespace use together, and their limits.
//!
//! A job charges what it uses to an account. An account may exceed its limit by what was charged last: the charge is made, and the
//! owner fails. Invariant: the bytes of a charge are returned when the charge is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;

use crate::error::{Result, quota_exceeded};
use crate::log_limit::LogLimit;

/// The functions of a namespace may write this many seconds' worth of log lines at once.
const LOG_BURST_SECONDS: u64 = 10;

/// The accounts and the log of a namespace. Clones share them.
#[derive(Clone, Default)]
pub struct NamespaceUsage {
    /// Bytes of running state.
    pub state: ByteAccount,
    /// Bytes of kept dead letters.
    pub letters: ByteAccount,
    /// Log lines of functions.
    pub log: Arc<NamespaceLog>,
}

/// The bytes of one kind that a namespace uses. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct ByteAccount(Arc<AccountState>);

#[derive(Debug, Default)]
struct AccountState {
    /// Key of the quota.
    quota: &'static str,
    limit: Option<u64>,
    used: AtomicU64,
}

impl ByteAccount {
    /// Returns an account of which nothing is used. `quota` is the key of its limit.
    pub fn new(quota: &'static str, limit: Option<u64>) -> ByteAccount {
        ByteAccount(Arc::new(AccountState { quota, limit, used: AtomicU64::new(0) }))
    }

    /// Returns the bytes that are used.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Returns the limit.
    pub fn limit(&self) -> Option<u64> {
        self.0.limit
    }

    /// Error: `quota-exceeded` if more than the limit is used.
    pub fn check(&self) -> Result<()> {
        let AccountState { quota, limit: Some(limit), .. } = &*self.0 else { return Ok(()) };
        let used = self.used();
        if used <= *limit {
            return Ok(());
        }
        let (used, limit) = (ByteSize(used), ByteSize(*limit));
        Err(quota_exceeded(format!("the jobs of the namespace use {used}, more than their quota {quota}, {limit}"))
            .hint("remove what is not used, or ask the operator of the server for a larger --quota"))
    }
}

/// The bytes that one owner has charged to an account. Dropping the charge returns them.
#[derive(Debug, Default)]
pub struct Charge {
    account: ByteAccount,
    bytes: AtomicU64,
}

impl Charge {
    /// Returns a charge of nothing.
    pub fn to(account: &ByteAccount) -> Charge {
        Charge { account: account.clone(), bytes: AtomicU64::new(0) }
    }

    /// Charges this many bytes in place of what was charged before.
    pub fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.account.0.used.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Charges more bytes. Returns the bytes that are charged.
    pub fn add(&self, bytes: u64) -> u64 {
        self.account.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    /// Returns bytes to the account, at most those that are charged.
    pub fn sub(&self, bytes: u64) {
        let reduced = |charged: u64| Some(charged.saturating_sub(bytes));
        let before = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reduced).unwrap_or_default();
        self.account.0.used.fetch_sub(before.min(bytes), Ordering::Relaxed);
    }

    /// Error: `quota-exceeded` if all owners together have charged more than the limit.
    pub fn check(&self) -> Result<()> {
        self.account.check()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// The log lines that the functions of a namespace write.
#[derive(Default)]
pub struct NamespaceLog {
    limit: Option<LogLimit>,
    bytes: AtomicU64,
}

impl NamespaceLog {
    /// Returns a log that may have this many bytes per second.
    pub fn new(bytes_per_second: Option<u64>) -> NamespaceLog {
        let limit = bytes_per_second.map(|rate| LogLimit::new(rate.saturating_mul(LOG_BURST_SECONDS), rate));
        NamespaceLog { limit, bytes: AtomicU64::new(0) }
    }

    /// Returns whether a line of this length may be written. Counts it if so.
    pub fn admit(&self, bytes: usize, now_ns: u64) -> bool {
        let bytes = bytes as u64;
        let is_admitted = self.limit.as_ref().is_none_or(|limit| limit.take_tokens(bytes, now_ns));
        if is_admitted {
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        is_admitted
    }

    /// Returns the bytes of all lines since the process began.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_share_an_account_and_return_what_they_have_charged() {
        let account = ByteAccount::new("state_bytes", Some(100));
        let (one, other) = (Charge::to(&account), Charge::to(&account));
        one.set(60);
        assert_eq!(other.add(40), 40);
        assert!(one.check().is_ok() && account.used() == 100);
        one.set(61);
        let error = other.check().unwrap_err();
        assert_eq!(error.code, "quota-exceeded");
        assert!(error.message.contains("101 B, more than their quota state_bytes, 100 B"), "{error}");
        other.sub(30);
        other.sub(30);
        assert!(account.used() == 61 && other.check().is_ok(), "no more is returned than was charged");
        drop(one);
        assert_eq!(account.used(), 0);
        assert!(Charge::default().check().is_ok());
    }

    #[test]
    fn log_lines_are_limited_by_their_bytes_per_second() {
        let log = NamespaceLog::new(Some(10));
        assert_eq!((0..50).filter(|_| log.admit(4, 0)).count(), 25, "ten seconds' worth at once");
        assert_eq!((0..50).filter(|_| log.admit(5, 1_000_000_000)).count(), 2);
        assert_eq!(log.bytes(), 110);
        assert!(NamespaceLog::default().admit(usize::MAX, 0));
    }
}
