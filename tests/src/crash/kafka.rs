//! Rounds from Kafka to Kafka: a keyed count and windows, each with a sink that publishes exactly once. The server is killed at
//! random and at fail points, the broker is killed, the server is stopped and continued as a zombie, and jobs are replaced.
//!
//! At the end of a round Apache's own client reads the committed output, and `tests/kafka/oracle.py` compares it with what the
//! pipeline is defined to do. No transaction may be open.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Round;
use super::fail_points::{Aim, is_injected};
use super::kafka_output::{CommittedRecords, ExpectedOutput};
use super::site::{PlannedFaults, Progress, Site, sleep_up_to};
use crate::{KafkaBroker, wait_until};

const AT_RANDOM: &str = "at random";
const WITH_THE_BROKER: &str = "beside the broker";
const AFTER_A_SAVEPOINT: &str = "after a savepoint";
const WITH_OPEN_OUTPUT: &str = "with open output";

/// The moments of kills.
pub(super) const KILLS: &[&str] = &[AT_RANDOM, WITH_THE_BROKER, AFTER_A_SAVEPOINT, WITH_OPEN_OUTPUT];

/// The areas of fail points that rounds aim at: every step of a commit.
pub(super) const AREAS: &[&str] =
    &["outbox.", "kafka.", "checkpoint.", "upload.", "snapshot.sink", "stop.", "savepoint."];

/// With fewer rounds, the process may not have died at each point.
pub(super) const ROUNDS_FOR_ALL_KILLS: u64 = 30;

/// The components used by the pipelines.
pub(super) const COMPONENTS: &[&str] = &["kafka-count"];

/// Records of a round. 30 rounds have two million.
const RECORDS: u64 = 67_000;
/// Records that are in the topic before the job starts. The others follow while it runs.
const FIRST_RECORDS: u64 = 20_000;
/// A multiple of the number of partitions, so that all records of a key are in one.
const KEYS: u64 = 30;
const PARTITIONS: u32 = 3;
const WINDOW_MS: u64 = 1000;
/// What the topics must hold at the end.
const EXPECTED: ExpectedOutput = ExpectedOutput { records: RECORDS, keys: KEYS, window_ms: WINDOW_MS };
/// Pause between two looks at the committed output.
const LOOK: Duration = Duration::from_millis(200);
/// Records per second that a job reads, so that a round has time for several checkpoints.
const RATE: u64 = 12_000;
const CHECKPOINTS_MIN: u64 = 5;
/// Time after which the broker aborts a transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(180);
/// Most deaths and injected errors during one request.
const FAULTS_MAX: usize = 50;

/// What happens in a round besides kills at random and at fail points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Plot {
    Kills,
    BrokerKills,
    Zombie,
    OtherParallelism,
    RenamedSink,
    RunningSavepoint,
    OldSavepoint,
}

const PLOTS: [Plot; 7] = [
    Plot::RunningSavepoint,
    Plot::BrokerKills,
    Plot::RenamedSink,
    Plot::Zombie,
    Plot::OldSavepoint,
    Plot::OtherParallelism,
    Plot::Kills,
];

impl Plot {
    /// Returns the plot of a seed, or the one in which a point is reached that others may not pass.
    fn of(seed: u64, aims: &[Aim]) -> Plot {
        // Output that no job has published is left for a new job while the broker is away.
        match aims.iter().any(|aim| aim.point == "outbox.adopt") {
            true => Plot::RenamedSink,
            false => PLOTS[(seed % PLOTS.len() as u64) as usize],
        }
    }

    /// Returns whether the plot waits for an exact state of its first server, which therefore has no fail points until then.
    fn begins_without_faults(self) -> bool {
        matches!(self, Plot::RenamedSink | Plot::Zombie)
    }

    fn name(self) -> &'static str {
        match self {
            Plot::Kills => "kills",
            Plot::BrokerKills => "broker kills",
            Plot::Zombie => "zombie",
            Plot::OtherParallelism => "other parallelism",
            Plot::RenamedSink => "renamed sink",
            Plot::RunningSavepoint => "running job's savepoint",
            Plot::OldSavepoint => "old savepoint",
        }
    }
}

