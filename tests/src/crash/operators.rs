//! Rounds in one data folder: kills, stops with a savepoint, and cancels. The next job runs at another parallelism.
//!
//! With fail points the server also dies, and answers with errors, at places that the round aims at. So every request is
//! repeated until it is answered ([`Run::through_faults`]), and must be idempotent.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::Value;

use super::Round;
use super::branches::{self, Branch, KINDS, LETTERS, Rescaling};
use super::fail_points::{self, Aim, AimNeeds};
use super::input::Input;
use super::pipeline::{Pace, Settings, Topology};
use super::site::{COMPONENTS, JobEnd, PlannedFaults, Progress, Site, files_below, sleep_up_to};
use super::state_load;
use crate::committed_lines;

const AT_RANDOM: &str = "at random";
const AFTER_A_CHECKPOINT: &str = "after a checkpoint";
const DURING_A_STOP: &str = "during a stop";
const DURING_A_CANCEL: &str = "during a cancel";
const AT_THE_END: &str = "at the end";

/// The moments of kills.
pub(super) const KILLS: &[&str] = &[AT_RANDOM, AFTER_A_CHECKPOINT, DURING_A_STOP, DURING_A_CANCEL, AT_THE_END];

/// Most deaths and injected errors during one request.
const FAULTS_MAX: usize = 50;

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
    /// The ids of all jobs so far.
    jobs: Vec<String>,
    needs: AimNeeds,
    /// Whether the storage may report a write as successful that was not.
    has_lying_storage: bool,
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
    match run.live() {
        // The storage has damaged every checkpoint. The job must not go on without its state.
        Err(error) if run.has_lying_storage && format!("{error:#}").contains("checkpoint-none-usable") => {
            run.count_fail_points()?;
            run.round.tally.lost_to_the_storage += 1;
            run.line.push_str(", and the storage has damaged all checkpoints");
        }
        lived => lived?,
    }
    Ok(run.line)
}

