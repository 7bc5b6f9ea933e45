//! Rounds in two data folders. The server is killed around a savepoint, and its data folder is set aside. A new job in
//! another folder continues from the newest complete checkpoint or savepoint. Its prepared output must be published
//! once, by the old or the new job.
//!
//! Many sinks prolong the time between the durable savepoint and the end of publishing, so that kills hit it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Round;
use super::branches::{self, Rescaling};
use super::input::Input;
use super::model;
use super::operators::check_output;
use super::pipeline::{Pace, Settings, Topology, copy_sink};
use super::site::{JobEnd, Progress, Site, sleep_up_to};
use crate::{committed_lines, difference, wait_until};

const AFTER_THE_METADATA: &str = "after the metadata";
const BEFORE_THE_ANSWER: &str = "before the answer";
const AFTER_THE_ANSWER: &str = "after the answer";

/// The moments of kills, relative to the request.
pub(super) const KILLS: &[&str] = &[AFTER_THE_METADATA, BEFORE_THE_ANSWER, AFTER_THE_ANSWER];

/// Number of sinks that each publish all records of one source.
const COPIES: u32 = 30;
const BRANCHES: usize = 2;
const TIMEOUT: Duration = Duration::from_secs(60);

struct Run<'r, 'a> {
    round: &'r mut Round<'a>,
    input: Input,
    topology: Topology,
    settings: Settings,
    rescaling: Rescaling,
    out: PathBuf,
}

/// Runs one round and returns a summary in one line.
pub(super) fn run(round: &mut Round<'_>) -> Result<String> {
    let input = Input::random(&mut round.rng);
    let mut branches = branches::of_round(round.seed, round.operators, &[], &mut round.rng);
    if round.operators.is_empty() {
        branches.truncate(BRANCHES);
    }
    for branch in &branches {
        *round.tally.operators.entry(branch.name).or_default() += 1;
    }
    let topology = Topology { branches, pace: Pace::Sources, copies: COPIES, restarts: false };
    let settings = Settings::random(&mut round.rng, round.backend, topology.pace);
    input.write(&round.dir)?;
    let out = round.dir.join("out");
    let mut run = Run { input, topology, settings, rescaling: Rescaling::default(), out, round };
    let Some((from, mut line)) = run.old_job()? else {
        return Ok("the job had ended before the savepoint".to_owned());
    };
    line.push_str(&run.new_job(from.as_deref())?);
    Ok(line)
}

impl Run<'_, '_> {
    /// Runs the first job until the server is killed, and returns its newest checkpoint or savepoint. Returns `None` if
    /// the job had ended before.
    fn old_job(&mut self) -> Result<Option<(Option<PathBuf>, String)>> {
        let mut site = Site::new(self.round.checkout, &self.round.binary, self.round.dir.join("old"))?;
        site.open(self.round.checkout)?;
        let job = self.submit(&site, &self.out.clone(), None)?;
        let total = self.topology.records(&self.input);
        let target = self.round.rng.u64(total / 20..total * 3 / 4);
        if site.wait_for_records(&job, target)? == Progress::Ended {
            return Ok(None);
        }
        let request = if self.round.rng.u8(0..3) == 0 { "stop" } else { "savepoints" };
        let format = if self.round.rng.bool() { "native" } else { "canonical" };
        self.count_checkpoints(&site, &job)?;
        let Some(moment) = self.kill_around_savepoint(&mut site, &job, request, format)? else { return Ok(None) };
        *self.round.tally.kills.entry(moment).or_default() += 1;
        // Only the new job may use this folder; it gets the location of the savepoint.
        let data = site.dir.join("data");
        fs::rename(&data, site.dir.join("aside"))?;
        let newest = Site::complete_in(&site.dir.join("aside/checkpoints"), &job).pop();
        self.round.story.tell(format!("killed {moment}; the newest snapshot is {newest:?}"));
        let what = match &newest {
            Some((_, folder)) if folder.starts_with(site.dir.join("aside/checkpoints/savepoints")) => "savepoint",
            Some(_) => "checkpoint",
            None => "nothing",
        };
        *self.round.tally.new_jobs.entry(what).or_default() += 1;
        self.rescaling.from_checkpoint = what == "checkpoint";
        let Settings { parallelism, backend, .. } = &self.settings;
        let line = format!("{backend} {parallelism}, {format} {request} † {moment} -{what}-> ");
        Ok(Some((newest.map(|(_, folder)| folder), line)))
    }

