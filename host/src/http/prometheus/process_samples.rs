//! The series of the server's process.

use std::fs;

use super::catalog;
use super::exposition::{Exposition, SampleValue};
use super::job_samples::distribution;
use crate::clock::process_cpu_time;
use crate::sandbox::CompileTotals;
use crate::state::DatabaseMemory;
use crate::tracer::SpanCounts;

/// Adds the series of exported traces.
pub fn add_traces(scrape: &mut Exposition, spans: SpanCounts) {
    for (result, count) in [("exported", spans.exported), ("dropped", spans.dropped)] {
        scrape.add(&catalog::TRACE_SPANS, vec![("result", result.to_owned())], SampleValue::Count(count));
    }
}

/// Adds the series of the process, which began to listen at this time.
pub fn add_process(scrape: &mut Exposition, started_at_ms: i64) {
    let number = SampleValue::Number;
    scrape.add(&catalog::PROCESS_START, Vec::new(), number(started_at_ms as f64 / 1000.0));
    scrape.add(&catalog::PROCESS_CPU, Vec::new(), number(process_cpu_time().as_secs_f64()));
    if let Some(bytes) = resident_bytes() {
        scrape.add(&catalog::PROCESS_MEMORY, Vec::new(), SampleValue::Count(bytes));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        let open = (open.count() as u64).saturating_sub(1);
        scrape.add(&catalog::PROCESS_FDS, Vec::new(), SampleValue::Count(open));
    }
    if let Ok((limit, _)) = rlimit::getrlimit(rlimit::Resource::NOFILE) {
        scrape.add(&catalog::PROCESS_MAX_FDS, Vec::new(), SampleValue::Count(limit));
    }
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    scrape.add(&catalog::BUILD_INFO, version, SampleValue::Count(1));
}

/// Adds what all databases share.
pub fn add_databases(scrape: &mut Exposition, memory: &DatabaseMemory) {
    for (part, bytes) in [("block_cache", memory.block_cache_bytes), ("memtables", memory.memtable_bytes)] {
        scrape.add(&catalog::STATE_MEMORY, vec![("part", part.to_owned())], SampleValue::Count(bytes as u64));
    }
    scrape.add(&catalog::STATE_MEMORY_LIMIT, Vec::new(), SampleValue::Count(memory.limit_bytes as u64));
    scrape.add(&catalog::DATABASES, Vec::new(), SampleValue::Count(memory.databases as u64));
}

/// Adds what the server has compiled.
pub fn add_compilations(scrape: &mut Exposition, totals: &CompileTotals) {
    for (result, seconds) in [("completed", &totals.completed), ("failed", &totals.failed)] {
        scrape.add(&catalog::COMPILE, vec![("result", result.to_owned())], distribution(seconds));
    }
    scrape.add(&catalog::CODE_CACHE_HITS, Vec::new(), SampleValue::Count(totals.cache_hits));
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
