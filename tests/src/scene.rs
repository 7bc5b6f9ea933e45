//! A server that runs the example late-flights over its first flights, and the expected output.
//!
//! Meant for tests that start a server several times, for which all flights would take too long.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{Api, Checkout, Difference, Server, committed_lines, difference, wait_until};

/// Generous upper bound of every wait.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A server with its folder `dir` and the expected lines. The server is not running at first.
pub struct Scene {
    pub checkout: Checkout,
    pub dir: PathBuf,
    /// Environment of each started server.
    pub environment: Vec<(&'static str, String)>,
    pub arguments: Vec<String>,
    server: Option<Server>,
    expected: Vec<String>,
}

impl Scene {
    /// Creates an empty folder of this name with the first `flights` flights.
    pub fn new(name: &str, flights: usize) -> Result<Scene> {
        let checkout = Checkout::current();
        let dir = checkout.fresh_dir(&format!("tests/{name}"))?;
        let input = dir.join("flights.csv.gz");
        shorten(&checkout.late_flights().join("data/flights.csv.gz"), flights, &input)?;
        let output = Command::new(checkout.late_flights_expected()).arg(&input).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = String::from_utf8(output.stdout)?.lines().map(str::to_string).collect();
        Ok(Scene { checkout, dir, environment: Vec::new(), arguments: Vec::new(), server: None, expected })
    }

    /// Starts the server and uploads the component.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(self.checkout.cofferdam());
        command.envs(self.environment.iter().cloned());
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let server = self.server.insert(Server::start_by(command, &self.dir, &arguments)?);
        let component = fs::read(self.checkout.component("late-flights")?)?;
        server.api.push(&component, Some("late-flights@1"))?.ok()?;
        Ok(())
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.server.take().context("no server is up")?.kill()
    }

    pub fn api(&self) -> &Api {
        &self.server.as_ref().expect("a server is up").api
    }

    /// Returns the server's default checkpoint storage.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("data/checkpoints")
    }

    pub fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }

    /// Returns a pipeline file with parallelism 1. `rate` is in flights per second, `settings` are the keys of
    /// `[checkpoint]`.
    pub fn pipeline(&self, backend: &str, rate: u64, settings: &str) -> String {
        format!(
            "name = \"flights\"\nparallelism = 1\n[checkpoint]\n{settings}\n[state]\nbackend = \"{backend}\"\n\
             [source.flights]\nconnector = \"file\"\npath = \"{}\"\nformat = \"csv\"\nrate = {rate}\n\
             [operator.parse]\ninput = \"flights\"\nkey = {{ field = \"tailnum\" }}\ncomponent = \"late-flights@1\"\n\
             function = \"parse\"\n\
             [operator.track]\ninput = \"parse\"\nkey = {{ field = \"tailnum\" }}\ncomponent = \"late-flights@1\"\n\
             function = \"track\"\n\
             [sink.delays]\ninput = \"track\"\nconnector = \"file\"\npath = \"{}\"\n\
             format = \"csv\"\nheader = false\n",
            self.dir.join("flights.csv.gz").display(),
            self.out().display(),
        )
    }

    /// Submits a pipeline file that must be accepted, with a query such as `from=...&claim=true`, and returns the job's
    /// id.
    pub fn submit(&self, pipeline: &str, query: &str) -> Result<String> {
        let job = self.api().post(&format!("/v1/jobs?{query}"), "application/toml", pipeline.as_bytes())?.ok()?;
        job["id"].as_str().map(str::to_string).with_context(|| format!("no id in {job}"))
    }

    /// Waits until the job has read `flights` flights since its start and has a checkpoint with at least the id
    /// `checkpoint`. Returns the job.
    pub fn wait_for(&self, job: &str, flights: u64, checkpoint: u64) -> Result<Value> {
        wait_until("the job makes progress", TIMEOUT, || {
            let job = self.api().job(job)?;
            if job["records_in"].as_u64() >= Some(flights) && job["last_checkpoint"].as_u64() >= Some(checkpoint) {
                return Ok(Some(job));
            }
            match job["status"].as_str() {
                Some("CREATED" | "RUNNING" | "FAILING" | "RESTARTING") => Ok(None),
                _ => bail!("the job ended too early: {job}"),
            }
        })
    }

    /// Waits until a resumed job is running or has ended, and returns it.
    pub fn wait_until_up(&self, job: &str) -> Result<Value> {
        wait_until("the job is resumed", TIMEOUT, || {
            let job = self.api().job(job)?;
            Ok((job["status"] != "CREATED" && job["status"] != "SUSPENDED").then_some(job))
        })
    }

    /// Triggers `savepoints` or `stop`, waits for the savepoint, and returns its folder.
    pub fn savepoint(&self, job: &str, trigger: &str) -> Result<String> {
        self.api().savepoint(job, trigger, "")
    }

    /// Compares the committed lines with those that an independent program computed.
    pub fn difference(&self) -> Result<Option<Difference>> {
        Ok(difference(&self.expected, &committed_lines(&self.out())?))
    }

    /// Waits for the job's end and compares its committed lines.
    pub fn finish_exactly(&self, job: &str) -> Result<()> {
        self.api().wait_for(job, "FINISHED")?;
        match self.difference()? {
            None => Ok(()),
            Some(difference) => bail!("{difference}"),
        }
    }

    /// Runs the command line against the server and returns its output.
    pub fn cofferdam(&self, arguments: &[&str]) -> Result<String> {
        let output =
            Command::new(self.checkout.cofferdam()).args(["--server", self.api().base()]).args(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// Copies the header and the first records of a gzipped file.
fn shorten(from: &Path, records: usize, to: &Path) -> Result<()> {
    let gzip = |arguments: &[&str]| {
        let mut command = Command::new("gzip");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let mut whole = gzip(&["-dc"]).stdin(File::open(from)?).spawn().context("cannot start gzip")?;
    let lines = BufReader::new(whole.stdout.take().context("no stdout")?).lines();
    let mut short = gzip(&["-c"]).stdout(File::create(to)?).spawn()?;
    let mut input = short.stdin.take().context("no stdin")?;
    for line in lines.take(records + 1) {
        writeln!(input, "{}", line?)?;
    }
    drop(input);
    ensure!(short.wait()?.success(), "gzip failed");
    let _ = whole.kill();
    whole.wait()?;
    Ok(())
}