impl<'r, 'a> Run<'r, 'a> {
    fn begin(round: &'r mut Round<'a>) -> Result<Run<'r, 'a>> {
        let input = Input::random(&mut round.rng);
        let pace = if round.rng.bool() { Pace::Operators } else { Pace::Sources };
        let needs = round.aims.iter().map(Aim::needs).fold(AimNeeds::default(), AimNeeds::or);
        let needed = [(needs.letters, LETTERS), (needs.state_load, KINDS)];
        let needed: Vec<&str> = needed.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, name)| name).collect();
        let branches = branches::of_round(round.seed, round.operators, &needed, &mut round.rng);
        for branch in &branches {
            *round.tally.operators.entry(branch.name).or_default() += 1;
        }
        let backend = round.backend.or(needs.rocksdb.then_some("rocksdb"));
        let (settings, restarts) = (Settings::random(&mut round.rng, backend, pace), round.has_fail_points);
        let topology = Topology { branches, pace, copies: 0, restarts };
        input.write(&round.dir)?;
        let mut site = match needs.fresh_code {
            true => Site::without_compiled_components(&round.binary, round.dir.clone())?,
            false => Site::new(round.checkout, &round.binary, round.dir.clone())?,
        };
        let (script, has_lying_storage) = script_of_round(round);
        if round.has_fail_points {
            round.story.tell(format!("aims {:?}, and `{script}`", round.aims));
            site.plan_faults(PlannedFaults::new(&round.aims, script));
        }
        site.start()?;
        let mut run = Run {
            input,
            topology,
            site,
            settings,
            job: String::new(),
            jobs: Vec::new(),
            needs,
            has_lying_storage,
            origin: None,
            counted: 0,
            rescaling: Rescaling::default(),
            line: format!("{pace:?} pace, "),
            round,
        };
        let checkout = run.round.checkout;
        run.through_faults(|run| run.site.push_components(checkout))?;
        run.submit(&[], false)?;
        Ok(run)
    }

    /// Repeats `work` when the server dies at a fail point, or answers with an injected error.
    fn through_faults<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        for _ in 0..FAULTS_MAX {
            match work(self) {
                Ok(done) => return Ok(done),
                Err(error) if self.site.has_died_at_a_fail_point()? => {
                    self.round.story.tell(format!("died at a fail point: {error:#}"));
                    self.line.push_str(" ✝");
                    self.revive()?;
                }
                Err(error) if fail_points::is_injected(&error) => {
                    self.round.story.tell(format!("an injected error: {error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        bail!("{FAULTS_MAX} injected faults in a row")
    }

    /// Starts the dead server, and returns the job once it is resumed.
    fn revive(&mut self) -> Result<Value> {
        for _ in 0..FAULTS_MAX {
            self.site.start()?;
            if self.job.is_empty() {
                return Ok(Value::Null);
            }
            match self.site.wait_until_resumed(&self.job) {
                Err(_) if self.site.has_died_at_a_fail_point()? => {}
                job => return job,
            }
        }
        bail!("the server died {FAULTS_MAX} times while it resumed its job")
    }

    /// Carries out the steps and checks the result.
    fn live(&mut self) -> Result<()> {
        for (records, step) in self.steps() {
            let progress = self.through_faults(|run| run.site.wait_for_records(&run.job, records))?;
            if progress == Progress::Ended {
                self.round.story.tell(format!("the job ended before {step:?}"));
                break;
            }
            self.round.story.tell(format!("{records} records: {step:?}"));
            if self.carry_out(step)? == Progress::Ended {
                break;
            }
        }
        self.finish()
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
        if self.needs.claim {
            steps.push(Step::Stop { native: true, killed: false });
        }
        if self.has_lying_storage {
            // What an earlier checkpoint of another job does not contain is published twice.
            steps.retain(|step| matches!(step, Step::Kill | Step::KillBehindCheckpoint));
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

    /// Submits a job that starts from the first of these snapshots that the server accepts.
    fn submit(&mut self, candidates: &[PathBuf], claim: bool) -> Result<()> {
        let out = self.site.dir.join("out");
        let pipeline = self.topology.pipeline(&self.settings, &self.input, &self.site.dir, &out);
        std::fs::write(self.site.dir.join(format!("pipeline-{}.toml", self.rescaling.parallelisms.len())), &pipeline)?;
        let starts: Vec<Option<&PathBuf>> = match candidates {
            [] => vec![None],
            all => all.iter().map(Some).collect(),
        };
        let mut refusals = Vec::new();
        for from in starts {
            // From here on a death does not wait for the job before.
            self.job.clear();
            let answer = self.through_faults(|run| run.submit_once(&pipeline, from.map(PathBuf::as_path), claim))?;
            match answer {
                Ok(job) => {
                    self.jobs.push(job.clone());
                    (self.job, self.counted, self.origin) = (job, 0, from.cloned());
                    self.rescaling.parallelisms.push(self.settings.parallelism);
                    let Settings { parallelism, backend, .. } = &self.settings;
                    self.line.push_str(&format!("{backend} {parallelism}"));
                    *self.round.tally.backends.entry(backend.clone()).or_default() += 1;
                    self.round.story.tell(format!("job {} from {:?}: {:?}", self.job, self.origin, self.settings));
                    return Ok(());
                }
                Err(refusal) => {
                    self.round.story.tell(format!("{from:?} is refused: {refusal}"));
                    refusals.push(refusal);
                }
            }
        }
        bail!("no snapshot is accepted: {}", refusals.join("; "))
    }

    /// Submits the job unless an earlier try has. Returns its id, or why the snapshot is refused: a write of it failed.
    fn submit_once(
        &mut self,
        pipeline: &str,
        from: Option<&Path>,
        claim: bool,
    ) -> Result<std::result::Result<String, String>> {
        for job in self.site.api()?.jobs()?.as_array().into_iter().flatten() {
            let id = job["id"].as_str().context("a job without an id")?;
            if !self.jobs.iter().any(|known| known == id) {
                return Ok(Ok(id.to_owned()));
            }
        }
        let answer = self.site.submit_claiming(pipeline, from, claim)?;
        if self.round.has_fail_points && ["checkpoint-corrupt", "sink-changed"].contains(&answer.code()) {
            return Ok(Err(answer.body["detail"].to_string()));
        }
        let job = answer.ok()?;
        Ok(Ok(job["id"].as_str().with_context(|| format!("no id in {job}"))?.to_owned()))
    }

    fn carry_out(&mut self, step: Step) -> Result<Progress> {
        // On a slow machine most jobs would have no checkpoint yet. Only some should have none.
        let before_the_first = self.round.rng.u8(0..4) == 0;
        let needs_checkpoint = matches!(step, Step::Kill | Step::Cancel { .. });
        if needs_checkpoint && !before_the_first {
            let progress = self.through_faults(|run| run.site.wait_for_checkpoint(&run.job))?;
            if progress == Progress::Ended {
                return Ok(Progress::Ended);
            }
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
        let job = self.revive()?;
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
        Ok(if JobEnd::of(&job) == Some(JobEnd::Finished) { Progress::Ended } else { Progress::Reached })
    }

    /// Ends the job by `request`, possibly with a kill meanwhile, and submits the next one.
    fn end(&mut self, request: &str, body: &str, killed: Option<&'static str>, what: &'static str) -> Result<Progress> {
        self.through_faults(Run::count_checkpoints)?;
        let path = format!("/v1/jobs/{}/{request}", self.job);
        let is_over = self.through_faults(|run| {
            if let Some(end) = JobEnd::of(&run.site.job(&run.job)?) {
                // An earlier try was carried out, although the server died before it answered.
                return Ok(end == JobEnd::Finished);
            }
            let answer = run.site.api()?.post(&path, "application/json", body.as_bytes())?;
            if answer.status == 409 {
                let job = run.site.job(&run.job)?;
                if let Some(end) = JobEnd::of(&job) {
                    return Ok(end == JobEnd::Finished);
                }
                if job["status"] == "CANCELLING" {
                    return Ok(false);
                }
            }
            answer.ok().map(|_| false)
        })?;
        if is_over {
            return Ok(Progress::Ended);
        }
        if let Some(moment) = killed {
            sleep_up_to(Duration::from_millis(60), &mut self.round.rng, &mut self.round.story);
            self.kill(moment)?;
        }
        let end = self.through_faults(|run| run.site.wait_for_end(&run.job))?;
        self.round.story.tell(format!("the job has ended: {end:?}"));
        if end == JobEnd::Finished {
            return Ok(Progress::Ended);
        }
        self.continue_as_another_job(request, what)?;
        Ok(Progress::Reached)
    }

    /// Submits the next job, which continues from the newest snapshot of the last one.
    fn continue_as_another_job(&mut self, request: &str, what: &'static str) -> Result<()> {
        let complete = self.site.complete(&self.job);
        let mut candidates: Vec<PathBuf> = complete.into_iter().rev().map(|(_, folder)| folder).collect();
        let what = if candidates.is_empty() { "nothing new" } else { what };
        let savepoints = self.site.checkpoints().join("savepoints");
        let is_savepoint = candidates.first().is_some_and(|folder| folder.starts_with(savepoints));
        ensure!(is_savepoint || request == "cancel", "the job is stopped, and its newest checkpoint is {candidates:?}");
        if !self.round.has_fail_points {
            candidates.truncate(1);
        }
        // Only if the job has no snapshot of its own.
        if candidates.is_empty() {
            candidates.extend(self.origin.clone());
        }
        *self.round.tally.new_jobs.entry(what).or_default() += 1;
        self.rescaling.from_checkpoint |= request == "cancel";
        let backend = self.round.backend.or(self.needs.rocksdb.then_some("rocksdb"));
        let mut next = self.settings.next(&mut self.round.rng, backend, self.topology.pace);
        if self.needs.claim {
            // Only states of the same parallelism are taken over without a copy.
            next.parallelism = self.settings.parallelism;
            next.source_parallelism = self.settings.source_parallelism;
        }
        self.round.tally.parallelism_changes += u64::from(next.parallelism != self.settings.parallelism);
        self.round.tally.backend_changes += u64::from(next.backend != self.settings.backend);
        self.settings = next;
        self.line.push_str(&format!(" -{what}-> "));
        let claim = is_savepoint && (self.needs.claim || self.round.rng.u8(0..4) == 0);
        self.submit(&candidates, claim)
    }

    fn count_checkpoints(&mut self) -> Result<()> {
        let list = self.site.api()?.get(&format!("/v1/jobs/{}/checkpoints", self.job))?.ok()?;
        self.counted = self.round.tally.add_checkpoints(&list, self.counted);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let end = self.through_faults(|run| run.site.wait_for_end(&run.job))?;
        ensure!(end == JobEnd::Finished, "the job has ended: {end:?}");
        self.through_faults(Run::count_checkpoints)?;
        self.round.story.tell("finished");
        let out = self.site.dir.join("out");
        self.round.tally.lines += check_output(&self.topology.branches, &self.input, &out, &self.rescaling)?;
        if let Some(records) = self.topology.branches.iter().find_map(|branch| branch.letters) {
            self.check_letters(records(&self.input))?;
        }
        if self.topology.branches.iter().any(|branch| branch.name == KINDS) && !self.has_lying_storage {
            self.check_state()?;
        }
        if self.round.has_fail_points {
            self.clean_up()?;
            self.count_fail_points()?;
        }
        Ok(())
    }

    fn count_fail_points(&mut self) -> Result<()> {
        let log = std::fs::read_to_string(self.site.fault_log()).unwrap_or_default();
        self.round.tally.fail_points.add_log(&log)
    }

    /// Removes the jobs, their savepoints and the components, and checks that nothing of them is left.
    fn clean_up(&mut self) -> Result<()> {
        self.job.clear();
        let mut paths: Vec<String> = self.jobs.iter().map(|job| format!("/v1/jobs/{job}")).collect();
        for folder in std::fs::read_dir(self.site.checkpoints().join("savepoints")).into_iter().flatten() {
            paths.push(format!("/v1/savepoints?location={}", folder?.path().display()));
        }
        paths.extend(COMPONENTS.iter().map(|component| format!("/v1/components/{component}@1")));
        if self.topology.branches.iter().any(|branch| branch.letters.is_some())
            && let Some(job) = self.jobs.last()
        {
            paths.insert(0, format!("/v1/jobs/{job}/dead-letters"));
        }
        for path in paths {
            self.round.story.tell(format!("removes {path}"));
            self.through_faults(|run| match run.site.api()?.delete(&path)? {
                // An earlier try was carried out, although the server died before it answered.
                answer if answer.status == 404 => Ok(()),
                answer => answer.ok().map(drop),
            })?;
        }
        // A start removes what a removal left that failed half-way.
        self.site.kill()?;
        self.revive()?;
        let data = self.site.dir.join("data");
        let left = ["jobs", "checkpoints", "components", "uploads"].map(|folder| files_below(&data.join(folder)));
        ensure!(left.iter().all(Vec::is_empty), "everything was removed, but these files are left: {left:?}");
        Ok(())
    }

    /// Compares the records of the kept dead letters with the expected ones. They are those of all jobs: each job takes over the letters
    /// of the one that it continues.
    fn check_letters(&mut self, mut expected: Vec<String>) -> Result<()> {
        let (mut records, mut last): (Vec<String>, String) = Default::default();
        loop {
            let before = records.len();
            let path = format!("/v1/jobs/{}/dead-letters?limit=100{last}", self.job);
            let page = self.through_faults(|run| run.site.api()?.get(&path)?.ok())?;
            for letter in page["letters"].as_array().into_iter().flatten() {
                // A text is shown as JSON.
                let shown = letter["value"].as_str().unwrap_or_default();
                records.push(serde_json::from_str(shown).unwrap_or_else(|_| shown.to_owned()));
                last = format!("&after={}", letter["id"].as_str().unwrap_or_default());
            }
            if records.len() == before {
                break;
            }
        }
        expected.sort_unstable();
        records.sort_unstable();
        match crate::difference(&expected, &records) {
            None => Ok(()),
            Some(difference) => bail!("in the {} dead letters {difference}", expected.len()),
        }
    }

    /// Checks the final checkpoint, which contains the number of records of each key, and a savepoint that is written from it.
    fn check_state(&mut self) -> Result<()> {
        let (_, folder) = self.site.complete(&self.job).pop().context("the final checkpoint is gone")?;
        let lines = state_load::dump(&self.round.binary, &folder)?;
        self.check_counts(&lines).context("in the state `count` of the final checkpoint")?;
        if self.round.has_fail_points {
            let log = state_load::load(self.round, &lines, &folder)?;
            self.round.tally.fail_points.add_log(&log)?;
        }
        Ok(())
    }

    fn check_counts(&self, lines: &str) -> Result<()> {
        let mut counts: Vec<String> = Vec::new();
        for line in lines.lines() {
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
            Some(difference) => bail!("{difference}"),
        }
    }
}

/// Returns the part of the script that applies to all processes of the round, and whether the storage lies.
fn script_of_round(round: &mut Round<'_>) -> (String, bool) {
    // Draws of its own, so that a seed gives the same steps with and without fail points.
    let mut rng = Rng::with_seed(round.seed ^ 0x5eed);
    let mut script = format!("seed={}", rng.u32(..));
    if rng.u8(0..3) == 0 {
        script.push_str(";*=delay:4%3");
    }
    let is_faulty = rng.u8(0..4) == 0;
    let lies = rng.u8(0..3) == 0;
    match (is_faulty, lies) {
        (false, _) => {}
        (true, false) => script.push_str(";store=error:3,unreported:3,torn:3,delay:20"),
        (true, true) => script.push_str(";store=truncated:2,delay:20"),
    }
    (script, is_faulty && lies && round.has_fail_points)
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
