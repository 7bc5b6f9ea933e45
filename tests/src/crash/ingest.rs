//! Rounds with clients that send by HTTP: each request has an idempotency key and is repeated until it is accepted. The server is killed
//! at random and at each step of the log: while a group is written and synced, before its answers, and while segments begin and end.
//!
//! At the end each acknowledged record is in the output once, also those of requests whose answer was lost.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastrand::Rng;

use super::Round;
use super::fail_points::is_injected;
use super::site::{PlannedFaults, Site, sleep_up_to};
use crate::{IngestClient, committed_lines, difference, free_address, wait_until};

const AT_RANDOM: &str = "at random";
const AT_A_FAIL_POINT: &str = "at a fail point";

/// The moments of kills.
pub(super) const KILLS: &[&str] = &[AT_RANDOM, AT_A_FAIL_POINT];
/// The areas of fail points that rounds aim at.
pub(super) const AREAS: &[&str] = &["ingest."];
/// So many rounds hit all fail points.
pub(super) const ROUNDS_FOR_ALL_POINTS: u64 = 30;

const CLIENTS: usize = 20;
/// Requests of each client. Together they fill several segments.
const REQUESTS: usize = 25;
/// Length of a record, two of which are in a request.
const RECORD_BYTES: usize = 8 << 10;
/// Fewer than all, so that files of keys are removed. The clients wait for each other after each request, so that the key of a request that
/// is repeated is among the newest.
const KEYS_MAX: usize = 5 * CLIENTS;
const KILLS_MAX: u8 = 4;
const PARALLELISM_MAX: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(180);
/// Most deaths and injected errors during one request.
const FAULTS_MAX: usize = 50;

struct Run<'r, 'a> {
    round: &'r mut Round<'a>,
    site: Site,
    address: SocketAddr,
    job: String,
    parallelism: u32,
    line: String,
}

/// Runs one round and returns a summary in one line.
pub(super) fn run(round: &mut Round<'_>) -> Result<String> {
    let address = free_address()?;
    let site = Site::without_compiled_components(&round.binary, round.dir.clone())?.with_components(&[]);
    let site = site.with_arguments(&["--ingest-listen", &address.to_string()]);
    let parallelism = round.rng.u32(1..=PARALLELISM_MAX);
    let mut run = Run { round, site, address, job: String::new(), parallelism, line: String::new() };
    run.begin()?;
    run.send_through_kills()?;
    run.finish()?;
    Ok(run.line)
}

/// Returns a record. Its content differs, so that no block of the disk is like another one.
fn record(client: usize, request: usize, number: usize) -> String {
    let mut rng = Rng::with_seed(((client * REQUESTS + request) * 2 + number) as u64);
    let filler: String = std::iter::repeat_with(|| rng.alphanumeric()).take(RECORD_BYTES).collect();
    format!("client {client} request {request} record {number} {filler}")
}

/// Sends the requests of one client. Returns how many answers were those to an earlier try.
fn send_all(address: SocketAddr, client: usize, step: &Barrier, failed: &AtomicUsize) -> Result<usize> {
    let (mut connection, mut replayed) = (IngestClient::new(address), 0);
    for request in 0..REQUESTS {
        let body = format!("{}\n{}\n", record(client, request, 0), record(client, request, 1));
        let key = format!("{client}-{request}");
        let headers = [("content-type", "application/x-ndjson"), ("idempotency-key", key.as_str())];
        // Once one client has failed, the others only keep the barrier.
        if failed.load(Ordering::Relaxed) == 0 {
            match connection.send_until_accepted("copy/in", &headers, body.as_bytes()) {
                Ok(answer) => replayed += usize::from(answer.header.contains("idempotency-replayed: true")),
                Err(error) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    (request..REQUESTS).for_each(|_| {
                        step.wait();
                    });
                    return Err(error.context(format!("client {client}, request {request}")));
                }
            }
        }
        step.wait();
    }
    if client == 0 && failed.load(Ordering::Relaxed) == 0 {
        // Behind all other records of each subtask: when these are committed, a record that was taken twice is, too.
        for number in 0..PARALLELISM_MAX {
            let (record, key) = (last_record(number), format!("last-{number}"));
            connection.send_until_accepted("copy/in", &[("idempotency-key", &key)], record.as_bytes())?;
        }
    }
    Ok(replayed)
}

