//! `cargo xtask bench NAME --baseline BINARY`: compares two builds of one benchmark in alternating pairs.
//!
//! Each run is a separate process with its own report folder. The ratio of a metric is the speed of this checkout
//! divided by the speed of the baseline, for costs and rates alike: 0.97 means that 3 % were lost.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace::{Workspace, run, step};

/// Settings of a comparison.
pub struct Comparison<'a> {
    pub workspace: &'a Workspace,
    /// Name of the benchmark, a file of host/benches.
    pub name: &'a str,
    /// Benchmark executable of the other build.
    pub baseline: &'a Path,
    pub pairs: usize,
    /// Passed to both sides.
    pub arguments: &'a [String],
    pub environment: Vec<(&'static str, OsString)>,
}

/// Result of one run: the value of each metric.
type Metrics = BTreeMap<String, f64>;

/// One of the two builds.
struct Side {
    name: &'static str,
    executable: PathBuf,
    components: PathBuf,
    reports: PathBuf,
    runs: Vec<Metrics>,
}

impl Comparison<'_> {
    /// Runs all pairs, prints the ratios, and writes them as flat metrics to `report`.
    pub fn run(&self, report: &Path) -> Result<()> {
        let checkout = &self.workspace.checkout;
        let baseline = self.baseline.canonicalize();
        let baseline = baseline.with_context(|| format!("cannot find the baseline {}", self.baseline.display()))?;
        let current = step(&format!("build the benchmark {}", self.name), || self.build())?;
        let reports = checkout.fresh_dir(&format!("bench/{}-pairs", self.name))?;
        let components_of = |executable: &Path| executable.parent().map(|folder| folder.join("components"));
        let beside = components_of(&baseline).filter(|folder| folder.is_dir());
        let mut old = Side::new("baseline", baseline, beside.unwrap_or_else(|| checkout.components()), &reports)?;
        let mut new = Side::new("current", current, checkout.components(), &reports)?;
        for pair in 0..self.pairs {
            step(&format!("pair {} of {}", pair + 1, self.pairs), || {
                // The sides alternate in going first, so that changes of the machine's load affect both equally.
                let order = if pair % 2 == 0 { [&mut old, &mut new] } else { [&mut new, &mut old] };
                order.into_iter().try_for_each(|side| side.measure(self))
            })?;
        }
        let summaries = summarize(&old.runs, &new.runs)?;
        print!("{}", table(&summaries, self.pairs));
        let json = serde_json::json!({ "name": self.name, "pairs": self.pairs, "metrics": flat(&summaries) });
        fs::write(report, format!("{json:#}\n"))?;
        Ok(())
    }

    /// Builds this checkout's benchmark and returns its executable.
    fn build(&self) -> Result<PathBuf> {
        let mut command = self.workspace.cargo(&["bench", "-p", "cofferdam", "--bench", self.name, "--no-run"]);
        let output = command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the benchmark cannot be built");
        let text = String::from_utf8(output.stdout)?;
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_bench = |message: &Value| message["target"]["name"] == self.name && message["executable"].is_string();
        let message = messages.into_iter().find(of_bench).context("Cargo reported no executable for the benchmark")?;
        Ok(PathBuf::from(message["executable"].as_str().unwrap_or_default()))
    }
}

impl Side {
    fn new(name: &'static str, executable: PathBuf, components: PathBuf, reports: &Path) -> Result<Side> {
        let reports = reports.join(name);
        fs::create_dir_all(&reports)?;
        Ok(Side { name, executable, components, reports, runs: Vec::new() })
    }

    /// Runs the benchmark once.
    fn measure(&mut self, comparison: &Comparison<'_>) -> Result<()> {
        let report = self.reports.join(format!("{}.json", comparison.name));
        if report.exists() {
            fs::remove_file(&report)?;
        }
        let mut command = Command::new(&self.executable);
        command.current_dir(comparison.workspace.checkout.root.join("host")).args(comparison.arguments);
        command.env("COFFERDAM_BENCH_DIR", &self.reports).env("COFFERDAM_TEST_COMPONENTS", &self.components);
        command.envs(comparison.environment.clone()).stdin(Stdio::null()).stdout(Stdio::null());
        run(&mut command).with_context(|| format!("the {} side failed", self.name))?;
        let text = fs::read_to_string(&report).with_context(|| {
            format!(
                "{} wrote no {}: is it the benchmark `{}`?",
                self.executable.display(),
                report.display(),
                comparison.name
            )
        })?;
        let json: Value = serde_json::from_str(&text)?;
        let metrics = json["metrics"].as_object().context("the report has no `metrics`")?;
        let numbers = metrics.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        self.runs.push(numbers.collect());
        Ok(())
    }
}

/// One metric over all pairs.
#[derive(Debug, PartialEq)]
struct Summary {
    metric: String,
    baseline: f64,
    current: f64,
    /// Median, smallest and largest of the pairs' ratios. `None` if a value is zero or negative.
    ratio: Option<[f64; 3]>,
}

