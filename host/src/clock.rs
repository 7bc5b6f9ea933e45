//! The clock and randomness, which other modules get injected.
//!
//! Invariant: no other module reads time or randomness (clippy `disallowed-methods`). So a test can control the clock, and a
//! failure can be replayed from its seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Result, internal};

/// A source of wall-clock and monotonic time.
pub trait Clock: Send + Sync {
    /// Returns the milliseconds since the Unix epoch.
    fn wall_ms(&self) -> i64;
    /// Returns the nanoseconds since a fixed moment of this process. Never decreases.
    fn monotonic_ns(&self) -> u64;
}

/// A clock that several threads share.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the machine.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Creates a clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn shared() -> SharedClock {
        Arc::new(SystemClock { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Returns the processor time of the process.
#[cfg(unix)]
pub fn process_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the time since the first call, on systems without a clock of processor time.
#[cfg(not(unix))]
pub fn process_cpu_time() -> Duration {
    thread_cpu_time()
}

/// Returns the processor time of the calling thread. This is a system call, so do not make it for every record.
#[cfg(unix)]
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the time since the thread's first call, on systems without thread clocks.
#[cfg(not(unix))]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
pub fn thread_cpu_time() -> Duration {
    thread_local!(static START: Instant = Instant::now());
    START.with(Instant::elapsed)
}

/// A clock that a test sets. Both of its times are equal.
#[derive(Default)]
pub struct ManualClock {
    ms: AtomicI64,
}

impl ManualClock {
    /// Sets the time, in milliseconds since the Unix epoch.
    pub fn set_ms(&self, ms: i64) {
        self.ms.store(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.ms.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.ms.load(Ordering::SeqCst)).unwrap_or(0).saturating_mul(1_000_000)
    }
}

/// Returns a random number, for ids and for the seed of a job that does not set one.
#[expect(clippy::disallowed_methods, reason = "the one place that reads randomness")]
pub fn random_u64() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Fills `bytes` with randomness for secrets, from the operating system. Error: `internal` if it gives none.
pub fn fill_secret(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| internal(format!("the system gives no randomness: {error}")))
}
