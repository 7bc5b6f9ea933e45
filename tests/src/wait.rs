//! Waiting for a condition in another process.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks `condition` again and again, until it gives a value. An error where it gives none within `timeout`; generous,
/// as it only bounds how long a broken test hangs.
pub fn wait_until<T>(what: &str, timeout: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        if start.elapsed() > timeout {
            bail!("waited {} s in vain: {what}", timeout.as_secs());
        }
        sleep(Duration::from_millis(5));
    }
}
