//! Evictors select the elements that stay in a window when it fires, with the semantics of Flink's evictors.

use crate::model::NO_TIMESTAMP;
use crate::pipeline::RetainedElements;

/// Returns, for each element, whether it stays. `timestamps` are those of the elements, in order of arrival.
pub fn retained(keeps: RetainedElements, timestamps: &[i64]) -> Vec<bool> {
    match keeps {
        RetainedElements::Count(count) => {
            let first = timestamps.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
            (0..timestamps.len()).map(|index| index >= first).collect()
        }
        // If the first element has no timestamp, assume that none has one.
        RetainedElements::TimeMs(_) if timestamps.first() == Some(&NO_TIMESTAMP) => vec![true; timestamps.len()],
        RetainedElements::TimeMs(ms) => {
            let latest = timestamps.iter().copied().max().unwrap_or(NO_TIMESTAMP);
            let oldest_evicted = latest.saturating_sub(ms);
            timestamps.iter().map(|&timestamp| timestamp > oldest_evicted).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evictor_by_count_retains_the_last_elements_of_any_age() {
        assert_eq!(retained(RetainedElements::Count(2), &[9, 1, 5]), [false, true, true]);
        assert_eq!(retained(RetainedElements::Count(3), &[9, 1, 5]), [true; 3]);
        assert_eq!(retained(RetainedElements::Count(0), &[9]), [false]);
    }

    /// By definition, an element is evicted unless its timestamp is greater than the latest timestamp minus the time.
    #[test]
    fn an_evictor_by_time_removes_old_elements_at_any_position() {
        assert_eq!(retained(RetainedElements::TimeMs(10), &[20, 10, 11, 5]), [true, false, true, false]);
        assert_eq!(retained(RetainedElements::TimeMs(10), &[NO_TIMESTAMP, 10, 100]), [true; 3]);
        assert!(retained(RetainedElements::TimeMs(10), &[]).is_empty());
    }
}