fn last_record(number: u32) -> String {
    format!("last record {number}")
}

impl Run<'_, '_> {
    fn out(&self) -> PathBuf {
        self.round.dir.join("out")
    }

    fn pipeline(&self) -> String {
        format!(
            "name = \"copy\"\nparallelism = {}\n[checkpoint]\ninterval = \"100ms\"\nretained = 1\n\
             [state]\nbackend = \"memory\"\n[restart]\nstrategy = \"fixed-delay\"\nattempts = 1000\ndelay = \"10ms\"\n\
             [source.in]\nconnector = \"http\"\nformat = \"raw\"\nsegment = \"1MiB\"\nmax_keys = {KEYS_MAX}\n\
             [sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"{}\"\n",
            self.parallelism,
            self.out().display()
        )
    }

    fn submit(&mut self, from: Option<&Path>) -> Result<()> {
        let job = self.site.submit(&self.pipeline(), from)?.ok()?;
        self.job = job["id"].as_str().with_context(|| format!("no id in {job}"))?.to_owned();
        self.round.story.tell(format!("job {} at parallelism {} from {from:?}", self.job, self.parallelism));
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.site.start()?;
        self.submit(None)?;
        if self.round.has_fail_points {
            let mut aims = self.round.aims.clone();
            // Nothing is cut off or repaired unless something is torn before.
            for (point, torn) in [("ingest.cut", "ingest.torn=kill@3"), ("ingest.repair", "ingest.torn=error@3")] {
                if aims.iter().any(|aim| aim.point == point) {
                    aims.push(torn.parse()?);
                }
            }
            self.round.story.tell(format!("aims {aims:?}"));
            self.site.plan_faults(PlannedFaults::new(&aims, String::new()));
            self.site.kill()?;
            self.start()?;
        }
        Ok(())
    }

    /// Starts the server, and returns once it answers.
    fn start(&mut self) -> Result<()> {
        self.site.start()?;
        let job = self.job.clone();
        self.through_faults(|run| run.site.wait_until_resumed(&job).map(drop))
    }