    /// Requests the savepoint, kills the server, and returns the moment of the kill. Returns `None` if the job has
    /// ended.
    fn kill_around_savepoint(
        &mut self,
        site: &mut Site,
        job: &str,
        request: &str,
        format: &str,
    ) -> Result<Option<&'static str>> {
        let (rng, story) = (&mut self.round.rng, &mut self.round.story);
        let body = format!("{{\"format\":\"{format}\"}}");
        let answer = site.api()?.post(&format!("/v1/jobs/{job}/{request}"), "application/json", body.as_bytes())?;
        if answer.status == 409 && site.job(job)?["status"] == "FINISHED" {
            return Ok(None);
        }
        let view = answer.ok()?;
        story.tell(format!("requested: {format} {request}"));
        let moment = match rng.u8(0..4) {
            0 => {
                sleep_up_to(Duration::from_millis(50), rng, story);
                BEFORE_THE_ANSWER
            }
            1 => {
                let request = view["request_id"].as_str().context("no request_id")?;
                wait_until("the savepoint is complete", TIMEOUT, || {
                    let view = site.api()?.get(&format!("/v1/jobs/{job}/savepoints/{request}"))?.ok()?;
                    ensure!(view["status"] != "failed", "{view}");
                    Ok((view["status"] == "completed").then_some(()))
                })?;
                sleep_up_to(Duration::from_millis(30), rng, story);
                AFTER_THE_ANSWER
            }
            _ => {
                let start = Instant::now();
                while site.savepoints(job).is_empty() {
                    ensure!(start.elapsed() < TIMEOUT, "the savepoint does not become durable");
                }
                sleep_up_to(Duration::from_millis(2), rng, story);
                AFTER_THE_METADATA
            }
        };
        site.kill()?;
        Ok(Some(moment))
    }

    /// Runs the second job to its end and compares the output of both.
    fn new_job(&mut self, from: Option<&Path>) -> Result<String> {
        let mut site = Site::new(self.round.checkout, &self.round.binary, self.round.dir.join("new"))?;
        site.open(self.round.checkout)?;
        let next = self.settings.next(&mut self.round.rng, self.round.backend, self.topology.pace);
        self.round.tally.parallelism_changes += u64::from(next.parallelism != self.settings.parallelism);
        self.round.tally.backend_changes += u64::from(next.backend != self.settings.backend);
        self.settings = next;
        let mut line = format!("{} {}", self.settings.backend, self.settings.parallelism);
        let moved = self.round.dir.join("moved");
        let job = match self.round.rng.u8(0..5) {
            0 => self.submit_elsewhere(&site, &moved, from)?,
            _ => self.submit(&site, &self.out.clone(), from)?,
        };
        if self.round.rng.bool() {
            let total = self.topology.records(&self.input);
            let target = self.round.rng.u64(0..total);
            if site.wait_for_records(&job, target)? == Progress::Reached {
                sleep_up_to(Duration::from_millis(30), &mut self.round.rng, &mut self.round.story);
                site.kill()?;
                site.start()?;
                let restored = site.wait_until_resumed(&job)?["restored_checkpoint"].as_u64();
                self.round.tally.restores += 1;
                self.round.story.tell(format!("the new job is killed, and restored from {restored:?}"));
                line.push_str(" †");
            }
        }
        let end = site.wait_for_end(&job)?;
        ensure!(end == JobEnd::Finished, "the job has ended: {end:?}");
        self.count_checkpoints(&site, &job)?;
        merge(&moved, &self.out)?;
        self.compare()?;
        Ok(line)
    }

    /// Submits the job with its sinks in other folders. If this is refused because the sinks have changed, submits it
    /// with the original folders.
    fn submit_elsewhere(&mut self, site: &Site, out: &Path, from: Option<&Path>) -> Result<String> {
        let pipeline = self.topology.pipeline(&self.settings, &self.input, &self.round.dir, out);
        let answer = site.submit(&pipeline, from)?;
        if answer.code() == "sink-changed" {
            self.round.story.tell("sinks in other folders are refused");
            self.round.tally.sinks_refused += 1;
            return self.submit(site, &self.out.clone(), from);
        }
        self.round.story.tell(format!("the sinks continue in {}", out.display()));
        self.rescaling.parallelisms.push(self.settings.parallelism);
        let job = answer.ok()?;
        Ok(job["id"].as_str().with_context(|| format!("no id in {job}"))?.to_owned())
    }

    fn submit(&mut self, site: &Site, out: &Path, from: Option<&Path>) -> Result<String> {
        let pipeline = self.topology.pipeline(&self.settings, &self.input, &self.round.dir, out);
        fs::write(site.dir.join("pipeline.toml"), &pipeline)?;
        self.rescaling.parallelisms.push(self.settings.parallelism);
        let job = site.submit(&pipeline, from)?.ok()?;
        *self.round.tally.backends.entry(self.settings.backend.clone()).or_default() += 1;
        self.round.story.tell(format!("submitted from {from:?}: {:?}", self.settings));
        Ok(job["id"].as_str().with_context(|| format!("no id in {job}"))?.to_owned())
    }

    fn count_checkpoints(&mut self, site: &Site, job: &str) -> Result<()> {
        let list = site.api()?.get(&format!("/v1/jobs/{job}/checkpoints"))?.ok()?;
        self.round.tally.add_checkpoints(&list, 0);
        Ok(())
    }

    fn compare(&mut self) -> Result<()> {
        let mut expected = model::copied(&self.input);
        expected.sort_unstable();
        let mut wrong = Vec::new();
        for copy in 0..self.topology.copies {
            let sink = copy_sink(copy);
            if let Some(difference) = difference(&expected, &committed_lines(&self.out.join(&sink))?) {
                wrong.push(format!("{sink}: {difference}"));
            }
        }
        if let Some(first) = wrong.first() {
            bail!("{} of {} sinks are not exact, first {first}", wrong.len(), self.topology.copies);
        }
        let (branches, out) = (&self.topology.branches, &self.out);
        self.round.tally.lines += check_output(branches, &self.input, out, &self.rescaling)?;
        Ok(())
    }
}

/// Moves the published files below `from` to the same folders below `to`. The names of parts must not collide.
fn merge(from: &Path, to: &Path) -> Result<()> {
    for sink in fs::read_dir(from).into_iter().flatten() {
        let sink = sink?;
        for part in fs::read_dir(sink.path())? {
            let part = part?;
            let target = to.join(sink.file_name()).join(part.file_name());
            if part.file_type()?.is_file() {
                ensure!(!target.exists(), "{} was published twice", target.display());
                fs::create_dir_all(to.join(sink.file_name()))?;
                fs::rename(part.path(), target)?;
            }
        }
    }
    Ok(())
}
