//! Rounds in one data folder: kills, stops with a savepoint, and cancels. The next job runs at another parallelism.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Round;
use super::branches::{self, Branch, Rescaling};
use super::input::Input;
use super::pipeline::{Pace, Settings, Topology};
use super::site::{Progress, Site, sleep_up_to};
use crate::committed_lines;

const AT_RANDOM: &str = "at random";
const AFTER_A_CHECKPOINT: &str = "after a checkpoint";
const DURING_A_STOP: &str = "during a stop";
const DURING_A_CANCEL: &str = "during a cancel";
const AT_THE_END: &str = "at the end";

/// The moments of kills.
pub(super) const KILLS: &[&str] = &[AT_RANDOM, AFTER_A_CHECKPOINT, DURING_A_STOP, DURING_A_CANCEL, AT_THE_END];

/// A step in the life of a job.
#[derive(Clone, Copy, Debug)]
enum Step {
    Kill,
    /// Kills the server just after a checkpoint has become durable.
    KillBehindCheckpoint,
    /// Stops the job with a savepoint, from which the next job continues. May kill the server meanwhile.
    Stop {
        native: bool,
        killed: bool,
    },
    /// Cancels the job. The next job continues from its newest checkpoint. May kill the server meanwhile.
    Cancel {
        killed: bool,
    },
    /// Kills the server after the sources have ended.
    KillAtEnd,
}

struct Run<'r, 'a> {
    round: &'r mut Round<'a>,
    input: Input,
    topology: Topology,
    site: Site,
    settings: Settings,
    job: String,
    /// The snapshot from which the job started.
    origin: Option<PathBuf>,
    /// Id of the newest counted checkpoint of the job.
    counted: u64,
    rescaling: Rescaling,
    /// A short description of the jobs.
    line: String,
}

/// Runs one round and returns a summary in one line.
pub(super) fn run(round: &mut Round<'_>) -> Result<String> {
    let mut run = Run::begin(round)?;
    for (records, step) in run.steps() {
        if run.site.wait_for_records(&run.job, records)? == Progress::Ended {
            run.round.story.tell(format!("the job ended before {step:?}"));
            break;
        }
        run.round.story.tell(format!("{records} records: {step:?}"));
        if run.carry_out(step)? == Progress::Ended {
            break;
        }
    }
    run.finish()
}

impl<'r, 'a> Run<'r, 'a> {
    fn begin(round: &'r mut Round<'a>) -> Result<Run<'r, 'a>> {
        let input = Input::random(&mut round.rng);
        let pace = if round.rng.bool() { Pace::Operators } else { Pace::Sources };
        let branches = branches::of_round(round.seed, round.operators, &mut round.rng);
        for branch in &branches {
            *round.tally.operators.entry(branch.name).or_default() += 1;
        }
        let topology = Topology { branches, pace, copies: 0 };
        let settings = Settings::random(&mut round.rng, round.backend, pace);
        input.write(&round.dir)?;
        let mut site = Site::new(round.checkout, &round.binary, round.dir.clone())?;
        site.open(round.checkout)?;
        let mut run = Run {
            input,
            topology,
            site,
            settings,
            job: String::new(),
            origin: None,
            counted: 0,
            rescaling: Rescaling::default(),
            line: format!("{pace:?} pace, "),
            round,
        };
        run.submit(None)?;
        Ok(run)
    }

    /// Steps with the number of records that the sources have read by then.
    fn steps(&mut self) -> Vec<(u64, Step)> {
        let rng = &mut self.round.rng;
        let mut steps = vec![Step::Kill];
        if rng.bool() {
            steps.push(Step::KillBehindCheckpoint);
        }
        for _ in 0..rng.u8(1..=2) {
            let killed = rng.u8(0..3) == 0;
            steps.push(match rng.bool() {
                true => Step::Cancel { killed },
                false => Step::Stop { native: rng.bool(), killed },
            });
        }
        rng.shuffle(&mut steps);
        let total = self.topology.records(&self.input);
        let mut places: Vec<u64> = steps.iter().map(|_| rng.u64(total / 20..total * 17 / 20)).collect();
        places.sort_unstable();
        let mut steps: Vec<_> = places.into_iter().zip(steps).collect();
        if rng.u8(0..3) == 0 {
            steps.push((total, Step::KillAtEnd));
        }
        steps
    }

