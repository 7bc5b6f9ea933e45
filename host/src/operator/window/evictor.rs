//! What stays of a window's elements when it fires: Flink's evictors.

use crate::model::NO_TIMESTAMP;
use crate::pipeline::RetainedElements;

/// For each element, given by its timestamp in order of arrival, whether it stays.
pub(super) fn kept(keeps: RetainedElements, timestamps: &[i64]) -> Vec<bool> {
    match keeps {
        RetainedElements::Count(count) => {
            let first = timestamps.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
            (0..timestamps.len()).map(|index| index >= first).collect()
        }
        // Where the first has no timestamp, none is taken to have one.
        RetainedElements::TimeMs(_) if timestamps.first() == Some(&NO_TIMESTAMP) => vec![true; timestamps.len()],
        RetainedElements::TimeMs(ms) => {
            let latest = timestamps.iter().copied().max().unwrap_or(NO_TIMESTAMP);
            let cut = latest.saturating_sub(ms);
            timestamps.iter().map(|&timestamp| timestamp > cut).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_elements_stay_however_old_they_are() {
        assert_eq!(kept(RetainedElements::Count(2), &[9, 1, 5]), [false, true, true]);
        assert_eq!(kept(RetainedElements::Count(3), &[9, 1, 5]), [true; 3]);
        assert_eq!(kept(RetainedElements::Count(0), &[9]), [false]);
    }

    /// By the definition: out goes what is not behind the latest timestamp less the time.
    #[test]
    fn what_is_too_old_goes_wherever_it_stands() {
        assert_eq!(kept(RetainedElements::TimeMs(10), &[20, 10, 11, 5]), [true, false, true, false]);
        assert_eq!(kept(RetainedElements::TimeMs(10), &[NO_TIMESTAMP, 10, 100]), [true; 3]);
        assert!(kept(RetainedElements::TimeMs(10), &[]).is_empty());
    }
}
