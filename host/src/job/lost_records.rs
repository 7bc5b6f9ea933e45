//! Warnings about records that a job does not process: late records, skipped records, dead letters, and records without
//! a timestamp.
//!
//! Warnings are computed from the counts that the job shows, so that a restore resets both.

use std::fmt;

use super::view::OperatorDetail;

/// A loss causes a warning if it is more than one record in this many.
const WARNED_ONE_IN: u64 = 100;

/// While a job runs, a loss is logged once it reaches this many records. A few of the first records are not
/// representative.
const LOGGED_WHILE_RUNNING: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LossKind {
    Late,
    Skipped,
    Undecodable,
    DeadLettered,
    WithoutTimestamp,
}

/// Records that one node did not process: more than 1 % of the records that it received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RecordLoss {
    node: String,
    kind: LossKind,
    records: u64,
    of: u64,
}

impl fmt::Display for RecordLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordLoss { node, kind, records, of } = self;
        let share = 100.0 * *records as f64 / *of as f64;
        let counts = format!("{records} of {of} records ({share:.1} %)");
        match kind {
            LossKind::Late => write!(
                f,
                "operator `{node}` dropped {counts} as late: raise `out_of_orderness` of its sources or its \
                 `allowed_lateness`, or read `{node}.late`"
            ),
            LossKind::Skipped => {
                write!(f, "operator `{node}` skipped {counts} under on_fault = \"skip\": their faults are in the log")
            }
            LossKind::Undecodable => {
                write!(
                    f,
                    "source `{node}` skipped {counts} under on_undecodable = \"skip\": the first ones are in the log"
                )
            }
            LossKind::DeadLettered => write!(f, "operator `{node}` sent {counts} to `{node}.dead-letter`"),
            LossKind::WithoutTimestamp => {
                write!(f, "source `{node}` read {counts} without a readable timestamp: check its `timestamp`")
            }
        }
    }
}

fn losses(operators: &[OperatorDetail]) -> Vec<RecordLoss> {
    let of_node = |node: &OperatorDetail| {
        let skipped = if node.kind == "source" { LossKind::Undecodable } else { LossKind::Skipped };
        let counts = [
            (LossKind::Late, node.records_late),
            (skipped, node.records_skipped),
            (LossKind::DeadLettered, node.records_dead_lettered),
            (LossKind::WithoutTimestamp, node.records_without_timestamp()),
        ];
        // A source does not count records that it could not decode as records in.
        let undecoded = if node.kind == "source" { node.records_skipped + node.records_dead_lettered } else { 0 };
        let of = node.records_in + undecoded;
        let loss = |(kind, records)| RecordLoss { node: node.id.clone(), kind, records, of: of.max(records) };
        counts.map(loss).into_iter().filter(|loss| loss.records.saturating_mul(WARNED_ONE_IN) > loss.of)
    };
    operators.iter().flat_map(of_node).filter(|loss| loss.records > 0).collect()
}

/// Returns a warning for each node and kind of loss above 1 %.
pub fn warnings(operators: &[OperatorDetail]) -> Vec<String> {
    losses(operators).iter().map(RecordLoss::to_string).collect()
}

/// Logs each loss once.
#[derive(Default)]
pub struct LossLog {
    logged: Vec<(String, LossKind)>,
}

impl LossLog {
    /// Logs losses that were not logged before. While the job runs, small losses are not logged yet.
    pub fn write(&mut self, job: &str, operators: &[OperatorDetail], has_ended: bool) {
        for loss in losses(operators) {
            let is_due = has_ended || loss.records >= LOGGED_WHILE_RUNNING;
            let key = (loss.node.clone(), loss.kind);
            if is_due && !self.logged.contains(&key) {
                tracing::warn!(%job, "{loss}");
                self.logged.push(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(records_late: u64, records_in: u64) -> OperatorDetail {
        let kind = "operator".into();
        OperatorDetail { id: "count".into(), kind, records_in, records_late, ..OperatorDetail::default() }
    }

    #[test]
    fn a_loss_above_one_percent_is_reported_with_its_counts() {
        let warnings = warnings(&[operator(225_480, 336_776)]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in ["`count`", "225480 of 336776", "67.0 %", "late", "`count.late`"] {
            assert!(warnings[0].contains(part), "{warnings:?}");
        }
    }

    #[test]
    fn a_loss_of_one_percent_or_less_is_not_reported() {
        assert_eq!(warnings(&[operator(1, 100), operator(0, 0), operator(10, 1000)]), Vec::<String>::new());
        assert_eq!(warnings(&[operator(2, 100)]).len(), 1);
    }

    #[test]
    fn faults_of_a_source_are_records_without_a_timestamp_and_those_of_an_operator_are_not() {
        let source = OperatorDetail { kind: "source".into(), faults: 50, records_skipped: 20, ..operator(0, 100) };
        let function = OperatorDetail { faults: 50, ..operator(0, 100) };
        let warnings = warnings(&[source, function]);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("on_undecodable"), "{warnings:?}");
        assert!(warnings[1].contains("timestamp"), "{warnings:?}");
    }
}