    fn submit(&mut self, from: Option<PathBuf>) -> Result<()> {
        let out = self.site.dir.join("out");
        let pipeline = self.topology.pipeline(&self.settings, &self.input, &self.site.dir, &out);
        std::fs::write(self.site.dir.join(format!("pipeline-{}.toml", self.rescaling.parallelisms.len())), &pipeline)?;
        let job = self.site.submit(&pipeline, from.as_deref())?.ok()?;
        self.job = job["id"].as_str().with_context(|| format!("no id in {job}"))?.to_owned();
        (self.counted, self.origin) = (0, from);
        self.rescaling.parallelisms.push(self.settings.parallelism);
        let Settings { parallelism, backend, .. } = &self.settings;
        self.line.push_str(&format!("{backend} {parallelism}"));
        *self.round.tally.backends.entry(backend.clone()).or_default() += 1;
        self.round.story.tell(format!("job {} from {:?}: {:?}", self.job, self.origin, self.settings));
        Ok(())
    }

    fn carry_out(&mut self, step: Step) -> Result<Progress> {
        // On a slow machine most jobs would have no checkpoint yet. Only some should have none.
        let before_the_first = self.round.rng.u8(0..4) == 0;
        let needs_checkpoint = matches!(step, Step::Kill | Step::Cancel { .. });
        if needs_checkpoint && !before_the_first && self.site.wait_for_checkpoint(&self.job)? == Progress::Ended {
            return Ok(Progress::Ended);
        }
        match step {
            Step::Kill => {
                sleep_up_to(Duration::from_millis(40), &mut self.round.rng, &mut self.round.story);
                self.kill(AT_RANDOM)
            }
            Step::KillBehindCheckpoint => {
                let newest = self.site.complete(&self.job).last().map_or(0, |(id, _)| *id);
                let seen = self.site.watch_for_checkpoint(&self.job, newest);
                sleep_up_to(Duration::from_millis(3), &mut self.round.rng, &mut self.round.story);
                self.kill(if seen.is_some() { AFTER_A_CHECKPOINT } else { AT_RANDOM })
            }
            Step::KillAtEnd => {
                sleep_up_to(Duration::from_millis(60), &mut self.round.rng, &mut self.round.story);
                self.kill(AT_THE_END)
            }
            Step::Stop { native, killed } => {
                let format = if native { "native" } else { "canonical" };
                let (body, what) =
                    (format!("{{\"format\":\"{format}\"}}"), if native { "native savepoint" } else { "savepoint" });
                self.end("stop", &body, killed.then_some(DURING_A_STOP), what)
            }
            Step::Cancel { killed } => self.end("cancel", "", killed.then_some(DURING_A_CANCEL), "checkpoint"),
        }
    }

    /// Kills the server, starts it again, and returns whether the job had ended before.
    fn kill(&mut self, moment: &'static str) -> Result<Progress> {
        let killed_at_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() as i64;
        self.site.kill()?;
        self.round.story.tell("killed");
        self.site.start()?;
        let job = self.site.wait_until_resumed(&self.job)?;
        let restored = job["restored_checkpoint"].as_u64();
        self.round.story.tell(format!("started again: {}, restored from {restored:?}", job["status"]));
        let tally = &mut *self.round.tally;
        if job["ended_at_ms"].as_i64().is_some_and(|at| at < killed_at_ms) {
            tally.kills_too_late += 1;
            return Ok(Progress::Ended);
        }
        *tally.kills.entry(moment).or_default() += 1;
        match restored {
            Some(_) => tally.restores += 1,
            // A cancel or stop in progress may leave nothing to restore.
            None if matches!(moment, DURING_A_CANCEL | DURING_A_STOP) => {}
            None => tally.fresh_starts += 1,
        }
        self.line.push_str(&restored.map_or(" †".to_owned(), |id| format!(" †{id}")));
        Ok(if job["status"] == "FINISHED" { Progress::Ended } else { Progress::Reached })
    }