/// Returns whether larger values of this metric are better. All other metrics are costs: times, bytes, shares.
fn is_rate(metric: &str) -> bool {
    metric.ends_with("_per_s") || metric.contains("_vs_")
}

/// Returns the speed of the current side divided by that of the baseline.
fn ratio(metric: &str, baseline: f64, current: f64) -> Option<f64> {
    let (over, under) = if is_rate(metric) { (current, baseline) } else { (baseline, current) };
    (over > 0.0 && under > 0.0).then(|| over / under)
}

/// Compares the metrics that all runs of both sides have.
fn summarize(old: &[Metrics], new: &[Metrics]) -> Result<Vec<Summary>> {
    let first = old.first().context("no pairs were run")?;
    let in_all = |metric: &&String| old.iter().chain(new).all(|run| run.contains_key(*metric));
    let summaries: Vec<Summary> = first
        .keys()
        .filter(in_all)
        .map(|metric| {
            let values = |runs: &[Metrics]| runs.iter().map(|run| run[metric]).collect::<Vec<f64>>();
            let (baseline, current) = (values(old), values(new));
            let pairs = baseline.iter().zip(&current).map(|(old, new)| ratio(metric, *old, *new));
            let ratio = pairs.collect::<Option<Vec<f64>>>().map(|ratios| {
                let [low, high] = [f64::min, f64::max].map(|of| ratios.iter().copied().reduce(of).unwrap_or_default());
                [median(&ratios), low, high]
            });
            Summary { metric: metric.clone(), baseline: median(&baseline), current: median(&current), ratio }
        })
        .collect();
    if summaries.is_empty() {
        bail!("the two builds have no metric in common");
    }
    Ok(summaries)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

fn table(summaries: &[Summary], pairs: usize) -> String {
    let mut text = format!(
        "Medians of {pairs} pairs. The ratio is the speed of this checkout divided by that of the baseline: above 1 is faster.\n\n"
    );
    let _ = writeln!(text, "{:<44} {:>14} {:>14} {:>7}   min..max", "metric", "baseline", "current", "ratio");
    for Summary { metric, baseline, current, ratio } in summaries {
        let ratio =
            ratio.map_or("      -".to_owned(), |[median, low, high]| format!("{median:>7.3}   {low:.3}..{high:.3}"));
        let _ = writeln!(text, "{metric:<44} {baseline:>14.2} {current:>14.2} {ratio}");
    }
    text
}

/// Returns the summaries as the `metrics` of a report. The current value has the metric's name, the others have a
/// suffix.
fn flat(summaries: &[Summary]) -> Metrics {
    let mut metrics = Metrics::new();
    for Summary { metric, baseline, current, ratio } in summaries {
        metrics.insert(metric.clone(), *current);
        metrics.insert(format!("{metric}_baseline"), *baseline);
        for (part, value) in ["ratio", "ratio_min", "ratio_max"].iter().zip(ratio.iter().flatten()) {
            metrics.insert(format!("{metric}_{part}"), (value * 1e4).round() / 1e4);
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: &[(&str, f64)]) -> Metrics {
        values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn a_ratio_above_one_is_faster_for_costs_and_for_rates() {
        assert_eq!(ratio("echo_native_ns", 20.0, 10.0), Some(2.0));
        assert_eq!(ratio("restore_1gb_s", 1.0, 2.0), Some(0.5));
        assert_eq!(ratio("records_per_s", 100.0, 97.0), Some(0.97));
        assert_eq!(ratio("hot_keys_vs_flink_hashmap", 2.0, 4.0), Some(2.0));
        assert_eq!(ratio("checkpoint_throughput_loss", 0.0, 0.1), None);
        assert_eq!(ratio("checkpoint_throughput_loss", -0.1, 0.1), None);
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_of_pairs() {
        let old = [run(&[("x_ns", 10.0)]), run(&[("x_ns", 20.0)]), run(&[("x_ns", 40.0)])];
        let new = [run(&[("x_ns", 20.0)]), run(&[("x_ns", 10.0)]), run(&[("x_ns", 10.0), ("only_here_ns", 1.0)])];
        let found = summarize(&old, &new).unwrap();
        let expected =
            Summary { metric: "x_ns".to_owned(), baseline: 20.0, current: 10.0, ratio: Some([2.0, 0.5, 4.0]) };
        assert_eq!(found, [expected]);
        assert_eq!(
            flat(&found),
            run(&[
                ("x_ns", 10.0),
                ("x_ns_baseline", 20.0),
                ("x_ns_ratio", 2.0),
                ("x_ns_ratio_min", 0.5),
                ("x_ns_ratio_max", 4.0)
            ])
        );
        assert!(summarize(&old, &[run(&[("y", 1.0)])]).is_err());
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