    /// Repeats `work` when the server dies at a fail point, or answers with an injected error.
    fn through_faults<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        for _ in 0..FAULTS_MAX {
            match work(self) {
                Ok(done) => return Ok(done),
                Err(error) if self.site.has_died_at_a_fail_point()? => {
                    self.note_death(&format!("{error:#}"));
                    self.site.start()?;
                }
                Err(error) if is_injected(&error) => self.round.story.tell(format!("an injected error: {error:#}")),
                Err(error) => return Err(error),
            }
        }
        bail!("{FAULTS_MAX} injected faults in a row")
    }

    fn note_death(&mut self, how: &str) {
        self.round.story.tell(format!("died at a fail point: {how}"));
        *self.round.tally.kills.entry(AT_A_FAIL_POINT).or_default() += 1;
        self.line.push_str(" ✝");
    }

    fn send_through_kills(&mut self) -> Result<()> {
        let (address, step, failed) = (self.address, Barrier::new(CLIENTS), AtomicUsize::new(0));
        let (step, failed) = (&step, &failed);
        let (events, replayed) = thread::scope(|scope| {
            let clients: Vec<_> =
                (0..CLIENTS).map(|client| scope.spawn(move || send_all(address, client, step, failed))).collect();
            let events = self.kill_until(|| clients.iter().all(|client| client.is_finished()));
            if events.is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
            let replayed = clients.into_iter().map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?);
            (events, replayed.sum::<Result<usize>>())
        });
        events?;
        self.line.push_str(&format!("; {} requests, {} answers were lost", CLIENTS * REQUESTS, replayed?));
        Ok(())
    }

    /// Kills the server at random a few times, starts it whenever it is dead, and sometimes replaces the job, until `is_done`.
    fn kill_until(&mut self, is_done: impl Fn() -> bool) -> Result<()> {
        let mut kills = self.round.rng.u8(1..=KILLS_MAX);
        let mut replacements = u8::from(self.round.rng.bool());
        while !is_done() {
            sleep_up_to(Duration::from_millis(400), &mut self.round.rng, &mut self.round.story);
            if self.site.has_died_at_a_fail_point()? {
                self.note_death("while it took requests");
                self.start()?;
            } else if kills > 0 && self.round.rng.u8(0..3) == 0 {
                kills -= 1;
                self.count_checkpoints();
                self.site.kill()?;
                *self.round.tally.kills.entry(AT_RANDOM).or_default() += 1;
                self.round.tally.restores += 1;
                self.round.story.tell("killed at random".to_owned());
                self.line.push_str(" †");
                self.start()?;
            } else if replacements > 0 && self.round.rng.u8(0..3) == 0 {
                replacements -= 1;
                self.replace_job()?;
            }
        }
        Ok(())
    }

    /// Stops the job with a savepoint and continues at another parallelism. Requests are accepted meanwhile.
    fn replace_job(&mut self) -> Result<()> {
        let stopped = |run: &mut Self| {
            let job = run.site.job(&run.job)?;
            Ok(job["stop"]["location"].as_str().filter(|_| job["status"] == "FINISHED").map(PathBuf::from))
        };
        let from = self.through_faults(|run| {
            if run.site.job(&run.job)?["stop"].is_null() {
                let path = format!("/v1/jobs/{}/stop", run.job);
                run.site.api()?.post(&path, "application/json", b"{}")?.ok()?;
            }
            wait_until("the job is stopped", TIMEOUT, || stopped(run))
        })?;
        self.count_checkpoints();
        self.parallelism = self.parallelism % PARALLELISM_MAX + 1;
        self.round.tally.parallelism_changes += 1;
        let old = self.job.clone();
        // The server may have died after it accepted the job and before it answered.
        self.through_faults(|run| {
            let jobs = run.site.api()?.jobs()?;
            let next = jobs.as_array().into_iter().flatten().find(|job| job["id"] != old.as_str());
            match next.and_then(|job| job["id"].as_str()) {
                Some(id) => run.job = id.to_owned(),
                None => run.submit(Some(&from))?,
            }
            Ok(())
        })?;
        *self.round.tally.new_jobs.entry("savepoint").or_default() += 1;
        self.line.push_str(" ->");
        Ok(())
    }

    fn count_checkpoints(&mut self) {
        // The server may be down.
        let list = self.site.api().and_then(|api| api.get(&format!("/v1/jobs/{}/checkpoints", self.job))?.ok());
        if let Ok(list) = list {
            self.round.tally.add_checkpoints(&list, 0);
        }
    }

    fn finish(&mut self) -> Result<()> {
        let mut expected: Vec<String> = (0..CLIENTS)
            .flat_map(|client| (0..REQUESTS).map(move |request| (client, request)))
            .flat_map(|(client, request)| (0..2).map(move |number| record(client, request, number)))
            .chain((0..PARALLELISM_MAX).map(last_record))
            .collect();
        expected.sort_unstable();
        let out = self.out();
        let found = self.through_faults(|run| {
            wait_until("all acknowledged records are committed", TIMEOUT, || {
                let job = run.site.job(&run.job)?;
                ensure!(job["status"] != "FAILED", "the job failed: {}", job["failure"]);
                let lines = committed_lines(&out)?;
                Ok((lines.len() >= expected.len()).then_some(lines))
            })
        })?;
        self.count_checkpoints();
        if let Some(difference) = difference(&expected, &found) {
            bail!("{difference}");
        }
        self.round.tally.lines += found.len() as u64;
        if self.round.has_fail_points {
            let log = std::fs::read_to_string(self.site.fault_log()).unwrap_or_default();
            self.round.tally.fail_points.add_known(&log)?;
        }
        Ok(())
    }
}