struct Run<'r, 'a> {
    round: &'r mut Round<'a>,
    plot: Plot,
    broker: KafkaBroker,
    site: Site,
    parallelism: u32,
    /// The id of the sink of counts.
    sink: &'static str,
    /// The job that must not fail. Empty while a server has none.
    job: String,
    /// Whether servers that are started from now on die and fail at the points that the round aims at.
    has_faults: bool,
    /// Completed checkpoints of all jobs.
    checkpoints: u64,
    /// Id of the newest counted checkpoint of the job.
    counted: u64,
    line: String,
}

/// Runs one round and returns a summary in one line.
pub(super) fn run(round: &mut Round<'_>) -> Result<String> {
    let plot = Plot::of(round.seed, &round.aims);
    *round.tally.operators.entry(plot.name()).or_default() += 1;
    let broker = KafkaBroker::start("crash-kafka")?.context("the rounds need a broker")?;
    let site = Site::new(round.checkout, &round.binary, round.dir.join("first"))?.with_components(COMPONENTS);
    let parallelism = 2;
    let mut run = Run {
        round,
        plot,
        broker,
        site,
        parallelism,
        sink: "counts",
        job: String::new(),
        has_faults: !plot.begins_without_faults(),
        checkpoints: 0,
        counted: 0,
        line: format!("{}: ", plot.name()),
    };
    run.begin()?;
    run.act()?;
    run.finish()?;
    Ok(run.line)
}

impl Run<'_, '_> {
    fn begin(&mut self) -> Result<()> {
        let client = self.broker.client();
        for topic in ["in", "counts", "windows"] {
            client.create_topic(topic, PARTITIONS)?;
        }
        self.generate(0, FIRST_RECORDS)?;
        self.site.open(self.round.checkout)?;
        let job = self.submit(None)?.ok()?;
        self.begin_job(&job)?;
        // From here on the server dies at its fail points.
        if self.round.has_fail_points {
            self.round.story.tell(format!("aims {:?}", self.round.aims));
            self.wait_for_records(FIRST_RECORDS / 10)?;
            self.kill(AT_RANDOM)?;
        }
        self.generate(FIRST_RECORDS, RECORDS)
    }

