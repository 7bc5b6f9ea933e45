//! Keeps what the operators of a job did in the last minutes and hours.
//!
//! The server takes a sample each second. A job keeps 15 minutes of seconds, and four hours of steps of ten seconds.

use super::job_metrics::shares;
use super::rate_window::{SubtaskReading, TotalsReading};
use super::series_ring::{SERIES, SeriesRing};
use crate::job::view::{JobSeries, OperatorSeries};
use crate::model::NO_TIMESTAMP;
use crate::runtime::{NodeMetrics, NodeTimes};

/// Length of a short step, in milliseconds.
const SHORT_STEP_MS: u64 = 1000;
/// Number of short steps that are kept.
const SHORT_STEPS: usize = 900;
/// Length of a long step, in milliseconds.
const LONG_STEP_MS: u64 = 10_000;
/// Number of long steps that are kept.
const LONG_STEPS: usize = 1440;
/// Memory that the series of one operator take, in bytes.
const OPERATOR_BYTES: usize = SERIES * (SHORT_STEPS + LONG_STEPS) * size_of::<f32>();
/// Largest number of values in an answer. As JSON that is about a megabyte.
const VALUES_MAX: usize = 1 << 17;

/// Which series are asked for.
#[derive(Clone, Debug)]
pub struct SeriesRequest {
    /// Only those of this operator.
    pub operator: Option<String>,
    /// Milliseconds of a step.
    pub step_ms: u64,
    /// Only steps that begin at this time or later, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// The series of a job.
pub struct SeriesRecorder {
    /// The reading before, against which rates are taken.
    previous: Option<TotalsReading>,
    short: SeriesRing,
    long: SeriesRing,
}

impl Default for SeriesRecorder {
    fn default() -> SeriesRecorder {
        SeriesRecorder {
            previous: None,
            short: SeriesRing::new(SHORT_STEP_MS, SHORT_STEPS),
            long: SeriesRing::new(LONG_STEP_MS, LONG_STEPS),
        }
    }
}

impl SeriesRecorder {
    /// The lengths of a step that are kept, in milliseconds.
    pub const STEPS_MS: [u64; 2] = [SHORT_STEP_MS, LONG_STEP_MS];

    /// Returns the memory that the series take once they are complete, in bytes.
    pub fn bytes(&self) -> usize {
        self.short.operators().count() * OPERATOR_BYTES
    }

    /// Returns whether there are any values.
    pub fn is_empty(&self) -> bool {
        self.short.is_empty()
    }

    /// Adds a sample, at a time in monotonic nanoseconds and in milliseconds since the Unix epoch. Drops everything instead if the series
    /// would take more than `bytes_max`.
    pub fn add(&mut self, nodes: &[NodeMetrics], (now_ns, at_ms): (u64, i64), bytes_max: usize) {
        if nodes.len() * OPERATOR_BYTES > bytes_max {
            *self = SeriesRecorder::default();
            return;
        }
        let now = TotalsReading::of(nodes, now_ns);
        let previous = self.previous.as_ref();
        let passed_s = previous.map_or(0.0, |previous| now_ns.saturating_sub(previous.at_ns) as f64 / 1e9);
        let samples = nodes.iter().enumerate().map(|(index, node)| {
            let earlier = |subtask| previous.map(|previous| previous.subtask(index, subtask)).unwrap_or_default();
            (&*node.node, sample(node, &earlier, passed_s, at_ms))
        });
        let samples: Vec<(&str, [f32; SERIES])> = samples.collect();
        self.short.add(at_ms, samples.iter().copied());
        self.long.add(at_ms, samples.into_iter());
        self.previous = Some(now);
    }

