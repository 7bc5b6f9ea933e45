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

use super::instance::GuestState;
use crate::turn::Refusal;

/// Interfaces that every component may import. Others reach outside, and need a grant that this version does not give.
pub(super) const ALLOWED: &[&str] = &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];

/// Bytes of stdout and stderr that are kept of one turn.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Bytes after which the guest's random sequence begins again.
const RANDOM_BYTES: usize = 4096;

/// Random bytes that a guest may ask for at once; the host has to hold them.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap(
        "poll",
        |_: StoreContextMut<'_, GuestState>, _: (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> {
            Err(waiting())
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_: StoreContextMut<'_, GuestState>, _: (Resource<DynPollable>,)| -> wasmtime::Result<()> { Err(waiting()) },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn waiting() -> wasmtime::Error {
    Refusal::InvalidCall("a guest cannot wait: time stands still during a turn".into()).into()
}

/// What the WASI of one instance is connected to.
#[derive(Clone, Default)]
pub(super) struct Ambient {
    processing_time_ms: Arc<AtomicI64>,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Ambient {
    pub(super) fn context(&self, seed: u64) -> WasiCtx {
        let random = |stream: u64| {
            let block = |counter: u64| crate::model::hash_key(&[seed, stream, counter].map(u64::to_le_bytes).concat());
            Deterministic::new((0..RANDOM_BYTES as u64 / 8).flat_map(|counter| block(counter).to_le_bytes()).collect())
        };
        WasiCtx::builder()
            .stdout(self.clone())
            .stderr(self.clone())
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

    /// What the turn wrote, as lines.
    pub(super) fn take_output(&self) -> Vec<String> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if output.is_empty() {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&output).into_owned();
        output.clear();
        text.lines().map(str::to_owned).collect()
    }
}

impl HostWallClock for Ambient {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.processing_time_ms.load(Ordering::Relaxed)).unwrap_or(0))
    }
}

impl HostMonotonicClock for Ambient {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        u64::try_from(self.processing_time_ms.load(Ordering::Relaxed)).unwrap_or(0).saturating_mul(1_000_000)
    }
}

impl IsTerminal for Ambient {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Ambient {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Ambient {
    async fn ready(&mut self) {}
}

impl OutputStream for Ambient {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT_BYTES_MAX.saturating_sub(output.len()).min(bytes.len());
        output.extend_from_slice(bytes.get(..room).unwrap_or(&[]));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(OUTPUT_BYTES_MAX)
    }
}
