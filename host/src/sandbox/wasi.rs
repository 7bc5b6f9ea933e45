//! WASI for guests whose toolchain requires it: empty and deterministic.
//!
//! Without grants there are no files, environment variables and arguments. No socket can be created. Clocks return the turn's
//! processing time, and stdout and stderr go to the log of the turn. A grant adds environment variables, a folder that can be read,
//! or clocks that show the real time.
//!
//! Time does not pass during a turn. A guest that waits continues at once, as if what it waits for were ready: runtimes sleep
//! before they abort, and yield while they start. A guest that waits in a loop uses up its deadline.
//!
//! Random numbers derive from the job's seed, the operator, and the place of the turn: its input, its position, and its first
//! key group or else its subtask. So a turn that runs again over the same records draws the same numbers, whatever the
//! instance did before. The host does not know which record a guest is handling, so the numbers also depend on where a batch
//! was cut. A guest that needs numbers which do not can derive them from `seed` and `position` of `context`, and the index of
//! the record.

use std::convert::Infallible;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand_core::TryRng;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiView};

use crate::clock::{SharedClock, SystemClock};
use crate::error::{self, Result as HostResult};
use crate::model::hash_key;
use crate::pipeline::{GrantedFolder, Grants};
use crate::turn::{HostCallError, LOG_LINE_BYTES_MAX};

/// Maximum number of bytes of stdout and stderr that are kept per turn.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of random bytes per call. The host has to allocate them.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Adds the WASI interfaces to a linker.
pub(super) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap(
        "poll",
        |_: StoreContextMut<'_, T>, (polled,): (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> {
            if polled.is_empty() {
                return Err(HostCallError::InvalidCall("`poll` needs at least one pollable".into()).into());
            }
            Ok(((0..polled.len() as u32).collect(),))
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_: StoreContextMut<'_, T>, _: (Resource<DynPollable>,)| -> wasmtime::Result<()> { Ok(()) },
    )?;
    poll.func_wrap(
        "[method]pollable.ready",
        |_: StoreContextMut<'_, T>, _: (Resource<DynPollable>,)| -> wasmtime::Result<(bool,)> { Ok((true,)) },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The clock, the random numbers and the output streams of one instance.
#[derive(Clone, Default)]
pub(super) struct WasiEnvironment {
    shared: Arc<SharedEnvironment>,
}

#[derive(Default)]
struct SharedEnvironment {
    /// The real clock, if it is granted.
    real: Option<SharedClock>,
    processing_time_ms: AtomicI64,
    /// Seed of the turn's random numbers.
    seed: AtomicU64,
    /// How many random numbers the turn has drawn.
    drawn: AtomicU64,
    written: Mutex<GuestOutput>,
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
    /// Creates the environment of an instance with these grants.
    pub(super) fn new(grants: &Grants) -> WasiEnvironment {
        let real = grants.clock.then(SystemClock::shared);
        WasiEnvironment { shared: Arc::new(SharedEnvironment { real, ..SharedEnvironment::default() }) }
    }

    /// Creates the WASI context of an instance. Error: `sandbox-unavailable` if the granted folder cannot be opened.
    pub(super) fn context(&self, seed: u64, grants: &Grants) -> HostResult<WasiCtx> {
        let random = |stream| GuestRandom { environment: self.clone(), stream };
        self.shared.seed.store(seed, Ordering::Relaxed);
        let mut builder = WasiCtx::builder();
        builder
            .stdout(GuestOutputStream { environment: self.clone(), stream: OutputTarget::Stdout })
            .stderr(GuestOutputStream { environment: self.clone(), stream: OutputTarget::Stderr })
            .wall_clock(self.clone())
            .monotonic_clock(self.clone())
            .secure_random(random(0))
            .insecure_random(random(1))
            .insecure_random_seed(u128::from(seed))
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .socket_addr_check(|_, _| Box::pin(async { false }));
        for (name, value) in &grants.env {
            builder.env(name, value);
        }
        if let Some(GrantedFolder { path, at }) = &grants.folder {
            // Calls read files on the subtask's own thread.
            builder.allow_blocking_current_thread(true);
            builder.preopened_dir(path, at, FsPerms::ReadOnly).map_err(|cause| {
                error::sandbox_unavailable(format!("the granted folder {} cannot be opened: {cause:#}", path.display()))
            })?;
        }
        Ok(builder.build())
    }

    /// Sets the time that the guest's clocks return, and the seed of its random numbers.
    pub(super) fn begin_turn(&self, processing_time_ms: i64, seed: u64) {
        self.shared.processing_time_ms.store(processing_time_ms, Ordering::Relaxed);
        self.shared.seed.store(seed, Ordering::Relaxed);
        self.shared.drawn.store(0, Ordering::Relaxed);
    }

    fn processing_time_ms(&self) -> u64 {
        u64::try_from(self.shared.processing_time_ms.load(Ordering::Relaxed)).unwrap_or(0)
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
        self.shared.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostWallClock for WasiEnvironment {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        let real = self.shared.real.as_ref().map(|clock| u64::try_from(clock.wall_ms()).unwrap_or(0));
        Duration::from_millis(real.unwrap_or_else(|| self.processing_time_ms()))
    }
}

impl HostMonotonicClock for WasiEnvironment {
    fn resolution(&self) -> u64 {
        if self.shared.real.is_some() { 1 } else { 1_000_000 }
    }

    /// Never 0, as it would be in `describe`: Go's runtime takes 0 for a broken clock.
    fn now(&self) -> u64 {
        match &self.shared.real {
            Some(clock) => clock.monotonic_ns().max(1),
            None => self.processing_time_ms().saturating_mul(1_000_000).max(1),
        }
    }
}

/// One of the two sequences of random numbers of a guest.
struct GuestRandom {
    environment: WasiEnvironment,
    stream: u64,
}

impl TryRng for GuestRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let SharedEnvironment { seed, drawn, .. } = &*self.environment.shared;
        let number = [seed.load(Ordering::Relaxed), self.stream, drawn.fetch_add(1, Ordering::Relaxed)];
        Ok(hash_key(number.map(u64::to_le_bytes).as_flattened()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        Ok(())
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
    fn random_numbers_depend_on_the_turn_and_not_on_what_was_drawn_before() {
        let environment = WasiEnvironment::default();
        let mut random = [0, 1].map(|stream| GuestRandom { environment: environment.clone(), stream });
        let mut draw = |seed, before: usize| {
            environment.begin_turn(0, 9);
            random[0].try_fill_bytes(&mut vec![0; before]).unwrap();
            environment.begin_turn(0, seed);
            let mut bytes = [0; 13];
            random[0].try_fill_bytes(&mut bytes).unwrap();
            (bytes, random[1].try_next_u64().unwrap())
        };
        assert_eq!(draw(7, 0), draw(7, 100));
        assert_ne!(draw(7, 0), draw(8, 0));
        let (secure, insecure) = draw(7, 0);
        assert_ne!(secure[..8], insecure.to_le_bytes());
        assert_ne!(secure[..5], secure[8..]);
    }

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