    /// Returns the newest values that fit into an answer.
    pub fn view(&self, request: &SeriesRequest) -> JobSeries {
        let ring = if request.step_ms == LONG_STEP_MS { &self.long } else { &self.short };
        let is_asked = |id: &&str| request.operator.as_deref().is_none_or(|asked| asked == *id);
        let asked: Vec<&str> = ring.operators().filter(is_asked).collect();
        let steps_max = VALUES_MAX / (asked.len().max(1) * SERIES);
        let first = ring.first_step(request.since_ms, steps_max);
        let series = asked.into_iter().filter_map(|id| Some((id.to_owned(), operator_series(ring.values(id, first)?))));
        JobSeries { step_ms: ring.step_ms(), from: ring.step_begin_ms(first), operators: series.collect() }
    }
}

/// Returns the values of a node, in the order of [`operator_series`]. `earlier` returns the reading of a subtask that is `passed_s` old.
fn sample(node: &NodeMetrics, earlier: &dyn Fn(usize) -> SubtaskReading, passed_s: f64, at_ms: i64) -> [f32; SERIES] {
    let (mut records_in, mut records_out, mut times) = (0, 0, NodeTimes::default());
    let (mut fill, mut state_bytes, mut watermark) = (None::<f64>, 0, None::<i64>);
    for (index, subtask) in node.subtasks.iter().enumerate() {
        let (totals, earlier) = (&subtask.totals, earlier(index));
        records_in += totals.counters.records_in.saturating_sub(earlier.records_in);
        records_out += totals.counters.records_out.saturating_sub(earlier.records_out);
        times.add(&totals.times.since(&earlier.times));
        fill = fill.into_iter().chain(subtask.channel_fill).reduce(f64::max);
        state_bytes += subtask.state.bytes;
        if subtask.is_live && !subtask.event_time.idle {
            watermark = watermark.into_iter().chain([subtask.event_time.watermark]).min();
        }
    }
    let is_live = node.subtasks.iter().any(|subtask| subtask.is_live);
    let has_passed = passed_s > 0.0;
    let rate = |records: u64| Some(rounded(records as f64 / passed_s, 10.0)).filter(|_| has_passed);
    let shares = shares(&times).filter(|_| has_passed && is_live);
    // Before the first watermark, and after the end of event time, there is no lag.
    let watermark = watermark.filter(|watermark| *watermark != NO_TIMESTAMP && *watermark != i64::MAX);
    [
        rate(records_in),
        rate(records_out),
        shares.map(|shares| rounded(shares.busy, 1000.0)),
        shares.map(|shares| rounded(shares.backpressured, 1000.0)),
        shares.map(|shares| rounded(shares.idle, 1000.0)),
        watermark.map(|watermark| at_ms.saturating_sub(watermark) as f32),
        fill.map(|fill| rounded(fill, 1000.0)),
        Some(state_bytes as f32).filter(|_| is_live),
    ]
    .map(|value| value.unwrap_or(f32::NAN))
}

/// Rounds to parts of one. So an answer has few digits.
fn rounded(value: f64, parts: f64) -> f32 {
    ((value * parts).round() / parts) as f32
}

fn operator_series(values: [Vec<Option<f32>>; SERIES]) -> OperatorSeries {
    let [records_in_per_s, records_out_per_s, busy, backpressured, idle, watermark_lag_ms, channel_fill, state_bytes] =
        values;
    OperatorSeries {
        records_in_per_s,
        records_out_per_s,
        busy,
        backpressured,
        idle,
        watermark_lag_ms,
        channel_fill,
        state_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{SubtaskMetrics, SubtaskTotals};

    fn node(id: &str, records: u64, busy_s: u64, watermark: i64) -> NodeMetrics {
        let mut totals = SubtaskTotals::default();
        (totals.counters.records_in, totals.times.busy_ns) = (records, busy_s * 1_000_000_000);
        let mut subtask =
            SubtaskMetrics { totals, is_live: true, channel_fill: Some(0.25), ..SubtaskMetrics::default() };
        subtask.event_time.watermark = watermark;
        let idle = SubtaskMetrics { channel_fill: Some(0.5), ..SubtaskMetrics::default() };
        NodeMetrics { node: id.to_owned(), subtasks: vec![subtask, idle], ..NodeMetrics::default() }
    }

    fn request(step_ms: u64) -> SeriesRequest {
        SeriesRequest { operator: None, step_ms, since_ms: 0 }
    }

    #[test]
    fn rates_and_shares_are_those_of_each_second_and_their_means() {
        let mut recorder = SeriesRecorder::default();
        for second in 0..20 {
            let watermark = if second < 10 { NO_TIMESTAMP } else { 19_000 };
            let nodes = [node("a", second * second, second, watermark)];
            recorder.add(&nodes, (second * 1_000_000_000, 20_500 + second as i64 * 1000), usize::MAX);
        }
        let short = recorder.view(&request(1000));
        let series = &short.operators["a"];
        assert_eq!((short.step_ms, short.from, series.busy.len()), (1000, 20_000, 20));
        assert_eq!(series.records_in_per_s[..4], [None, Some(1.0), Some(3.0), Some(5.0)]);
        assert_eq!((series.busy[0], series.busy[19], series.idle[19]), (None, Some(1.0), Some(0.0)));
        assert_eq!((series.watermark_lag_ms[9], series.watermark_lag_ms[10]), (None, Some(11_500.0)));
        assert_eq!(series.channel_fill[0], Some(0.5), "the fullest one");
        let long = recorder.view(&request(10_000));
        assert_eq!((long.from, long.operators["a"].records_in_per_s.len()), (20_000, 2));
        assert_eq!(long.operators["a"].records_in_per_s[0], Some(9.0), "the mean of 1, 3, ... 17");
        let newest = recorder.view(&SeriesRequest { since_ms: 39_000, ..request(1000) });
        assert_eq!((newest.from, &newest.operators["a"].busy[..]), (39_000, &[Some(1.0)][..]));
    }

    #[test]
    fn series_and_answers_are_bounded() {
        let nodes: Vec<NodeMetrics> = (0..60).map(|number| node(&number.to_string(), 0, 0, 0)).collect();
        let mut recorder = SeriesRecorder::default();
        for second in 0..1000 {
            recorder.add(&nodes, (second as u64 * 1_000_000_000, second * 1000), 60 * OPERATOR_BYTES);
        }
        assert_eq!(recorder.bytes(), 60 * OPERATOR_BYTES);
        let view = recorder.view(&request(1000));
        let steps = view.operators["7"].idle.len();
        assert_eq!(
            (view.operators.len(), steps, view.from),
            (60, VALUES_MAX / 60 / SERIES, (1000 - steps as i64) * 1000)
        );
        let one = recorder.view(&SeriesRequest { operator: Some("7".into()), ..request(1000) });
        assert_eq!((one.operators.len(), one.operators["7"].idle.len()), (1, SHORT_STEPS));
        recorder.add(&nodes, (0, 1_000_000), 60 * OPERATOR_BYTES - 1);
        assert!(recorder.is_empty() && recorder.bytes() == 0);
    }
}