    /// Ends the job by `request`, possibly with a kill meanwhile, and submits the next one.
    fn end(&mut self, request: &str, body: &str, killed: Option<&'static str>, what: &'static str) -> Result<Progress> {
        self.count_checkpoints()?;
        let path = format!("/v1/jobs/{}/{request}", self.job);
        let answer = self.site.api()?.post(&path, "application/json", body.as_bytes())?;
        if answer.status == 409 && self.site.job(&self.job)?["status"] == "FINISHED" {
            return Ok(Progress::Ended);
        }
        answer.ok()?;
        if let Some(moment) = killed {
            sleep_up_to(Duration::from_millis(60), &mut self.round.rng, &mut self.round.story);
            self.kill(moment)?;
        }
        let status = self.site.wait_for_end(&self.job)?;
        self.round.story.tell(format!("the job is {status}"));
        if status == "FINISHED" {
            return Ok(Progress::Ended);
        }
        let newest = self.site.complete(&self.job).pop();
        let what = if newest.is_none() { "nothing new" } else { what };
        let from = newest.map(|(_, folder)| folder).or_else(|| self.origin.clone());
        let savepoints = self.site.checkpoints().join("savepoints");
        let is_savepoint = from.as_ref().is_some_and(|folder| folder.starts_with(savepoints));
        ensure!(is_savepoint || request == "cancel", "the job is stopped, and its newest checkpoint is {from:?}");
        *self.round.tally.new_jobs.entry(what).or_default() += 1;

        self.rescaling.from_checkpoint |= request == "cancel";
        let next = self.settings.next(&mut self.round.rng, self.round.backend, self.topology.pace);
        self.round.tally.parallelism_changes += u64::from(next.parallelism != self.settings.parallelism);
        self.round.tally.backend_changes += u64::from(next.backend != self.settings.backend);
        self.settings = next;
        self.line.push_str(&format!(" -{what}-> "));
        self.submit(from)?;
        Ok(Progress::Reached)
    }

    fn count_checkpoints(&mut self) -> Result<()> {
        let list = self.site.api()?.get(&format!("/v1/jobs/{}/checkpoints", self.job))?.ok()?;
        self.counted = self.round.tally.add_checkpoints(&list, self.counted);
        Ok(())
    }

    fn finish(mut self) -> Result<String> {
        let status = self.site.wait_for_end(&self.job)?;
        ensure!(status == "FINISHED", "the job is {status}");
        self.count_checkpoints()?;
        self.round.story.tell("finished");
        let out = self.site.dir.join("out");
        self.round.tally.lines += check_output(&self.topology.branches, &self.input, &out, &self.rescaling)?;
        if self.topology.branches.iter().any(|branch| branch.name == "kinds") {
            self.check_state()?;
        }
        Ok(self.line)
    }

    /// Checks the final checkpoint, which contains the number of records of each key.
    fn check_state(&self) -> Result<()> {
        let (_, folder) = self.site.complete(&self.job).pop().context("the final checkpoint is gone")?;
        let mut command = Command::new(&self.round.binary);
        let output = command.args(["state", "dump"]).arg(&folder).args(["kinds", "count"]).output()?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        let mut counts: Vec<String> = Vec::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let entry: Value = serde_json::from_str(line)?;
            counts.push(format!("{},{}", entry["key"].as_str().unwrap_or_default(), entry["value"]));
        }
        let mut expected = std::collections::BTreeMap::<&str, u64>::new();
        for record in &self.input.serial {
            *expected.entry(record.split(',').next().unwrap_or_default()).or_default() += 1;
        }
        let mut expected: Vec<String> = expected.iter().map(|(key, count)| format!("{key},{count}")).collect();
        counts.sort_unstable();
        expected.sort_unstable();
        match crate::difference(&expected, &counts) {
            None => Ok(()),
            Some(difference) => bail!("in the state `count` of the final checkpoint {difference}"),
        }
    }
}

/// Compares all committed lines below `out`, and returns their number.
pub(super) fn check_output(
    branches: &[Branch],
    input: &Input,
    out: &std::path::Path,
    rescaling: &Rescaling,
) -> Result<u64> {
    let late = committed_lines(&out.join("late"))?;
    ensure!(late.is_empty(), "{} records are late, first `{}`", late.len(), late[0]);
    branches.iter().try_for_each(|branch| branch.check(input, out, rescaling))?;
    Ok(committed_lines(out)?.len() as u64)
}
