//! Waiting for a condition in another process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls `condition` until it returns a value. Fails after `timeout`, which only bounds how long a broken test hangs,
/// so it can be generous.
pub fn wait_until<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > timeout {
            bail!("not within {} s: {what}", timeout.as_secs());
        }
        sleep(Duration::from_millis(5));
    }
}
