//! WASI for guests whose toolchain insists on it: empty and deterministic.
//!
//! No files, no environment, no arguments, no sockets. Clocks show the turn's processing time, randomness comes from the
//! job's seed, what is written to stdout and stderr goes to the log of the turn. Time stands still during a turn, so a
//! guest that waits for it would wait forever: waiting is the fault `invalid-call`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx};

use super::instance::StoreData;
use crate::turn::{HostCallError, LOG_LINE_BYTES_MAX};

/// Interfaces that every component may import. Others reach outside, and need a grant that this version does not give.
pub(super) const ALLOWED: &[&str] = &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];

/// Bytes of stdout and stderr that are kept of one turn.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Bytes after which the guest's random sequence begins again.
const RANDOM_BYTES: usize = 4096;

/// Random bytes that a guest may ask for at once; the host has to hold them.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

pub(super) fn add_to_linker(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap(
        "poll",
        |_: StoreContextMut<'_, StoreData>, _: (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> {
            Err(waiting())
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_: StoreContextMut<'_, StoreData>, _: (Resource<DynPollable>,)| -> wasmtime::Result<()> { Err(waiting()) },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn waiting() -> wasmtime::Error {
    HostCallError::InvalidCall("a guest cannot wait: time stands still during a turn".into()).into()
}

/// What the WASI of one instance is connected to.
#[derive(Clone, Default)]
pub(super) struct WasiEnvironment {
    processing_time_ms: Arc<AtomicI64>,
    written: Arc<Mutex<GuestOutput>>,
}

/// What a guest wrote in one turn.
#[derive(Default)]
struct GuestOutput {
    /// To stdout and stderr, in order.
    output: Vec<u8>,
    /// Bytes of it that were not kept.
    dropped: usize,
    /// To stderr alone, the last of it: a runtime that panics says so there.
    complaint: Vec<u8>,
}

impl GuestOutput {
    fn write(&mut self, bytes: &[u8], to: OutputTarget) {
        let room = OUTPUT_BYTES_MAX.saturating_sub(self.output.len()).min(bytes.len());
        self.output.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.dropped = self.dropped.saturating_add(bytes.len() - room);
        if to == OutputTarget::Stderr {
            self.complaint
                .extend_from_slice(bytes.get(bytes.len().saturating_sub(LOG_LINE_BYTES_MAX)..).unwrap_or_default());
            let surplus = self.complaint.len().saturating_sub(LOG_LINE_BYTES_MAX);
            self.complaint.drain(..surplus);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OutputTarget {
    Stdout,
    Stderr,
}

/// One of a guest's output streams.
#[derive(Clone)]
struct GuestOutputStream {
    ambient: WasiEnvironment,
    stream: OutputTarget,
}

impl WasiEnvironment {
    pub(super) fn context(&self, seed: u64) -> WasiCtx {
        let random = |stream: u64| {
            let block = |counter: u64| crate::model::hash_key(&[seed, stream, counter].map(u64::to_le_bytes).concat());
            Deterministic::new((0..RANDOM_BYTES as u64 / 8).flat_map(|counter| block(counter).to_le_bytes()).collect())
        };
        WasiCtx::builder()
            .stdout(GuestOutputStream { ambient: self.clone(), stream: OutputTarget::Stdout })
            .stderr(GuestOutputStream { ambient: self.clone(), stream: OutputTarget::Stderr })
            .wall_clock(self.clone())
            .monotonic_clock(self.clone())
            .secure_random(random(0))
            .insecure_random(random(1))
            .insecure_random_seed(u128::from(seed))
            .max_random_size(RANDOM_BYTES_MAX)
            .build()
    }

    pub(super) fn set_time(&self, processing_time_ms: i64) {
        self.processing_time_ms.store(processing_time_ms, Ordering::Relaxed);
    }

    /// What the turn wrote, as lines; the last of them says how much more there was.
    pub(super) fn take_output(&self) -> Vec<String> {
        let mut written = self.written();
        if written.output.is_empty() {
            return Vec::new();
        }
        let GuestOutput { output, dropped, .. } = std::mem::take(&mut *written);
        let text = String::from_utf8_lossy(&output);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if dropped > 0 {
            lines.push(format!("{dropped} more bytes of output were dropped: a turn keeps {OUTPUT_BYTES_MAX}"));
        }
        lines
    }

    /// The last of what the turn wrote to stderr; none where it wrote nothing there.
    pub(super) fn complaint(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.written().complaint).trim().to_owned();
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
        self.ambient.written().write(&bytes, self.stream);
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
    fn output_becomes_lines_and_what_is_too_much_is_counted() {
        let ambient = WasiEnvironment::default();
        assert!(ambient.take_output().is_empty() && ambient.complaint().is_none());
        ambient.written().write(b"one\ntwo\n", OutputTarget::Stdout);
        ambient.written().write(b"thread 'main' panicked\n", OutputTarget::Stderr);
        assert_eq!(ambient.complaint().as_deref(), Some("thread 'main' panicked"));
        assert_eq!(ambient.take_output(), ["one", "two", "thread 'main' panicked"]);
        assert!(ambient.complaint().is_none(), "a turn does not see what the one before it wrote");

        ambient.written().write(&[b'x'; OUTPUT_BYTES_MAX], OutputTarget::Stderr);
        ambient.written().write(b"the last words", OutputTarget::Stderr);
        assert!(ambient.complaint().unwrap().ends_with("xthe last words"));
        assert!(ambient.take_output()[1].starts_with("14 more bytes"));
    }
}
