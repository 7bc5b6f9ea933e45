//! Shows the progress and the warnings of one job on stderr.
//!
//! On a terminal one line is updated in place; elsewhere about one line per second is written. Invariant: a stderr that is
//! closed or not read does not block the job. Must not write to stdout.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::clock::SharedClock;
use crate::error::{Error, job_failed};
use crate::escape;
use crate::job::view::{JobDetail, JobStatus};
use crate::pipeline::{NodeKind, PipelineSpec};
use crate::stdio;

use super::print::{size, status};

const LINE_INTERVAL_NS: u64 = 1_000_000_000;

enum ProgressDisplay {
    /// One line, updated in place.
    Updated(ProgressBar),
    /// One line per second.
    Lines,
    /// Only the last line, because records are written to the same terminal.
    LastLine,
}

/// Shows the progress of one job.
pub struct JobProgress {
    display: ProgressDisplay,
    clock: SharedClock,
    start_ns: u64,
    shown_ns: Option<u64>,
    shown_status: Option<JobStatus>,
    rate: RecordRate,
}

/// Records per second, measured about once a second.
struct RecordRate {
    measured_ns: u64,
    records: u64,
    per_second: f64,
}

impl RecordRate {
    fn measure(&mut self, now_ns: u64, records: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.measured_ns);
        if elapsed_ns >= LINE_INTERVAL_NS {
            let per_second = records.saturating_sub(self.records) as f64 / (elapsed_ns as f64 / 1e9);
            *self = RecordRate { measured_ns: now_ns, records, per_second };
        }
    }
}

impl JobProgress {
    /// Starts to measure now. The display depends on the terminal and on the pipeline's sinks.
    pub fn new(pipeline: &PipelineSpec, clock: SharedClock) -> JobProgress {
        let to_stdout = pipeline
            .nodes
            .iter()
            .any(|node| matches!(&node.kind, NodeKind::Sink(sink) if sink.connector.name() == "stdout"));
        let display = if !std::io::stderr().is_terminal() {
            ProgressDisplay::Lines
        } else if to_stdout && std::io::stdout().is_terminal() {
            ProgressDisplay::LastLine
        } else {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(StderrTerminal)));
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            ProgressDisplay::Updated(bar)
        };
        let start_ns = clock.monotonic_ns();
        let rate = RecordRate { measured_ns: start_ns, records: 0, per_second: 0.0 };
        JobProgress { display, clock, start_ns, shown_ns: None, shown_status: None, rate }
    }

    /// Shows the current state of the job if a line is due or the status has changed.
    pub fn show(&mut self, job: &JobDetail) {
        let now = self.clock.monotonic_ns();
        let changed = self.shown_status != Some(job.summary.status);
        let due = self.shown_ns.is_none_or(|shown| now.saturating_sub(shown) >= LINE_INTERVAL_NS);
        self.rate.measure(now, job.summary.records_in);
        match &self.display {
            ProgressDisplay::Updated(bar) => {
                bar.set_message(escape::one_line(&text(job, self.rate.per_second)).into_owned())
            }
            ProgressDisplay::Lines if (due || changed) && !job.summary.status.is_final() => {
                stdio::tell(text(job, self.rate.per_second));
                self.shown_ns = Some(now);
            }
            ProgressDisplay::Lines | ProgressDisplay::LastLine => {}
        }
        self.shown_status = Some(job.summary.status);
    }

    /// Shows the last line, with the average rate of the whole run.
    pub fn finish(self, job: &JobDetail) {
        if let ProgressDisplay::Updated(bar) = &self.display {
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

/// Writes each warning of a job to stderr once.
#[derive(Default)]
pub struct WarningPrinter {
    printed: BTreeSet<String>,
}

impl WarningPrinter {
    /// Writes the warnings that were not written before.
    pub fn print_new(&mut self, job: &JobDetail) {
        for warning in &job.warnings {
            if self.printed.insert(warning.clone()) {
                stdio::tell(format_args!("warning: {warning}"));
            }
        }
    }
}

/// Returns the failure of a job as an error.
pub fn job_error(job: &JobDetail) -> Error {
    let name = &job.summary.name;
    let Some(failure) = &job.failure else { return job_failed(format!("the job `{name}` failed")) };
    let operator = failure.operator.as_ref().map(|id| format!(" in `{id}`")).unwrap_or_default();
    let mut error = job_failed(format!("the job `{name}` failed{operator}: {} ({})", failure.message, failure.code));
    let frames = failure.fault.iter().flat_map(|fault| &fault.backtrace);
    error.details = frames.map(|frame| format!("at {frame}")).collect();
    error
}

/// The terminal of stderr, for the line that is updated in place.
#[derive(Debug)]
struct StderrTerminal;

impl StderrTerminal {
    fn move_cursor(&self, count: usize, direction: char) -> io::Result<()> {
        if count > 0 { self.write_str(&format!("\x1b[{count}{direction}")) } else { Ok(()) }
    }
}

impl TermLike for StderrTerminal {
    fn width(&self) -> u16 {
        Term::stderr().size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
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
