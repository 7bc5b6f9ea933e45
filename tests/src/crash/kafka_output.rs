//! The committed output of rounds with Kafka: when it is whole, and whether it is what the pipeline is defined to give.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::KafkaClient;

/// Counts the committed records of a topic. Each call reads on from where the last one ended.
pub(super) struct CommittedRecords {
    topic: &'static str,
    /// The next offset of each partition.
    next: BTreeMap<String, u64>,
    count: u64,
}

impl CommittedRecords {
    pub(super) fn of(topic: &'static str) -> CommittedRecords {
        CommittedRecords { topic, next: BTreeMap::new(), count: 0 }
    }

    /// Returns the number of records that a reader of committed records finds now.
    pub(super) fn count(&mut self, client: &KafkaClient) -> Result<u64> {
        let CommittedRecords { topic, next, count } = self;
        let request = json!({"do": "read", "topic": topic, "from": next});
        client.request(&request, |record| {
            let partition = record["partition"].as_u64().with_context(|| format!("no partition in {record}"))?;
            let offset = record["offset"].as_u64().with_context(|| format!("no offset in {record}"))?;
            next.insert(partition.to_string(), offset + 1);
            *count += 1;
            Ok(())
        })?;
        Ok(self.count)
    }
}

/// What the pipeline is defined to give.
pub(super) struct ExpectedOutput {
    pub(super) records: u64,
    pub(super) keys: u64,
    pub(super) window_ms: u64,
}

impl ExpectedOutput {
    /// Writes the committed records of the topics into files of `dir` and lets the oracle compare them. Returns what it prints, and the
    /// number of records.
    pub(super) fn check(&self, client: &KafkaClient, oracle: &Path, dir: &Path) -> Result<(String, u64)> {
        let mut files = Vec::new();
        let mut found = 0;
        for topic in ["counts", "windows"] {
            let path = dir.join(format!("{topic}.jsonl"));
            let mut lines = BufWriter::new(File::create(&path)?);
            client.request(&json!({"do": "read", "topic": topic}), |record| {
                found += 1;
                Ok(writeln!(lines, "{record}")?)
            })?;
            lines.flush()?;
            files.push(path);
        }
        let mut python = Command::new("python3");
        python
            .arg(oracle)
            .args([self.records, self.keys, self.window_ms].map(|number| number.to_string()))
            .args(&files);
        let output = python.output().context("cannot start python3")?;
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        Ok((printed, found))
    }
}
