//! Detects faults that repeat: an attempt that fails on the same record with the same code as an earlier one. Such a
//! job is not restarted again.

use std::collections::VecDeque;

use crate::job::view::JobFailure;

/// Number of faults that are remembered. A restart strategy may allow any number of attempts.
const REMEMBERED: usize = 1024;

/// The faults with which earlier attempts ended.
#[derive(Default)]
pub struct FaultHistory {
    seen: VecDeque<RecordedFault>,
}

#[derive(PartialEq, Eq)]
struct RecordedFault {
    operator: Option<String>,
    code: String,
    record: u64,
}

impl FaultHistory {
    /// Remembers a failure. Returns whether an earlier attempt has failed in the same operator, on the same record,
    /// with the same code: a restart would read that record again.
    pub fn is_repeated(&mut self, failure: &JobFailure) -> bool {
        let Some(record) = failure.record.as_ref().and_then(|record| record.fingerprint) else { return false };
        let fault = RecordedFault { operator: failure.operator.clone(), code: failure.code.clone(), record };
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
    use super::*;
    use crate::job::view::FailedRecordView;

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
        JobFailure {
            code,
            message: "it failed".into(),
            operator,
            subtask: Some(0),
            fault: None,
            record: Some(Box::new(record)),
        }
    }

    #[test]
    fn a_fault_is_repeated_if_operator_code_and_record_are_the_same() {
        let mut history = FaultHistory::default();
        assert!(!history.is_repeated(&failure("a", "guest-error", 1)));
        for other in [failure("b", "guest-error", 1), failure("a", "guest-trap", 1), failure("a", "guest-error", 2)] {
            assert!(!history.is_repeated(&other));
        }
        assert!(history.is_repeated(&failure("a", "guest-error", 1)), "other faults in between do not matter");
    }

    #[test]
    fn a_failure_without_a_record_is_never_repeated() {
        let failure = JobFailure { record: None, ..failure("a", "sink-unwritable", 1) };
        let mut history = FaultHistory::default();
        assert!(!history.is_repeated(&failure) && !history.is_repeated(&failure));
    }

    #[test]
    fn the_number_of_remembered_faults_is_bounded() {
        let mut history = FaultHistory::default();
        for record in 0..2 * REMEMBERED as u64 {
            assert!(!history.is_repeated(&failure("a", "guest-error", record)));
        }
        assert_eq!(history.seen.len(), REMEMBERED);
    }
}
