//! A server with its own data folder, which rounds kill and start again, and the job that runs in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::fail_points::{self, Aim};
use super::story::Story;
use crate::{Api, Checkout, Server, wait_until};

/// Generous upper bound of every wait.
const TIMEOUT: Duration = Duration::from_secs(120);
/// The components used by most pipelines.
pub(super) const COMPONENTS: &[&str] = &["kinds", "event-time", "repairable"];

/// Result of waiting for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The condition was reached.
    Reached,
    /// The job finished first.
    Ended,
}

/// Most lives of a server that die before they listen.
const STARTS_MAX: usize = 20;

/// How a job has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// Its sources have ended.
    Finished,
    Canceled,
    /// By a stop, whose savepoint is complete.
    Stopped,
}

impl JobEnd {
    /// Returns `None` if the job runs or has failed.
    pub(super) fn of(job: &Value) -> Option<JobEnd> {
        match job["status"].as_str() {
            Some("FINISHED") if job["stop"]["location"].is_string() => Some(JobEnd::Stopped),
            Some("FINISHED") => Some(JobEnd::Finished),
            Some("CANCELED") => Some(JobEnd::Canceled),
            _ => None,
        }
    }
}

/// A server that may be down, and its folder.
pub(super) struct Site {
    binary: PathBuf,
    pub(super) dir: PathBuf,
    server: Option<Server>,
    faults: Option<PlannedFaults>,
    components: &'static [&'static str],
    /// Further arguments of the server.
    arguments: Vec<String>,
}

/// What happens at the fail points of the server.
pub(super) struct PlannedFaults {
    /// Aims that were not hit.
    aims: Vec<Aim>,
    /// The rest of the script of every process.
    script: String,
    /// Kills that the log has shown so far.
    kills_seen: usize,
}

impl PlannedFaults {
    pub(super) fn new(aims: &[Aim], script: String) -> PlannedFaults {
        PlannedFaults { aims: aims.to_vec(), script, kills_seen: 0 }
    }

    fn script(&self, log: &Path) -> String {
        let aims: Vec<String> = self.aims.iter().map(Aim::script).collect();
        format!("{};{};log={}", aims.join(";"), self.script, log.display())
    }
}

impl Site {
    /// Uses the folder `dir` and the compiled components of earlier rounds.
    pub(super) fn new(checkout: &Checkout, binary: &Path, dir: PathBuf) -> Result<Site> {
        let site = Site::without_compiled_components(binary, dir)?;
        let compiled = compiled_components(checkout);
        if compiled.is_dir() {
            copy_missing(&compiled, &site.dir.join("data/cache"))?;
        }
        Ok(site)
    }

    /// Uses the folder `dir`. The server compiles the components.
    pub(super) fn without_compiled_components(binary: &Path, dir: PathBuf) -> Result<Site> {
        fs::create_dir_all(&dir)?;
        let (server, faults, arguments) = (None, None, Vec::new());
        Ok(Site { binary: binary.to_owned(), dir, server, faults, components: COMPONENTS, arguments })
    }

    /// Uses other components.
    pub(super) fn with_components(self, components: &'static [&'static str]) -> Site {
        Site { components, ..self }
    }

    /// Starts the server with further arguments.
    pub(super) fn with_arguments(self, arguments: &[&str]) -> Site {
        Site { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(), ..self }
    }

    /// Returns whether faults are planned.
    pub(super) fn has_faults(&self) -> bool {
        self.faults.is_some()
    }

    /// Sends a signal to the server by its name, such as `STOP` and `CONT`.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let process = self.server.as_ref().context("no server is up")?.process_id();
        let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status()?;
        ensure!(status.success(), "cannot send SIG{name} to the server");
        Ok(())
    }

    /// Plans faults for all later processes of the server, which must have been built with fail points.
    pub(super) fn plan_faults(&mut self, faults: PlannedFaults) {
        self.faults = Some(faults);
    }

    /// Starts the server for the first time and uploads the components.
    pub(super) fn open(&mut self, checkout: &Checkout) -> Result<()> {
        self.start()?;
        self.push_components(checkout)
    }

    /// Uploads the components. Those that exist are not changed.
    pub(super) fn push_components(&mut self, checkout: &Checkout) -> Result<()> {
        for name in self.components {
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

    /// Starts the server. It may die at fail points before it listens.
    pub(super) fn start(&mut self) -> Result<()> {
        let log = self.fault_log();
        let arguments = self.arguments.clone();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for _ in 0..STARTS_MAX {
            let mut command = Command::new(&self.binary);
            if let Some(faults) = &self.faults {
                command.env(fail_points::VARIABLE, faults.script(&log));
            }
            match Server::start_by(command, &self.dir, &arguments) {
                Ok(server) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) if !self.has_new_kill() => return Err(error),
                Err(_) => {}
            }
        }
        bail!("the server died {STARTS_MAX} times before it listened")
    }

    /// The file to which the server appends what happens at fail points.
    pub(super) fn fault_log(&self) -> PathBuf {
        self.dir.join("fail-points.log")
    }

    /// Returns whether the server has killed itself at a fail point since the last call. Then it is down.
    pub(super) fn has_died_at_a_fail_point(&mut self) -> Result<bool> {
        if !self.has_new_kill() {
            return Ok(false);
        }
        if let Some(mut server) = self.server.take() {
            wait_until("the server is dead after it has killed itself", TIMEOUT, || {
                Ok((!server.is_up()?).then_some(()))
            })?;
        }
        Ok(true)
    }

    /// Reads the log: forgets the aims that were hit, and returns whether the server has killed itself since the last call.
    fn has_new_kill(&mut self) -> bool {
        let log = fs::read_to_string(self.fault_log()).unwrap_or_default();
        let Some(faults) = &mut self.faults else { return false };
        faults.aims.retain(|aim| !aim.is_hit(&log));
        let kills = log.lines().filter(|line| line.starts_with("kill ")).count();
        std::mem::replace(&mut faults.kills_seen, kills) < kills
    }

    /// Kills the server with SIGKILL, unless it is dead already.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(server) = self.server.take() {
            server.kill()?;
        } else {
            ensure!(self.faults.is_some(), "no server is up");
        }
        self.has_new_kill();
        Ok(())
    }

    pub(super) fn api(&self) -> Result<&Api> {
        Ok(&self.server.as_ref().context("no server is up")?.api)
    }

    pub(super) fn job(&self, id: &str) -> Result<Value> {
        self.api()?.job(id)
    }

    /// Submits a pipeline file, optionally from a checkpoint or savepoint.
    pub(super) fn submit(&self, pipeline: &str, from: Option<&Path>) -> Result<crate::Answer> {
        self.submit_claiming(pipeline, from, false)
    }

    /// Like [`Site::submit`]. The job may own what it starts from.
    pub(super) fn submit_claiming(&self, pipeline: &str, from: Option<&Path>, claim: bool) -> Result<crate::Answer> {
        let query = from.map(|from| format!("?from={}&claim={claim}", from.display())).unwrap_or_default();
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

    /// Waits for the job's end. Fails if the job fails.
    pub(super) fn wait_for_end(&self, id: &str) -> Result<JobEnd> {
        wait_until(&format!("job {id} ends"), TIMEOUT, || {
            let job = self.job(id)?;
            ensure!(job["status"] != "FAILED", "the job failed: {}", job["failure"]);
            Ok(JobEnd::of(&job))
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

/// Returns the files below a folder.
pub(super) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files_below(&path)),
            path => found.push(path),
        }
    }
    found
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
