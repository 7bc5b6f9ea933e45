//! The limit of wrong tokens for each address, so that guesses fill neither the log nor the processor.
//!
//! A right token is accepted at any time: it cannot be guessed, and an attacker behind the same proxy must not lock others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::SharedClock;

/// Wrong tokens that one address may send in [`WINDOW`].
const ATTEMPTS_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Number of addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// The wrong tokens of the last minute.
pub struct FailedAttempts {
    clock: SharedClock,
    addresses: Mutex<HashMap<IpAddr, AttemptWindow>>,
}

struct AttemptWindow {
    began_ns: u64,
    attempts: u32,
}

impl FailedAttempts {
    /// Creates a limit that has counted nothing.
    pub fn new(clock: SharedClock) -> FailedAttempts {
        FailedAttempts { clock, addresses: Mutex::default() }
    }

    /// Counts a wrong token. Returns the seconds to wait if the address has sent too many.
    pub fn count(&self, address: IpAddr) -> Result<(), u64> {
        let now_ns = self.clock.monotonic_ns();
        let window_ns = u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX);
        let mut addresses = self.addresses.lock();
        if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(&address) {
            addresses.retain(|_, window| now_ns.saturating_sub(window.began_ns) < window_ns);
            if addresses.len() >= ADDRESSES_MAX {
                return Err(WINDOW.as_secs());
            }
        }
        let window = addresses.entry(address).or_insert(AttemptWindow { began_ns: now_ns, attempts: 0 });
        if now_ns.saturating_sub(window.began_ns) >= window_ns {
            *window = AttemptWindow { began_ns: now_ns, attempts: 0 };
        }
        window.attempts = window.attempts.saturating_add(1);
        match window.attempts <= ATTEMPTS_MAX {
            true => Ok(()),
            false => {
                let left_ns = window_ns.saturating_sub(now_ns.saturating_sub(window.began_ns));
                Err(left_ns.div_ceil(1_000_000_000).max(1))
            }
        }
    }
}
