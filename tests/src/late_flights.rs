//! One run of the example late-flights in a server that is killed on the way.
//!
//! Everything that is random about a run comes from its seed: how far the sources are when the server is killed, and how
//! much later. Where that hits the engine depends on the machine, so a seed repeats the plan, not the moment.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::Value;
use toml_edit::{DocumentMut, value};

use crate::{Place, Server, committed_lines, wait_until};

/// Flights in the file.
pub const FLIGHTS: u64 = 336_776;
/// The name under which the component is uploaded.
pub const COMPONENT: &str = "late-flights@0.1.0";

/// Far more than a run takes.
const TIMEOUT: Duration = Duration::from_secs(180);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// `memory` or `rocksdb`.
    pub backend: String,
    pub parallelism: u32,
    /// Flights per second; unlimited where none.
    pub rate: Option<u64>,
    pub checkpoint_interval: String,
    /// How often the server is killed.
    pub kills: u32,
    /// Throw the guest's instance away after every turn.
    pub fresh_instance: bool,
    /// Let barriers overtake at once, and make batches small, so that operators with fresh instances do not keep up.
    pub unaligned: bool,
    /// An empty folder for the server's data and the output.
    pub work_dir: PathBuf,
}

impl Plan {
    /// The folder of the sinks.
    fn out(&self) -> PathBuf {
        self.work_dir.join("out")
    }

    /// The root of the checkpoint storage.
    pub fn checkpoints(&self) -> PathBuf {
        self.work_dir.join("checkpoints")
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The committed lines of the sink `delays`, sorted.
    pub delays: Vec<String>,
    /// The committed lines of the sink `bad`, sorted.
    pub bad: Vec<String>,
    /// For each kill the checkpoint that the next server went on from.
    pub restored: Vec<Option<u64>>,
    /// The most bytes of records in flight that a checkpoint of the last server held.
    pub in_flight_bytes: u64,
}

/// How far a job is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Flights that the source has read.
    pub flights: u64,
    /// The newest complete checkpoint.
    pub checkpoint: Option<u64>,
}

/// What the run tells while it goes.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Started { address: &'a str },
    Uploaded { component: &'a Value },
    Submitted { job: &'a str },
    Progress(Progress),
    Killed(Progress),
    Restarted { checkpoint: Option<u64> },
    Finished,
}

/// The lines that the sink `delays` must hold, sorted, as another program computes them.
pub fn expected(place: &Place) -> Result<Vec<String>> {
    let program = place.late_flights_expected();
    let data = place.late_flights().join("data/flights.csv.gz");
    let output =
        Command::new(&program).arg(&data).output().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_string).collect())
}

/// Runs a plan to the end of the job.
pub fn run(place: &Place, plan: &Plan, tell: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    let mut rng = Rng::with_seed(plan.seed);
    let mut run = Run::start(place, plan, tell)?;
    let mut restored = Vec::new();
    for kill in 0..plan.kills {
        // The k-th of n kills falls into the k-th of n equal parts of the run, and not into the part's ends.
        let part = FLIGHTS / u64::from(plan.kills);
        let target = part * u64::from(kill) + part / 5 + rng.u64(0..part * 3 / 5);
        let later = Duration::from_micros(rng.u64(0..30_000));
        let progress = run.wait_until(tell, |progress| progress.flights >= target)?;
        sleep(later); // Not for a condition: it spreads the kills over the moments between two answers.
        run.kill()?;
        tell(Event::Killed(progress));
        let checkpoint = run.restart()?;
        tell(Event::Restarted { checkpoint });
        restored.push(checkpoint);
    }
    let (delays, bad) = run.finish(tell)?;
    let checkpoints = run.server()?.api.get(&format!("/v1/jobs/{}/checkpoints", run.job))?.ok()?;
    let in_flight = |checkpoint: &Value| checkpoint["in_flight_bytes"].as_u64();
    let in_flight_bytes = checkpoints.as_array().into_iter().flatten().filter_map(in_flight).max().unwrap_or(0);
    Ok(Outcome { delays, bad, restored, in_flight_bytes })
}

/// A job under way, in a server that may be dead.
pub struct Run<'a> {
    place: &'a Place,
    plan: &'a Plan,
    server: Option<Server>,
    pub job: String,
}