    fn generate(&self, from: u64, to: u64) -> Result<()> {
        self.broker.client().generate("in", from, to, r#"{"k":"k{k}","n":{n},"t":{n}}"#, KEYS)
    }

    fn begin_job(&mut self, job: &Value) -> Result<()> {
        self.job = job["id"].as_str().with_context(|| format!("no id in {job}"))?.to_owned();
        self.counted = 0;
        self.round.story.tell(format!("job {} at parallelism {}", self.job, self.parallelism));
        Ok(())
    }

    fn pipeline(&self) -> String {
        let (brokers, parallelism, sink) = (self.broker.servers(), self.parallelism, self.sink);
        let backend =
            self.round.backend.unwrap_or(if self.round.seed.is_multiple_of(2) { "memory" } else { "rocksdb" });
        let target = format!(
            "connector = \"kafka\"\nbrokers = \"{brokers}\"\nkey = {{ field = \"k\" }}\nformat = \"ndjson\"\n\
             guarantee = \"exactly-once\"\ntransaction_timeout = \"{}s\"",
            TRANSACTION_TIMEOUT.as_secs()
        );
        format!(
            r#"
name = "kafka-to-kafka"
parallelism = {parallelism}
[checkpoint]
interval = "250ms"
retained = 20
on_cancel = "keep"
[state]
backend = "{backend}"
[restart]
attempts = 1000
delay = "50ms"
[source.records]
connector = "kafka"
brokers = "{brokers}"
topic = "in"
start = "earliest"
format = "ndjson"
rate = {RATE}
timestamp = {{ field = "t", format = "unix-ms" }}
watermark = "ascending"
[operator.number]
input = "records"
key = {{ field = "k" }}
component = "kafka-count@1"
function = "number"
[operator.sums]
input = "records"
key = {{ field = "k" }}
window = {{ type = "tumbling", size = "{WINDOW_MS}ms" }}
aggregate = {{ type = "sum", field = "n" }}
[sink.{sink}]
input = "number"
topic = "counts"
{target}
[sink.windows]
input = "sums"
topic = "windows"
{target}
"#
        )
    }

    fn submit(&mut self, from: Option<&Path>) -> Result<crate::Answer> {
        let pipeline = self.pipeline();
        fs::write(self.site.dir.join("pipeline.toml"), &pipeline)?;
        self.site.submit(&pipeline, from)
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
                Err(error) if is_injected(&error) => {
                    self.round.story.tell(format!("an injected error: {error:#}"));
                }
                Err(error) => return Err(error),
            }
        }
        bail!("{FAULTS_MAX} injected faults in a row")
    }

    /// Starts the dead server, and returns once its job is resumed.
    fn revive(&mut self) -> Result<()> {
        self.count_checkpoints();
        for _ in 0..FAULTS_MAX {
            self.site.start()?;
            if self.job.is_empty() {
                return Ok(());
            }
            match self.site.wait_until_resumed(&self.job) {
                Err(_) if self.site.has_died_at_a_fail_point()? => {}
                resumed => return resumed.map(drop),
            }
        }
        bail!("the server died {FAULTS_MAX} times while it resumed its job")
    }

    fn wait_for_records(&mut self, records: u64) -> Result<()> {
        let progress = self.through_faults(|run| run.site.wait_for_records(&run.job, records))?;
        ensure!(progress == Progress::Reached, "the job ended");
        Ok(())
    }

    /// Kills the server and starts it again. Its job goes on.
    fn kill(&mut self, moment: &'static str) -> Result<()> {
        self.end_server(moment)?;
        self.resume_job()
    }

    fn end_server(&mut self, moment: &'static str) -> Result<()> {
        self.count_checkpoints();
        self.site.kill()?;
        self.round.story.tell(format!("killed {moment}"));
        *self.round.tally.kills.entry(moment).or_default() += 1;
        self.line.push_str(" †");
        self.plan_faults();
        Ok(())
    }

    /// Lets the next processes of the server die and fail at the points that the round aims at.
    fn plan_faults(&mut self) {
        if self.round.has_fail_points && self.has_faults && !self.site.has_faults() {
            self.site.plan_faults(PlannedFaults::new(&self.round.aims, String::new()));
        }
    }

    fn resume_job(&mut self) -> Result<()> {
        self.revive()?;
        // The server may have died again.
        let job = self.through_faults(|run| run.site.job(&run.job))?;
        match job["restored_checkpoint"].as_u64() {
            Some(_) => self.round.tally.restores += 1,
            None => self.round.tally.fresh_starts += 1,
        }
        Ok(())
    }

    /// Counts the checkpoints that the storage has and this round has not counted. The server may be down.
    fn count_checkpoints(&mut self) {
        let complete = self.site.complete(&self.job);
        let new = complete.iter().filter(|(id, _)| *id > self.counted).count() as u64;
        self.counted = complete.last().map_or(self.counted, |(id, _)| self.counted.max(*id));
        self.round.tally.checkpoints += new;
        self.checkpoints += new;
    }

    /// Carries out the plot, with kills at random around it.
    fn act(&mut self) -> Result<()> {
        let middle = self.round.rng.u64(RECORDS / 8..RECORDS / 4);
        self.wait_for_records(middle)?;
        self.count_checkpoints();
        match self.plot {
            Plot::Kills => {}
            Plot::BrokerKills => self.kill_broker()?,
            Plot::Zombie => self.pause_server()?,
            Plot::OtherParallelism => self.change_parallelism()?,
            Plot::RenamedSink => self.rename_sink()?,
            Plot::RunningSavepoint => self.continue_elsewhere(false)?,
            Plot::OldSavepoint => self.continue_elsewhere(true)?,
        }
        self.has_faults = true;
        if self.plot == Plot::Kills || self.round.aims.iter().any(|aim| aim.point.starts_with("savepoint.remove")) {
            self.remove_savepoint()?;
        }
        for _ in 0..self.round.rng.u8(1..=2) {
            sleep_up_to(Duration::from_millis(900), &mut self.round.rng, &mut self.round.story);
            self.through_faults(|run| run.site.wait_for_checkpoint(&run.job))?;
            self.kill(AT_RANDOM)?;
        }
        Ok(())
    }

    /// Kills the broker once or twice, and the server beside it. The broker stays away for a while.
    fn kill_broker(&mut self) -> Result<()> {
        let mut beside = self.round.rng.bool();
        for _ in 0..self.round.rng.u8(1..=2) {
            self.broker.kill()?;
            self.round.story.tell("killed the broker".to_owned());
            self.line.push_str(" †broker");
            sleep_up_to(Duration::from_millis(1500), &mut self.round.rng, &mut self.round.story);
            if beside {
                self.end_server(WITH_THE_BROKER)?;
            }
            self.broker.restart()?;
            if beside {
                // A job is not resumed while the peer of its sink is away.
                self.resume_job()?;
            }
            beside = !beside;
            sleep_up_to(Duration::from_millis(1500), &mut self.round.rng, &mut self.round.story);
        }
        Ok(())
    }

    /// Stops the server's process for longer than the time after which the broker aborts its transactions, and continues it.
    fn pause_server(&mut self) -> Result<()> {
        for _ in 0..3 {
            sleep_up_to(Duration::from_millis(400), &mut self.round.rng, &mut self.round.story);
            self.site.signal("STOP")?;
            sleep(TRANSACTION_TIMEOUT + Duration::from_secs(2));
            self.site.signal("CONT")?;
            self.line.push_str(" ⏸");
        }
        self.round.story.tell("the server was paused three times".to_owned());
        Ok(())
    }

    fn change_parallelism(&mut self) -> Result<()> {
        let from = self.stop()?;
        self.parallelism = if self.round.rng.bool() { 3 } else { 1 };
        self.round.tally.parallelism_changes += 1;
        self.replace_job(&from)
    }

    /// Stops the job with a savepoint.
    fn stop(&mut self) -> Result<PathBuf> {
        let request = |run: &mut Self| {
            let answer = run.site.api()?.post(&format!("/v1/jobs/{}/stop", run.job), "application/json", b"{}")?;
            answer.ok().map(drop)
        };
        self.through_faults(request)?;
        let location = self.through_faults(|run| {
            wait_until("the job is stopped", TIMEOUT, || {
                let job = run.site.job(&run.job)?;
                ensure!(job["status"] != "FAILED", "the job failed: {}", job["failure"]);
                Ok(job["stop"]["location"].as_str().filter(|_| job["status"] == "FINISHED").map(PathBuf::from))
            })
        })?;
        self.count_checkpoints();
        Ok(location)
    }

    /// Submits a job that continues from a snapshot.
    fn replace_job(&mut self, from: &Path) -> Result<()> {
        let job = self.submit_once(from)?.ok()?;
        *self.round.tally.new_jobs.entry("savepoint").or_default() += 1;
        self.line.push_str(" ->");
        self.begin_job(&job)
    }

    /// Submits a job unless an earlier try has: the server may have died before it answered.
    fn submit_once(&mut self, from: &Path) -> Result<crate::Answer> {
        let own = self.job.clone();
        self.through_faults(|run| {
            let jobs = run.site.api()?.jobs()?;
            let known = |job: &&Value| {
                job["id"] != own.as_str()
                    && job["status"] != "FAILED"
                    && job["status"] != "CANCELED"
                    && job["status"] != "FINISHED"
            };
            if let Some(job) = jobs.as_array().into_iter().flatten().find(known) {
                return Ok(crate::Answer { status: 200, content_type: String::new(), body: job.clone() });
            }
            let answer = run.submit(Some(from))?;
            // A refusal is an answer. An injected error is tried again.
            match answer.clone().ok() {
                Err(error) if is_injected(&error) => Err(error),
                _ => Ok(answer),
            }
        })
    }

    /// Takes a savepoint of the running job, and removes it once the job has a later checkpoint.
    fn remove_savepoint(&mut self) -> Result<()> {
        let savepoint = PathBuf::from(self.take_savepoint()?);
        let is_taken = |(_, folder): &(u64, PathBuf)| folder.file_name() == savepoint.file_name();
        let taken = self.site.savepoints(&self.job).into_iter().find(is_taken);
        let (id, _) = taken.with_context(|| format!("{} is not a savepoint of the job", savepoint.display()))?;
        self.through_faults(|run| {
            wait_until("a later checkpoint is complete", TIMEOUT, || {
                // Fails if the server is down.
                run.site.job(&run.job)?;
                Ok(run.site.complete(&run.job).last().filter(|(newest, _)| *newest > id).map(drop))
            })
        })?;
        self.through_faults(|run| {
            let answer = run.site.api()?.delete(&format!("/v1/savepoints?location={}", savepoint.display()))?;
            // The server may have died after the removal and before its answer.
            if answer.code() == "savepoint-not-found" { Ok(()) } else { answer.ok().map(drop) }
        })?;
        ensure!(!savepoint.join("manifest").exists(), "{} is left of a removed savepoint", savepoint.display());
        self.round.story.tell(format!("removed savepoint {id}"));
        self.line.push_str(" -savepoint");
        Ok(())
    }

    fn take_savepoint(&mut self) -> Result<String> {
        self.through_faults(|run| run.site.api()?.savepoint(&run.job.clone(), "savepoints", "{}"))
    }

    /// Continues in another server from a checkpoint whose output is not published. Under another name the sink is refused.
    fn rename_sink(&mut self) -> Result<()> {
        // Nothing is published while the broker is away, and checkpoints go on.
        self.broker.kill()?;
        let newest = self.site.complete(&self.job).last().map_or(0, |(id, _)| *id);
        wait_until("a checkpoint is complete without the broker", TIMEOUT, || {
            Ok(self.site.complete(&self.job).last().filter(|(id, _)| *id > newest + 1).map(drop))
        })?;
        self.count_checkpoints();
        let (_, from) = self.site.complete(&self.job).pop().context("no checkpoint")?;
        self.site.kill()?;
        *self.round.tally.kills.entry(WITH_OPEN_OUTPUT).or_default() += 1;
        self.broker.restart()?;
        let from = self.move_to_other_server(&from)?;
        self.sink = "renamed";
        let refused = self.submit_once(&from)?;
        ensure!(refused.code() == "sink-changed", "a renamed sink is not refused: {refused:?}");
        self.round.tally.sinks_refused += 1;
        self.sink = "counts";
        self.replace_job(&from)?;
        // Once its output is published, a sink may have another name.
        self.wait_for_records(RECORDS / 10)?;
        let from = self.stop()?;
        self.sink = "renamed";
        self.replace_job(&from)
    }

    /// Starts a server with an empty data folder, which has no job yet. Returns the place of a snapshot of the killed one, whose
    /// folder is set aside.
    fn move_to_other_server(&mut self, from: &Path) -> Result<PathBuf> {
        let (data, aside) = (self.site.dir.join("data"), self.site.dir.join("aside"));
        fs::rename(&data, &aside)?;
        let from = aside.join(from.strip_prefix(&data)?);
        let next = Site::new(self.round.checkout, &self.round.binary, self.round.dir.join("second"))?;
        self.site = next.with_components(COMPONENTS);
        self.job = String::new();
        self.has_faults = true;
        self.plan_faults();
        self.site.open(self.round.checkout)?;
        Ok(from)
    }

    /// Takes a savepoint of the running job, kills its server at once or later, and continues in another server. A job that was
    /// ahead of the savepoint has output that cannot be taken back, so its newest checkpoint is used.
    fn continue_elsewhere(&mut self, later: bool) -> Result<()> {
        let savepoint = self.take_savepoint()?;
        self.count_checkpoints();
        if later {
            let read = self.site.job(&self.job).ok().and_then(|job| job["records_in"].as_u64()).unwrap_or(0);
            self.wait_for_records((read + RATE).min(RECORDS * 3 / 4))?;
        } else {
            sleep_up_to(Duration::from_millis(300), &mut self.round.rng, &mut self.round.story);
        }
        self.count_checkpoints();
        self.site.kill()?;
        self.line.push_str(" †savepoint");
        *self.round.tally.kills.entry(AFTER_A_SAVEPOINT).or_default() += 1;
        let newest = self.site.complete(&self.job).pop().map(|(_, folder)| folder).context("no checkpoint")?;
        let data = self.site.dir.join("data");
        let savepoint = self.move_to_other_server(Path::new(&savepoint))?;
        let newest = self.round.dir.join("first/aside").join(newest.strip_prefix(&data)?);
        let answer = self.submit_once(&savepoint)?;
        if answer.code() == "sink-ahead" {
            return self.refused_as_ahead(&newest);
        }
        let job = answer.ok()?;
        if self.is_refused_at_start(&job)? {
            return self.refused_as_ahead(&newest);
        }
        *self.round.tally.new_jobs.entry("savepoint").or_default() += 1;
        self.begin_job(&job)
    }

    /// Returns whether a job that was accepted finds out when it starts that the output is ahead of its savepoint.
    fn is_refused_at_start(&mut self, job: &Value) -> Result<bool> {
        let id = job["id"].as_str().with_context(|| format!("no id in {job}"))?;
        let failure = self.through_faults(|run| {
            wait_until("the job runs or is refused", TIMEOUT, || {
                let job = run.site.job(id)?;
                match job["status"].as_str() {
                    Some("FAILED") => Ok(Some(Some(job["failure"].clone()))),
                    Some("RUNNING") if job["records_in"].as_u64() > Some(0) => Ok(Some(None)),
                    _ => Ok(None),
                }
            })
        })?;
        match failure {
            None => Ok(false),
            Some(failure) if failure.to_string().contains("sink-ahead") => Ok(true),
            Some(failure) => bail!("the job failed: {failure}"),
        }
    }

    fn refused_as_ahead(&mut self, newest: &Path) -> Result<()> {
        self.line.push_str(" ahead");
        self.round.tally.sinks_refused += 1;
        self.replace_job(newest)
    }

    /// Waits until the results of all records are committed, ends the job, and checks the output.
    fn finish(&mut self) -> Result<()> {
        self.wait_for_all_results()?;
        // The end of event time fires the last windows.
        self.through_faults(|run| {
            let answer = run.site.api()?.post(
                &format!("/v1/jobs/{}/stop", run.job),
                "application/json",
                br#"{"drain":true}"#,
            )?;
            answer.ok().map(drop)
        })?;
        self.through_faults(|run| run.site.wait_for_end(&run.job))?;
        self.count_checkpoints();
        self.count_fail_points()?;
        let printed = self.check_output()?;
        let open = self.broker.client().open_transactions()?;
        ensure!(open.is_empty(), "transactions are open: {open:?}");
        ensure!(self.checkpoints >= CHECKPOINTS_MIN, "the round had only {} checkpoints", self.checkpoints);
        self.round.tally.note_round_checkpoints(self.checkpoints);
        self.line.push_str(&format!("; {printed}; {} checkpoints", self.checkpoints));
        Ok(())
    }

    /// Waits until a reader of committed records finds a result of each record. Then a complete checkpoint holds the whole input, and the
    /// job never returns behind it.
    ///
    /// A job that has read everything may still return to an earlier checkpoint. If it dies while it stops, its next process carries out the
    /// stop as soon as it runs, wherever it is in its input (decision 0011). So a round must not drain a job by its count of records.
    fn wait_for_all_results(&mut self) -> Result<()> {
        let mut committed = CommittedRecords::of("counts");
        let waited = self.through_faults(|run| {
            wait_until("the results of all records are committed", TIMEOUT, || {
                let job = run.site.job(&run.job)?;
                ensure!(job["status"] != "FAILED", "the job failed: {}", job["failure"]);
                if committed.count(run.broker.client())? >= RECORDS {
                    return Ok(Some(()));
                }
                sleep(LOOK);
                Ok(None)
            })
        });
        waited.map_err(|error| match self.check_output() {
            Ok(printed) => error.context(printed),
            Err(difference) => error.context(difference),
        })
    }

    fn count_fail_points(&mut self) -> Result<()> {
        if !self.round.has_fail_points {
            return Ok(());
        }
        for server in ["first", "second"] {
            let log = fs::read_to_string(self.round.dir.join(server).join("fail-points.log")).unwrap_or_default();
            self.round.tally.fail_points.add_known(&log)?;
            let deaths = log.lines().filter(|line| line.starts_with("kill ")).count() as u64;
            *self.round.tally.kills.entry("at a fail point").or_default() += deaths;
        }
        Ok(())
    }

    /// Compares the committed output. Returns what the oracle prints.
    fn check_output(&mut self) -> Result<String> {
        let oracle = self.round.checkout.root.join("tests/kafka/oracle.py");
        let (printed, found) = EXPECTED.check(self.broker.client(), &oracle, &self.round.dir)?;
        self.round.tally.lines += found;
        Ok(printed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_aims_at_adopted_output_leaves_output_to_adopt() {
        for seed in 0..PLOTS.len() as u64 {
            let adopt: Aim = "outbox.adopt=kill@1".parse().unwrap();
            let other: Aim = "outbox.publish=kill@1".parse().unwrap();
            assert_eq!(Plot::of(seed, &[other.clone(), adopt]), Plot::RenamedSink);
            assert_eq!(Plot::of(seed, &[other]), PLOTS[seed as usize]);
        }
    }
}
