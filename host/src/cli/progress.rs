//! Progress of one job on stderr: a line that moves on a terminal, about one line a second elsewhere. A stderr that is
//! closed, or that nothing reads, does not hold up the job.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::clock::SharedClock;
use crate::error::{Error, job_failed};
use crate::escape;
use crate::job::view::{JobDetail, JobStatus};
use crate::pipeline::{NodeKind, PipelineSpec, SinkConfig};
use crate::stdio;

use super::print::{size, status};

const LINE_INTERVAL_NS: u64 = 1_000_000_000;

enum ProgressDisplay {
    Moving(ProgressBar),
    Lines,
    /// Records go to the same terminal: only the end is told.
    Quiet,
}

/// See the module.
pub struct JobProgress {
    style: ProgressDisplay,
    clock: SharedClock,
    start_ns: u64,
    shown_ns: Option<u64>,
    shown_status: Option<JobStatus>,
    /// When the rate was measured last, how many records there were, and the rate.
    rate: (u64, u64, f64),
}

impl JobProgress {
    pub fn new(pipeline: &PipelineSpec, clock: SharedClock) -> JobProgress {
        let to_stdout = pipeline.nodes.iter().any(|node| matches!(node.kind, NodeKind::Sink(SinkConfig::Stdout)));
        let style = if !std::io::stderr().is_terminal() {
            ProgressDisplay::Lines
        } else if to_stdout && std::io::stdout().is_terminal() {
            ProgressDisplay::Quiet
        } else {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(StderrTerminal)));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            ProgressDisplay::Moving(bar)
        };
        let start_ns = clock.monotonic_ns();
        JobProgress { style, clock, start_ns, shown_ns: None, shown_status: None, rate: (start_ns, 0, 0.0) }
    }

    /// Shows how the job stands, if it is time to.
    pub fn show(&mut self, job: &JobDetail) {
        let now = self.clock.monotonic_ns();
        let changed = self.shown_status != Some(job.summary.status);
        let due = self.shown_ns.is_none_or(|shown| now.saturating_sub(shown) >= LINE_INTERVAL_NS);
        self.measure(now, job.summary.records_in);
        match &self.style {
            ProgressDisplay::Moving(bar) => bar.set_message(escape::one_line(&text(job, self.rate.2)).into_owned()),
            ProgressDisplay::Lines if (due || changed) && !job.summary.status.is_final() => {
                stdio::tell(text(job, self.rate.2));
                self.shown_ns = Some(now);
            }
            ProgressDisplay::Lines | ProgressDisplay::Quiet => {}
        }
        self.shown_status = Some(job.summary.status);
    }

    fn measure(&mut self, now: u64, records: u64) {
        let (since, before, _) = self.rate;
        let elapsed = now.saturating_sub(since);
        if elapsed >= LINE_INTERVAL_NS {
            self.rate = (now, records, records.saturating_sub(before) as f64 / (elapsed as f64 / 1e9));
        }
    }

    /// Shows the last line, whose rate is that of the whole run.
    pub fn finish(self, job: &JobDetail) {
        if let ProgressDisplay::Moving(bar) = &self.style {
            bar.finish_and_clear();
        }
        let seconds = self.clock.monotonic_ns().saturating_sub(self.start_ns) as f64 / 1e9;
        let rate = if seconds > 0.0 { job.summary.records_in as f64 / seconds } else { 0.0 };
        stdio::tell(format_args!("{}  in {seconds:.1} s", text(job, rate)));
    }
}

fn text(job: &JobDetail, rate: f64) -> String {
    let summary = &job.summary;
    let checkpoint = summary.last_checkpoint.map_or_else(|| "none".to_string(), |id| id.to_string());
    let mut text = format!(
        "{}  {} records  {rate:.0}/s  checkpoint {checkpoint}  state {}",
        status(summary),
        summary.records_in,
        size(job.state_bytes)
    );
    for (name, count) in [
        ("late", summary.records_late),
        ("skipped", summary.records_skipped),
        ("dead letters", summary.records_dead_lettered),
        ("without timestamp", summary.records_without_timestamp),
        ("restarts", u64::from(summary.restarts)),
    ] {
        if count > 0 {
            text.push_str(&format!("  {name} {count}"));
        }
    }
    text
}

/// Prints each warning of a job to stderr once.
#[derive(Default)]
pub struct WarningPrinter {
    told: BTreeSet<String>,
}

impl WarningPrinter {
    pub fn tell(&mut self, job: &JobDetail) {
        for warning in &job.warnings {
            if self.told.insert(warning.clone()) {
                stdio::tell(format_args!("warning: {warning}"));
            }
        }
    }
}

/// Why a job failed, as an error of the command line.
pub fn failure(job: &JobDetail) -> Error {
    let name = &job.summary.name;
    let Some(failure) = &job.failure else { return job_failed(format!("the job `{name}` failed")) };
    let place = failure.operator.as_ref().map(|id| format!(" in `{id}`")).unwrap_or_default();
    let mut error = job_failed(format!("the job `{name}` failed{place}: {} ({})", failure.message, failure.code));
    let frames = failure.fault.iter().flat_map(|fault| &fault.backtrace);
    error.details = frames.map(|frame| format!("at {frame}")).collect();
    error
}

/// The terminal behind stderr, for the line that moves.
#[derive(Debug)]
struct StderrTerminal;

impl StderrTerminal {
    fn steer(&self, count: usize, direction: char) -> io::Result<()> {
        if count > 0 { self.write_str(&format!("\x1b[{count}{direction}")) } else { Ok(()) }
    }
}

impl TermLike for StderrTerminal {
    fn width(&self) -> u16 {
        Term::stderr().size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.steer(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        stdio::draw(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
