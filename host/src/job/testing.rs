//! Test support: hosts on a temporary data folder, and helpers that wait for jobs and read their output.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::host::{Host, HostOptions};
use super::registry::Submission;
use super::view::{JobDetail, SavepointView};
use crate::access::AccessPolicy;

/// A data folder that hosts are opened on, one after the other.
pub struct TestHost {
    runtime: Runtime,
    pub folder: TempDir,
}

impl TestHost {
    /// Creates an empty data folder.
    pub fn new() -> TestHost {
        TestHost { runtime: Runtime::new().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    /// Opens a host on the data folder.
    pub fn open(&self) -> Host {
        self.open_with(AccessPolicy::default())
    }

    /// Opens a host whose pipelines may access what `policy` allows.
    pub fn open_with(&self, policy: AccessPolicy) -> Host {
        let options = HostOptions {
            component_bytes_max: 1 << 20,
            policy,
            ..HostOptions::new(self.folder.path().join("data"), self.runtime.handle().clone())
        };
        Host::open(options).unwrap()
    }

    /// Returns the folder that the test pipelines write to.
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Submits an endless pipeline that writes numbers to files and takes no periodic checkpoints. Waits until it has
    /// read records.
    pub fn submit(&self, host: &Host, more: &str) -> String {
        self.submit_pipeline(
            host,
            format!(
                "name = \"numbers\"\n{more}\n[source.numbers]\nconnector = \"generator\"\nrate = 20000\n\
                 [sink.out]\ninput = \"numbers\"\nconnector = \"file\"\npath = \"out\"\n"
            ),
        )
    }

    /// Returns a submission of a pipeline whose relative paths start in the folder of the test.
    pub fn submission(&self, pipeline_text: impl Into<String>) -> Submission {
        let base_dir = Some(self.folder.path().to_owned());
        Submission { base_dir, ..Submission::new(pipeline_text, "pipeline.toml") }
    }

    /// Submits a pipeline and waits until its sources have read records. Returns the job's id.
    pub fn submit_pipeline(&self, host: &Host, pipeline_text: String) -> String {
        let submission = self.submission(pipeline_text);
        let id = host.submit(submission).unwrap().summary.id;
        wait(host, &id, |job| job.summary.records_in > 0);
        id
    }
}

/// Waits until a job meets a condition. The test hangs if it never does.
pub fn wait(host: &Host, id: &str, condition: impl Fn(&JobDetail) -> bool) -> JobDetail {
    loop {
        let job = host.await_end(id, Duration::from_millis(5)).unwrap();
        if condition(&job) {
            return job;
        }
    }
}

/// Waits until a savepoint request is answered.
pub fn answer(host: &Host, id: &str, request: &SavepointView) -> SavepointView {
    loop {
        let view = host.savepoint(id, &request.request_id).unwrap();
        if view.status != "in-progress" {
            return view;
        }
        host.await_end(id, Duration::from_millis(5)).unwrap();
    }
}

/// Returns the published numbers, and checks that none is published twice.
pub fn published(out: &Path) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        for line in fs::read_to_string(entry).unwrap().lines() {
            assert!(numbers.insert(line.parse().unwrap()), "{line} is published twice");
        }
    }
    numbers
}

/// Returns the number of files that a sink has prepared and not published.
pub fn prepared_files(out: &Path) -> usize {
    fs::read_dir(out.join(".pending")).unwrap().count()
}
