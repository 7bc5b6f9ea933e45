//! Tells a fault that will come again from one that may not: the same record, with the same code, twice.

use std::collections::VecDeque;

use super::view::JobFailure;

/// Faults that are remembered of one job. A restart strategy may have no end.
const REMEMBERED: usize = 1024;

/// The faults with which earlier attempts ended.
#[derive(Default)]
pub(super) struct FaultHistory {
    seen: VecDeque<SeenFault>,
}

#[derive(PartialEq, Eq)]
struct SeenFault {
    operator: Option<String>,
    code: String,
    record: u64,
}

impl FaultHistory {
    /// Remembers a failure. Whether an earlier attempt has failed with the same code on the same record, in the same operator:
    /// a restart would read that record again.
    pub(super) fn is_repeated(&mut self, failure: &JobFailure) -> bool {
        let Some(record) = failure.record.as_ref().and_then(|record| record.fingerprint) else { return false };
        let fault = SeenFault { operator: failure.operator.clone(), code: failure.code.clone(), record };
        if self.seen.contains(&fault) {
            return true;
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(fault);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::FailedRecordView;
    use super::*;

    fn failure(operator: &str, code: &str, fingerprint: u64) -> JobFailure {
        let record = FailedRecordView {
            subtask: 0,
            record: 7,
            timestamp_ms: None,
            key: None,
            value: "x".into(),
            origin: None,
            file: None,
            line: None,
            fingerprint: Some(fingerprint),
        };
        let (code, operator) = (code.into(), Some(operator.into()));
        JobFailure { code, message: "it failed".into(), operator, fault: None, record: Some(Box::new(record)) }
    }

    #[test]
    fn the_same_record_with_the_same_code_in_the_same_operator_is_a_repetition() {
        let mut history = FaultHistory::default();
        assert!(!history.is_repeated(&failure("a", "guest-error", 1)));
        for other in [failure("b", "guest-error", 1), failure("a", "guest-trap", 1), failure("a", "guest-error", 2)] {
            assert!(!history.is_repeated(&other));
        }
        assert!(history.is_repeated(&failure("a", "guest-error", 1)), "others in between do not matter");
    }

    #[test]
    fn a_failure_without_a_record_is_none() {
        let failure = JobFailure { record: None, ..failure("a", "sink-unwritable", 1) };
        let mut history = FaultHistory::default();
        assert!(!history.is_repeated(&failure) && !history.is_repeated(&failure));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut history = FaultHistory::default();
        for record in 0..2 * REMEMBERED as u64 {
            assert!(!history.is_repeated(&failure("a", "guest-error", record)));
        }
        assert_eq!(history.seen.len(), REMEMBERED);
    }
}
