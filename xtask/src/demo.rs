//! `cargo xtask demo`: real flights, a real server, two kills, and an independent check of the result.

use std::io::{IsTerminal, Write, stderr};
use std::time::Instant;

use anyhow::{Result, bail};
use cofferdam_tests::difference;
use cofferdam_tests::late_flights::{self, COMPONENT, Event, FLIGHTS, Plan, Progress};

use crate::workspace::{Workspace, step};

#[derive(clap::Args)]
pub struct Arguments {
    /// Repeats the plan of an earlier run: the job's progress at each kill
    #[arg(long)]
    seed: Option<u64>,
    /// State backend of the running job
    #[arg(long, default_value = "rocksdb", value_parser = ["memory", "rocksdb"])]
    backend: String,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=128))]
    parallelism: u32,
    /// Flights per second; slow enough for the kills
    #[arg(long, default_value_t = 60_000)]
    rate: u64,
}

pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let checkout = &workspace.checkout;
    workspace.build(&[("late-flights", "examples/late-flights")])?;
    let expected = step("compute the expected result without Cofferdam", || late_flights::expected(checkout))?;

    let plan = Plan {
        seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..)),
        backend: arguments.backend.clone(),
        parallelism: arguments.parallelism,
        rate: Some(arguments.rate),
        checkpoint_interval: "500ms".to_string(),
        kills: 2,
        fresh_instance: false,
        unaligned: false,
        work_dir: checkout.fresh_dir("demo")?,
    };
    let (seed, backend, parallelism) = (plan.seed, &plan.backend, plan.parallelism);
    eprintln!("==> {FLIGHTS} flights, backend {backend}, parallelism {parallelism}, seed {seed}");
    let outcome = late_flights::run(checkout, &plan, &mut Narrator::new())?;

    if let Some(difference) = difference(&expected, &outcome.delays) {
        bail!(
            "the committed output differs from the expected one: {difference}Repeat with: cargo xtask demo --seed {seed}"
        );
    }
    if !outcome.bad.is_empty() {
        bail!("{} flights went to the dead-letter output; the first is {}", outcome.bad.len(), outcome.bad[0]);
    }
    println!("\nThe ten worst aircraft, by their mean departure delay (at least 20 flights):\n");
    print_worst(&outcome.delays);
    let lines = outcome.delays.len();
    println!(
        "\nExact: {lines} committed lines equal the independent computation byte for byte, after two kills (seed {seed})."
    );
    println!("Output, log and pipeline file: {}", checkout.shown(&plan.work_dir));
    Ok(())
}

/// An aircraft after its last flight.
struct Aircraft<'a> {
    tailnum: &'a str,
    flights: i64,
    total_delay: i64,
    last_ten: &'a str,
}

fn parse(line: &str) -> Option<Aircraft<'_>> {
    let mut fields = line.split(',');
    let (tailnum, flights, total_delay) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Aircraft { tailnum, flights, total_delay, last_ten: fields.next()? })
}

/// Returns the aircraft with the largest mean delays, worst first, each after its last flight.
fn worst<'a>(lines: &'a [String], flights_min: i64, count: usize) -> Vec<Aircraft<'a>> {
    let mut fleet = std::collections::BTreeMap::<&str, Aircraft<'a>>::new();
    for aircraft in lines.iter().filter_map(|line| parse(line)) {
        if fleet.get(aircraft.tailnum).is_none_or(|known| known.flights < aircraft.flights) {
            fleet.insert(aircraft.tailnum, aircraft);
        }
    }
    let mut fleet: Vec<_> = fleet.into_values().filter(|aircraft| aircraft.flights >= flights_min).collect();
    // a/b > c/d compared as a·d > c·b, in integers, so that ties are exact.
    fleet.sort_by_key(|aircraft| aircraft.tailnum);
    fleet.sort_by(|a, b| (b.total_delay * a.flights).cmp(&(a.total_delay * b.flights)));
    fleet.truncate(count);
    fleet
}

fn print_worst(lines: &[String]) {
    println!("  aircraft  flights  total min  mean min  last ten delays (min)");
    for Aircraft { tailnum, flights, total_delay, last_ten } in worst(lines, 20, 10) {
        let mean = total_delay as f64 / flights as f64;
        println!("  {tailnum:<8}  {flights:>7}  {total_delay:>9}  {mean:>8.1}  {}", last_ten.replace(';', " "));
    }
}

/// Prints progress; on a terminal it updates one line.
struct Narrator {
    start: Instant,
    told: Option<Instant>,
}

impl Narrator {
    #[expect(clippy::new_ret_no_self, reason = "the progress is a closure")]
    fn new() -> impl FnMut(Event<'_>) {
        let mut narrator = Narrator { start: Instant::now(), told: None };
        move |event| narrator.tell(event)
    }

    fn tell(&mut self, event: Event<'_>) {
        match event {
            Event::Progress(progress) => return self.progress(progress),
            Event::Started { address } => self.line(&format!("the server listens on {address}")),
            Event::Uploaded { component } => {
                let functions = component["functions"].as_array().into_iter().flatten();
                let names: Vec<_> = functions.filter_map(|function| function["name"].as_str()).collect();
                self.line(&format!("uploaded {COMPONENT} with the functions {}", names.join(", ")));
            }
            Event::Submitted { job } => self.line(&format!("submitted the pipeline: job {job}")),
            Event::Killed(Progress { flights, .. }) => {
                self.line(&format!("killed the server with SIGKILL, {flights} of {FLIGHTS} flights into the run"));
            }
            Event::Restarted { checkpoint: Some(id) } => {
                self.line(&format!("started it again: the job continues from checkpoint {id}"));
            }
            Event::Restarted { checkpoint: None } => {
                self.line("started it again: no checkpoint was complete, so the job starts from the beginning");
            }
            Event::Finished => self.line("the job is finished"),
        }
        self.told = None;
    }

    fn line(&self, text: &str) {
        let clear = if stderr().is_terminal() { "\r\x1b[K" } else { "" };
        eprintln!("{clear}    {:>5.1} s  {text}", self.start.elapsed().as_secs_f64());
    }

    fn progress(&mut self, Progress { flights, checkpoint }: Progress) {
        let pause = if stderr().is_terminal() { 0.1 } else { 1.0 };
        if self.told.is_some_and(|told| told.elapsed().as_secs_f64() < pause) {
            return;
        }
        self.told = Some(Instant::now());
        let checkpoint = checkpoint.map_or("none yet".to_string(), |id| id.to_string());
        let text = format!("{flights:>6} flights read, last checkpoint {checkpoint}");
        if stderr().is_terminal() {
            eprint!("\r\x1b[K    {:>5.1} s  {text}", self.start.elapsed().as_secs_f64());
            let _ = stderr().flush();
        } else {
            self.line(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aircraft_are_ranked_by_their_mean_delay_after_the_last_flight() {
        let lines = ["N1,1,9,9", "N1,2,10,9;1", "N2,1,7,7", "N3,1,999,999", "N4,2,12,6;6", "N5,2,10,5;5"];
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let names: Vec<_> = worst(&lines, 2, 2).iter().map(|aircraft| aircraft.tailnum).collect();
        assert_eq!(names, ["N4", "N1"]);
    }
}
