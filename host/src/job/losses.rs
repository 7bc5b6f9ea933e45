//! Warnings about records that a job does not process: late ones, skipped ones, dead letters, records without a timestamp.
//!
//! They are computed from the counts that the job shows, so that they go back with a restore as the counts do.

use std::fmt;

use super::view::OperatorDetail;

/// A loss is worth a warning when more than one record in so many is lost.
const ONE_IN: u64 = 100;

/// A job that runs is warned of in the log once it has lost this many records: a few of the first ones say little.
const LOGGED_WHILE_RUNNING: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Late,
    Skipped,
    Undecodable,
    DeadLettered,
    WithoutTimestamp,
}

/// Records that one node has not processed, more than 1 % of those that it received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loss {
    node: String,
    kind: Kind,
    records: u64,
    of: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loss { node, kind, records, of } = self;
        let share = 100.0 * *records as f64 / *of as f64;
        let counts = format!("{records} of {of} records ({share:.1} %)");
        match kind {
            Kind::Late => write!(
                f,
                "operator `{node}` dropped {counts} as late: raise `out_of_orderness` of its sources or its \
                 `allowed_lateness`, or read `{node}.late`"
            ),
            Kind::Skipped => {
                write!(f, "operator `{node}` skipped {counts} by on_fault = \"skip\": the log has their faults")
            }
            Kind::Undecodable => {
                write!(f, "source `{node}` skipped {counts} by on_undecodable = \"skip\": the log names the first ones")
            }
            Kind::DeadLettered => write!(f, "operator `{node}` sent {counts} to `{node}.dead-letter`"),
            Kind::WithoutTimestamp => {
                write!(f, "source `{node}` read {counts} without a readable timestamp: check its `timestamp`")
            }
        }
    }
}

fn losses(operators: &[OperatorDetail]) -> Vec<Loss> {
    let of_node = |node: &OperatorDetail| {
        let skipped = if node.kind == "source" { Kind::Undecodable } else { Kind::Skipped };
        let counts = [
            (Kind::Late, node.records_late),
            (skipped, node.records_skipped),
            (Kind::DeadLettered, node.records_dead_lettered),
            (Kind::WithoutTimestamp, node.records_without_timestamp()),
        ];
        let loss = |(kind, records)| Loss { node: node.id.clone(), kind, records, of: node.records_in.max(records) };
        counts.map(loss).into_iter().filter(|loss| loss.records.saturating_mul(ONE_IN) > loss.of)
    };
    operators.iter().flat_map(of_node).filter(|loss| loss.records > 0).collect()
}

/// One sentence for each node and kind of loss above 1 %.
pub(super) fn warnings(operators: &[OperatorDetail]) -> Vec<String> {
    losses(operators).iter().map(Loss::to_string).collect()
}

/// Writes each loss to the log once.
#[derive(Default)]
pub(super) struct LossLog {
    logged: Vec<(String, Kind)>,
}

impl LossLog {
    /// While the job runs, a loss waits until it is large enough to mean something.
    pub(super) fn write(&mut self, job: &str, operators: &[OperatorDetail], has_ended: bool) {
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
    fn a_loss_above_one_percent_is_named_with_its_numbers() {
        let warnings = warnings(&[operator(225_480, 336_776)]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        for part in ["`count`", "225480 of 336776", "67.0 %", "late", "`count.late`"] {
            assert!(warnings[0].contains(part), "{warnings:?}");
        }
    }

    #[test]
    fn a_loss_of_one_percent_or_less_is_not_named() {
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