impl<'a> Run<'a> {
    /// Starts a server, uploads the component, submits the pipeline.
    pub fn start(place: &'a Place, plan: &'a Plan, tell: &mut dyn FnMut(Event<'_>)) -> Result<Run<'a>> {
        let manifest = manifest(place, plan)?;
        fs::write(plan.work_dir.join("pipeline.toml"), &manifest)?;
        let server = Server::start(&place.cofferdam(), &plan.work_dir, &[])?;
        tell(Event::Started { address: server.api.base() });
        let component = fs::read(place.component("late-flights")?)?;
        tell(Event::Uploaded { component: &server.api.push(&component, Some(COMPONENT))?.ok()? });
        let job = server.api.submit_ok(&manifest)?;
        tell(Event::Submitted { job: &job });
        Ok(Run { place, plan, server: Some(server), job })
    }

    fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("the server was killed")
    }

    /// Waits until the job has come so far. An error where it ends before.
    pub fn wait_until(
        &self,
        tell: &mut dyn FnMut(Event<'_>),
        far_enough: impl Fn(Progress) -> bool,
    ) -> Result<Progress> {
        let api = &self.server()?.api;
        wait_until("the job makes progress", TIMEOUT, || {
            let job = api.job(&self.job)?;
            let checkpoint = job["last_checkpoint"].as_u64();
            let progress = Progress { flights: job["records_in"].as_u64().unwrap_or(0), checkpoint };
            tell(Event::Progress(progress));
            if far_enough(progress) {
                return Ok(Some(progress));
            }
            match job["status"].as_str() {
                Some("FINISHED") => bail!("the run was over too early: slow it down with `rate`"),
                Some(status @ ("FAILED" | "CANCELLED" | "STOPPED")) => bail!("the job is {status}: {}", job["failure"]),
                _ => Ok(None),
            }
        })
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("the server was killed already")?.kill()
    }

    /// Starts the server again, and waits until the job runs; the checkpoint that it goes on from.
    pub fn restart(&mut self) -> Result<Option<u64>> {
        let server = self.server.insert(Server::start(&self.place.cofferdam(), &self.plan.work_dir, &[])?);
        let api = &server.api;
        wait_until("the job is resumed", TIMEOUT, || {
            let job = api.job(&self.job)?;
            match job["status"].as_str() {
                Some("RUNNING" | "FINISHED") => Ok(Some(job["restored_checkpoint"].as_u64())),
                Some("FAILED") => bail!("the job failed: {}", job["failure"]),
                _ => Ok(None),
            }
        })
    }

    /// Waits for the job's end; the committed lines of the sinks `delays` and `bad`, sorted.
    pub fn finish(&self, tell: &mut dyn FnMut(Event<'_>)) -> Result<(Vec<String>, Vec<String>)> {
        self.wait_until(tell, |progress| progress.flights >= FLIGHTS)?;
        self.server()?.api.wait_for(&self.job, "FINISHED")?;
        tell(Event::Finished);
        let out = self.plan.out();
        Ok((committed_lines(&out.join("delays"))?, committed_lines(&out.join("bad"))?))
    }
}

/// The example's manifest with the plan's settings and absolute paths.
fn manifest(place: &Place, plan: &Plan) -> Result<String> {
    let (folder, out) = (place.late_flights(), plan.out());
    let mut toml: DocumentMut = fs::read_to_string(folder.join("pipeline.toml"))?.parse()?;
    let absolute = |path: PathBuf| value(path.display().to_string());
    toml["parallelism"] = value(i64::from(plan.parallelism));
    toml["state"]["backend"] = value(&plan.backend);
    toml["checkpoint"]["interval"] = value(&plan.checkpoint_interval);
    toml["checkpoint"]["storage"] = absolute(plan.checkpoints());
    toml["source"]["flights"]["path"] = absolute(folder.join("data/flights.csv.gz"));
    if let Some(rate) = plan.rate {
        toml["source"]["flights"]["rate"] = value(i64::try_from(rate)?);
    }
    if plan.unaligned {
        toml["checkpoint"]["unaligned_after"] = value("0s");
        toml["batch"]["records"] = value(64);
    }
    if plan.fresh_instance {
        toml["sandbox"]["fresh_instance"] = value(true);
    }
    for operator in ["parse", "track"] {
        toml["operator"][operator]["component"] = value(COMPONENT);
    }
    for sink in ["delays", "bad"] {
        toml["sink"][sink]["path"] = absolute(out.join(sink));
    }
    Ok(toml.to_string())
}
