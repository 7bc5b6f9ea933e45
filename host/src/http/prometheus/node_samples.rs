//! The series of turns, timers and databases.

use super::catalog;
use super::exposition::{Exposition, SampleValue};
use super::job_samples::{distribution, operator_labels};
use crate::job::MonitoredJob;
use crate::model::TimeDomain;
use crate::runtime::NodeMeters;

/// Adds the timers and the databases of a job's operators.
pub fn add_timers_and_databases(scrape: &mut Exposition, namespace: &str, job: &MonitoredJob) {
    for (operator, meters) in &job.meters {
        let labels = || operator_labels(namespace, &job.name, operator);
        for domain in [TimeDomain::Event, TimeDomain::Processing] {
            let Some(timers) = &meters.timers[domain as usize] else { continue };
            let labels = || [labels(), vec![("domain", domain.as_str().to_owned())]].concat();
            scrape.add(&catalog::TIMERS_REGISTERED, labels(), SampleValue::Count(timers.totals.registered));
            scrape.add(&catalog::TIMERS_FIRED, labels(), SampleValue::Count(timers.totals.fired));
            // At the end of time are timers that fire with the end of the input.
            if let Some(next_ms) = timers.next_ms.filter(|next_ms| *next_ms != i64::MAX) {
                scrape.add(&catalog::TIMERS_NEXT, labels(), SampleValue::Number(next_ms as f64 / 1000.0));
            }
        }
        let Some(database) = &meters.database else { continue };
        for (metric, count) in [
            (&catalog::ROCKSDB_FILES, database.files),
            (&catalog::ROCKSDB_FILE_BYTES, database.file_bytes),
            (&catalog::ROCKSDB_COMPACTION_DEBT, database.pending_compaction_bytes),
            (&catalog::ROCKSDB_COMPACTIONS, database.running_compactions),
            (&catalog::ROCKSDB_STALLS, database.write_stalls),
            (&catalog::ROCKSDB_CACHE_BYTES, database.cache_bytes),
        ] {
            scrape.add(metric, labels(), SampleValue::Count(count));
        }
    }
}

/// Adds the turns of a job's operators.
pub fn add_turns(scrape: &mut Exposition, namespace: &str, job: &MonitoredJob) {
    let has_turns = |(_, meters): &(&String, &NodeMeters)| meters.turns.count() > 0;
    for (operator, meters) in job.meters.iter().filter(has_turns) {
        let labels = operator_labels(namespace, &job.name, operator);
        scrape.add(&catalog::TURN_SECONDS, labels, distribution(&meters.turns));
    }
}
