//! A server with its own data folder, which rounds kill and start again, and the job that runs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::story::Story;
use crate::{Api, Checkout, Server, wait_until};

/// Generous upper bound of every wait.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The components used by the pipelines.
const COMPONENTS: [&str; 2] = ["kinds", "event-time"];

/// Result of waiting for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The condition was reached.
    Reached,
    /// The job finished first.
    Ended,
}

/// A server that may be down, and its folder.
pub(super) struct Site {
    binary: PathBuf,
    pub(super) dir: PathBuf,
    server: Option<Server>,
}

impl Site {
    /// Uses the folder `dir` and the compiled components of earlier rounds.
    pub(super) fn new(checkout: &Checkout, binary: &Path, dir: PathBuf) -> Result<Site> {
        let cache = dir.join("data/cache");
        let compiled = compiled_components(checkout);
        if compiled.is_dir() {
            copy_missing(&compiled, &cache)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Site { binary: binary.to_owned(), dir, server: None })
    }

    /// Starts the server for the first time and uploads the components.
    pub(super) fn open(&mut self, checkout: &Checkout) -> Result<()> {
        self.start()?;
        for name in COMPONENTS {
            let bytes = fs::read(checkout.component(name)?)?;
            self.api()?.push(&bytes, Some(&format!("{name}@1")))?.ok()?;
        }
        // Other rounds reuse the compiled components.
        let cache = self.dir.join("data/cache");
        if cache.is_dir() {
            copy_missing(&cache, &compiled_components(checkout))?;
        }
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<()> {
        self.server = Some(Server::start(&self.binary, &self.dir, &[])?);
        Ok(())
    }

    /// Kills the server with SIGKILL.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.server.take().context("no server is up")?.kill()
    }

    pub(super) fn api(&self) -> Result<&Api> {
        Ok(&self.server.as_ref().context("no server is up")?.api)
    }

    pub(super) fn job(&self, id: &str) -> Result<Value> {
        self.api()?.job(id)
    }

    /// Submits a pipeline file, optionally from a checkpoint or savepoint.
    pub(super) fn submit(&self, pipeline: &str, from: Option<&Path>) -> Result<crate::Answer> {
        let query = from.map(|from| format!("?from={}", from.display())).unwrap_or_default();
        self.api()?.post(&format!("/v1/jobs{query}"), "application/toml", pipeline.as_bytes())
    }

    /// Waits until the job has read this many records since its start.
    pub(super) fn wait_for_records(&self, id: &str, records: u64) -> Result<Progress> {
        wait_until(&format!("job {id} has read {records} records"), TIMEOUT, || {
            let job = self.job(id)?;
            match job["status"].as_str() {
                Some("FINISHED") => Ok(Some(Progress::Ended)),
                Some("FAILED" | "CANCELED") => bail!("the job is {}: {}", job["status"], job["failure"]),
                _ => Ok((job["records_in"].as_u64() >= Some(records)).then_some(Progress::Reached)),
            }
        })
    }

    /// Waits until the job has its own complete checkpoint.
    pub(super) fn wait_for_checkpoint(&self, id: &str) -> Result<Progress> {
        wait_until(&format!("job {id} has a checkpoint"), TIMEOUT, || {
            let job = self.job(id)?;
            match job["status"].as_str() {
                Some("FINISHED") => return Ok(Some(Progress::Ended)),
                Some("FAILED" | "CANCELED") => bail!("the job is {}: {}", job["status"], job["failure"]),
                _ => {}
            }
            Ok((!self.complete(id).is_empty()).then_some(Progress::Reached))
        })
    }

    /// Waits until a resumed job is running or has ended, and returns it.
    pub(super) fn wait_until_resumed(&self, id: &str) -> Result<Value> {
        wait_until(&format!("job {id} is resumed"), TIMEOUT, || {
            let job = self.job(id)?;
            ensure!(job["status"] != "FAILED", "the job failed: {}", job["failure"]);
            Ok((job["status"] != "CREATED" && job["status"] != "SUSPENDED").then_some(job))
        })
    }

    /// Waits for the job's end and returns its last status. Fails if the job fails.
    pub(super) fn wait_for_end(&self, id: &str) -> Result<String> {
        wait_until(&format!("job {id} ends"), TIMEOUT, || {
            let job = self.job(id)?;
            match job["status"].as_str() {
                Some(status @ ("FINISHED" | "CANCELED")) => Ok(Some(status.to_owned())),
                Some("FAILED") => bail!("the job failed: {}", job["failure"]),
                _ => Ok(None),
            }
        })
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.dir.join("data/checkpoints")
    }

    /// Returns the complete checkpoints and savepoints of a job, ordered by id, with their folders.
    pub(super) fn complete(&self, job: &str) -> Vec<(u64, PathBuf)> {
        Site::complete_in(&self.checkpoints(), job)
    }

    /// Like [`Site::complete`], below the root of a storage.
    pub(super) fn complete_in(root: &Path, job: &str) -> Vec<(u64, PathBuf)> {
        let mut found = complete_folders(&root.join(job), "chk-");
        found.extend(savepoints_in(root, job));
        found.sort_unstable();
        found
    }

    /// Returns the complete savepoints of a job.
    pub(super) fn savepoints(&self, job: &str) -> Vec<(u64, PathBuf)> {
        savepoints_in(&self.checkpoints(), job)
    }

    /// Polls the storage without pauses until the job has a checkpoint above `newest`, for a limited time.
    pub(super) fn watch_for_checkpoint(&self, job: &str, newest: u64) -> Option<u64> {
        const WATCHED: Duration = Duration::from_millis(600);
        let start = Instant::now();
        while start.elapsed() < WATCHED {
            if let Some((id, _)) = self.complete(job).last()
                && *id > newest
            {
                return Some(*id);
            }
        }
        None
    }
}

fn savepoints_in(root: &Path, job: &str) -> Vec<(u64, PathBuf)> {
    complete_folders(&root.join("savepoints"), &format!("{job}-"))
}

/// Returns the folders in `parent` named by the prefix and a number that contain metadata, which is written last.
fn complete_folders(parent: &Path, prefix: &str) -> Vec<(u64, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let id = name.strip_prefix(prefix).and_then(|id| id.parse().ok());
        let whole = ["manifest", "metadata"].iter().any(|name| entry.path().join(name).is_file());
        found.extend(id.filter(|_| whole).map(|id| (id, entry.path())));
    }
    found
}

/// Sleeps up to `max`. This waits for no condition; it spreads the moments of kills.
pub(super) fn sleep_up_to(max: Duration, rng: &mut fastrand::Rng, story: &mut Story) {
    let time = Duration::from_micros(rng.u64(0..=max.as_micros() as u64));
    story.tell(format!("waits {:.1} ms", time.as_secs_f64() * 1e3));
    sleep(time);
}

/// Returns the folder in which rounds share compiled components.
fn compiled_components(checkout: &Checkout) -> PathBuf {
    checkout.target.join("crash/cache")
}

/// Copies files that `to` lacks. A file gets its final name when it is complete, because other rounds copy at the same
/// time.
fn copy_missing(from: &Path, to: &Path) -> Result<()> {
    const UNFINISHED: &str = "unfinished-";
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_missing(&entry.path(), &target)?;
        } else if !target.exists() {
            let unfinished = to.join(format!("{UNFINISHED}{:x}", fastrand::u64(..)));
            fs::copy(entry.path(), &unfinished)?;
            fs::rename(unfinished, target)?;
        }
    }
    Ok(())
}
