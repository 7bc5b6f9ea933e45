//! A run of the example late-flights in a server that is killed on the way.
//!
//! The seed decides all random choices: how far the sources are at each kill, and how much later the kill happens. The
//! exact moment depends on the machine, so a seed repeats the plan, not the moment.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::Value;
use toml_edit::{DocumentMut, value};

use crate::{Checkout, Server, committed_lines, wait_until};

/// Number of flights in the file.
pub const FLIGHTS: u64 = 336_776;
/// Name of the uploaded component.
pub const COMPONENT: &str = "late-flights@0.1.0";

/// Generous upper bound of a run.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Settings of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// `memory` or `rocksdb`.
    pub backend: String,
    pub parallelism: u32,
    /// Flights per second; `None` is unlimited.
    pub rate: Option<u64>,
    pub checkpoint_interval: String,
    /// Number of kills.
    pub kills: u32,
    /// Uses a new guest instance for every turn.
    pub fresh_instance: bool,
    /// Starts unaligned checkpoints immediately and makes batches small, so that operators with fresh instances cannot
    /// keep up.
    pub unaligned: bool,
    /// An empty folder for the server's data and the output.
    pub work_dir: PathBuf,
}

impl Plan {
    /// Returns the folder of the sinks.
    fn out(&self) -> PathBuf {
        self.work_dir.join("out")
    }

    /// Returns the root of the checkpoint storage.
    pub fn checkpoints(&self) -> PathBuf {
        self.work_dir.join("checkpoints")
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The committed lines of the sink `delays`, sorted.
    pub delays: Vec<String>,
    /// The committed lines of the sink `bad`, sorted.
    pub bad: Vec<String>,
    /// For each kill, the checkpoint from which the next server continued.
    pub restored: Vec<Option<u64>>,
    /// Largest size of in-flight records in a checkpoint of the last server, in bytes.
    pub in_flight_bytes: u64,
}

/// Progress of a job.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Flights that the source has read.
    pub flights: u64,
    /// Id of the newest complete checkpoint.
    pub checkpoint: Option<u64>,
}

/// Progress messages of a run.
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

/// Computes the expected lines of the sink `delays`, sorted, with an independent program.
pub fn expected(checkout: &Checkout) -> Result<Vec<String>> {
    let program = checkout.late_flights_expected();
    let data = checkout.late_flights().join("data/flights.csv.gz");
    let output =
        Command::new(&program).arg(&data).output().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_string).collect())
}

/// Runs a plan until the job ends.
pub fn run(checkout: &Checkout, plan: &Plan, tell: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    let mut rng = Rng::with_seed(plan.seed);
    let mut run = Run::start(checkout, plan, tell)?;
    let mut restored = Vec::new();
    for kill in 0..plan.kills {
        // The k-th of n kills happens in the k-th of n equal parts of the run, away from its ends.
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

/// A job in a server that may have been killed.
pub struct Run<'a> {
    checkout: &'a Checkout,
    plan: &'a Plan,
    server: Option<Server>,
    pub job: String,
}

impl<'a> Run<'a> {
    /// Starts a server, uploads the component and submits the pipeline.
    pub fn start(checkout: &'a Checkout, plan: &'a Plan, tell: &mut dyn FnMut(Event<'_>)) -> Result<Run<'a>> {
        let pipeline = pipeline(checkout, plan)?;
        fs::write(plan.work_dir.join("pipeline.toml"), &pipeline)?;
        let server = Server::start(&checkout.cofferdam(), &plan.work_dir, &[])?;
        tell(Event::Started { address: server.api.base() });
        let component = fs::read(checkout.component("late-flights")?)?;
        tell(Event::Uploaded { component: &server.api.push(&component, Some(COMPONENT))?.ok()? });
        let job = server.api.submit_ok(&pipeline)?;
        tell(Event::Submitted { job: &job });
        Ok(Run { checkout, plan, server: Some(server), job })
    }

    fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("the server was killed")
    }

    /// Waits for this progress. Fails if the job ends first.
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
                Some("FINISHED") => bail!("the run ended too early; slow it down with `rate`"),
                Some(status @ ("FAILED" | "CANCELED")) => bail!("the job is {status}: {}", job["failure"]),
                _ => Ok(None),
            }
        })
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("the server was killed already")?.kill()
    }

    /// Starts the server again, waits until the job is running, and returns the checkpoint from which it continued.
    pub fn restart(&mut self) -> Result<Option<u64>> {
        let server = self.server.insert(Server::start(&self.checkout.cofferdam(), &self.plan.work_dir, &[])?);
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

    /// Waits for the job's end and returns the committed lines of the sinks `delays` and `bad`, sorted.
    pub fn finish(&self, tell: &mut dyn FnMut(Event<'_>)) -> Result<(Vec<String>, Vec<String>)> {
        self.wait_until(tell, |progress| progress.flights >= FLIGHTS)?;
        self.server()?.api.wait_for(&self.job, "FINISHED")?;
        tell(Event::Finished);
        let out = self.plan.out();
        Ok((committed_lines(&out.join("delays"))?, committed_lines(&out.join("bad"))?))
    }
}

/// Returns the example's pipeline file with the plan's settings and absolute paths.
fn pipeline(checkout: &Checkout, plan: &Plan) -> Result<String> {
    let (folder, out) = (checkout.late_flights(), plan.out());
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
