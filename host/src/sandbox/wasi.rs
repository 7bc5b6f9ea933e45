//! WASI for guests whose toolchain requires it: empty and deterministic.
//!
//! There are no files, environment variables, arguments or sockets. Clocks return the turn's processing time, random
//! numbers come from the job's seed, and stdout and stderr go to the log of the turn. Time does not pass during a turn, so
//! waiting would never end: it is the fault `invalid-call`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiView};

use crate::turn::{HostCallError, LOG_LINE_BYTES_MAX};

/// Interfaces that every component may import. Other interfaces need a grant, which this version does not support.
pub(super) const ALLOWED: &[&str] = &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];

/// Maximum number of bytes of stdout and stderr that are kept per turn.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Length of the guest's random sequence, in bytes. It repeats after that.
const RANDOM_BYTES: usize = 4096;

/// Maximum number of random bytes per call. The host has to allocate them.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Adds the WASI interfaces to a linker.
pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap(
        "poll",
        |_: StoreContextMut<'_, T>, _: (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> {
            Err(waiting())
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_: StoreContextMut<'_, T>, _: (Resource<DynPollable>,)| -> wasmtime::Result<()> { Err(waiting()) },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn waiting() -> wasmtime::Error {
    HostCallError::InvalidCall("a guest cannot wait, because time does not pass during a turn".into()).into()
}

/// The clock and the output streams of one instance.
#[derive(Clone, Default)]
pub(super) struct WasiEnvironment {
    processing_time_ms: Arc<AtomicI64>,
    written: Arc<Mutex<GuestOutput>>,
}

/// The output of a guest in one turn.
#[derive(Default)]
struct GuestOutput {
    /// Bytes written to stdout and stderr, in order.
    output: Vec<u8>,
    /// Number of bytes that were not kept.
    dropped: usize,
    /// The last bytes written to stderr. A runtime that panics writes its message there.
    stderr_tail: Vec<u8>,
}

impl GuestOutput {
    fn write(&mut self, bytes: &[u8], to: OutputTarget) {
        let room = OUTPUT_BYTES_MAX.saturating_sub(self.output.len()).min(bytes.len());
        self.output.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.dropped = self.dropped.saturating_add(bytes.len() - room);
        if to == OutputTarget::Stderr {
            self.stderr_tail
                .extend_from_slice(bytes.get(bytes.len().saturating_sub(LOG_LINE_BYTES_MAX)..).unwrap_or_default());
            let surplus = self.stderr_tail.len().saturating_sub(LOG_LINE_BYTES_MAX);
            self.stderr_tail.drain(..surplus);
        }
    }
}

/// The output stream that a guest writes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutputTarget {
    Stdout,
    Stderr,
}

/// One of the two output streams of a guest.
#[derive(Clone)]
struct GuestOutputStream {
    environment: WasiEnvironment,
    stream: OutputTarget,
}

impl WasiEnvironment {
    /// Creates the WASI context of an instance.
    pub(super) fn context(&self, seed: u64) -> WasiCtx {
        let random = |stream: u64| {
            let block = |counter: u64| crate::model::hash_key(&[seed, stream, counter].map(u64::to_le_bytes).concat());
            Deterministic::new((0..RANDOM_BYTES as u64 / 8).flat_map(|counter| block(counter).to_le_bytes()).collect())
        };
        WasiCtx::builder()
            .stdout(GuestOutputStream { environment: self.clone(), stream: OutputTarget::Stdout })
            .stderr(GuestOutputStream { environment: self.clone(), stream: OutputTarget::Stderr })
            .wall_clock(self.clone())
            .monotonic_clock(self.clone())
            .secure_random(random(0))
            .insecure_random(random(1))
            .insecure_random_seed(u128::from(seed))
            .max_random_size(RANDOM_BYTES_MAX)
            .build()
    }

    /// Sets the time that the guest's clocks return.
    pub(super) fn set_time(&self, processing_time_ms: i64) {
        self.processing_time_ms.store(processing_time_ms, Ordering::Relaxed);
    }

    /// Takes the output of the turn as lines. If bytes were dropped, a last line reports their number.
    pub(super) fn take_output(&self) -> Vec<String> {
        let mut written = self.written();
        if written.output.is_empty() {
            return Vec::new();
        }
        let GuestOutput { output, dropped, .. } = std::mem::take(&mut *written);
        let text = String::from_utf8_lossy(&output);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if dropped > 0 {
            lines.push(format!(
                "{dropped} more bytes of output were dropped, because a turn keeps only {OUTPUT_BYTES_MAX}"
            ));
        }
        lines
    }

    /// Returns the last output of the turn on stderr, or `None` if there was none.
    pub(super) fn stderr_tail(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.written().stderr_tail).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn written(&self) -> std::sync::MutexGuard<'_, GuestOutput> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostWallClock for WasiEnvironment {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.processing_time_ms.load(Ordering::Relaxed)).unwrap_or(0))
    }
}

impl HostMonotonicClock for WasiEnvironment {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.processing_time_ms.load(Ordering::Relaxed)).unwrap_or(0).saturating_mul(1_000_000)
    }
}

impl IsTerminal for GuestOutputStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutputStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutputStream {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutputStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.environment.written().write(&bytes, self.stream);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(OUTPUT_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_lines_and_excess_bytes_are_counted() {
        let environment = WasiEnvironment::default();
        assert!(environment.take_output().is_empty() && environment.stderr_tail().is_none());
        environment.written().write(b"one\ntwo\n", OutputTarget::Stdout);
        environment.written().write(b"thread 'main' panicked\n", OutputTarget::Stderr);
        assert_eq!(environment.stderr_tail().as_deref(), Some("thread 'main' panicked"));
        assert_eq!(environment.take_output(), ["one", "two", "thread 'main' panicked"]);
        assert!(environment.stderr_tail().is_none(), "the output of the previous turn is gone");

        environment.written().write(&[b'x'; OUTPUT_BYTES_MAX], OutputTarget::Stderr);
        environment.written().write(b"the last words", OutputTarget::Stderr);
        assert!(environment.stderr_tail().unwrap().ends_with("xthe last words"));
        assert!(environment.take_output()[1].starts_with("14 more bytes"));
    }
}
