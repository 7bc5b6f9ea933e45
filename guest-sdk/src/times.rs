//! Timestamps of the items of a call, and of the records that a function emits for them.
//!
//! Inside of the SDK the smallest number stands for no timestamp. Invariant: emitted records inherit the timestamps of their items unless
//! the function gave one of them another timestamp.

use crate::bindings::cofferdam::function::types::{Failure, Timestamps};

/// Stands for no timestamp.
pub(crate) const NO_TIMESTAMP: i64 = i64::MIN;

/// Returns one timestamp per record of an input.
pub(crate) fn of_input(timestamps: Timestamps, records: usize) -> Result<Vec<i64>, Failure> {
    let times = match timestamps {
        Timestamps::None => vec![NO_TIMESTAMP; records],
        Timestamps::Every(times) => times,
        Timestamps::Some(times) => times.into_iter().map(|time| time.unwrap_or(NO_TIMESTAMP)).collect(),
        Timestamps::Inherited => return Err(malformed("an input has inherited timestamps".to_owned())),
    };
    match times.len() == records {
        true => Ok(times),
        false => Err(malformed(format!("{} timestamps came with {records} records", times.len()))),
    }
}

/// Makes the failure of a call that the contract does not allow.
#[cold]
pub(crate) fn malformed(message: String) -> Failure {
    Failure { message, record: None, backtrace: Vec::new() }
}

/// Returns timestamps in the form of the contract.
pub(crate) fn to_contract(times: Vec<i64>) -> Timestamps {
    match times.iter().filter(|&&time| time == NO_TIMESTAMP).count() {
        0 => Timestamps::Every(times),
        none if none == times.len() => Timestamps::None,
        _ => Timestamps::Some(times.into_iter().map(|time| (time != NO_TIMESTAMP).then_some(time)).collect()),
    }
}

/// The timestamps of a call's items.
#[derive(Default)]
pub(crate) struct ItemTimes {
    times: Vec<i64>,
    /// The number of items, from the first on, whose timestamps the host can look up.
    inheritable: usize,
}

impl ItemTimes {
    /// Items whose timestamps the host knows.
    pub(crate) fn inheritable(times: Vec<i64>) -> Self {
        ItemTimes { inheritable: times.len(), times }
    }

    /// Timers of processing time. Records that they emit have no timestamp.
    pub(crate) fn none(items: usize) -> Self {
        ItemTimes { times: vec![NO_TIMESTAMP; items], inheritable: 0 }
    }

    /// Adds an item that the host does not know of, and returns its index.
    pub(crate) fn add(&mut self, time: i64) -> u32 {
        self.times.push(time);
        self.times.len() as u32 - 1
    }

    pub(crate) fn get(&self, item: u32) -> Option<i64> {
        self.times.get(item as usize).copied()
    }

    /// Returns the timestamps and the origins of emitted records. `given` has the positions and timestamps of those to which the function
    /// gave one.
    pub(crate) fn of_output(&self, origins: Vec<u32>, given: &[(u32, i64)]) -> (Timestamps, Vec<u32>) {
        let all_known =
            self.inheritable == self.times.len() || origins.iter().all(|&origin| (origin as usize) < self.inheritable);
        if all_known && given.is_empty() {
            return (Timestamps::Inherited, origins);
        }
        let inherited = |&origin: &u32| self.get(origin).unwrap_or(NO_TIMESTAMP);
        let mut times: Vec<i64> = origins.iter().map(inherited).collect();
        for &(position, time) in given {
            times[position as usize] = time;
        }
        if all_known && times.iter().eq(origins.iter().map(inherited).collect::<Vec<_>>().iter()) {
            return (Timestamps::Inherited, origins);
        }
        (to_contract(times), if all_known { origins } else { Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timestamps_of_an_input_are_one_per_record() {
        assert_eq!(of_input(Timestamps::None, 2).unwrap(), [NO_TIMESTAMP; 2]);
        assert_eq!(of_input(Timestamps::Every(vec![1, 2]), 2).unwrap(), [1, 2]);
        assert_eq!(of_input(Timestamps::Some(vec![Some(1), None]), 2).unwrap(), [1, NO_TIMESTAMP]);
        assert!(of_input(Timestamps::Every(vec![1]), 2).unwrap_err().message.contains("1 timestamps"));
        assert!(of_input(Timestamps::Inherited, 0).is_err());
    }

    fn shown((timestamps, origins): (Timestamps, Vec<u32>)) -> String {
        format!("{timestamps:?} {origins:?}")
    }

    #[test]
    fn records_inherit_unless_the_function_gave_another_timestamp() {
        let items = ItemTimes::inheritable(vec![5, NO_TIMESTAMP]);
        assert_eq!(shown(items.of_output(vec![0, 0, 1], &[])), "Timestamps::Inherited [0, 0, 1]");
        assert_eq!(shown(items.of_output(vec![0, 0], &[(1, 5)])), "Timestamps::Inherited [0, 0]");
        assert_eq!(shown(items.of_output(vec![0, 0], &[(1, 7)])), "Timestamps::Every([5, 7]) [0, 0]");
        assert_eq!(shown(items.of_output(vec![0, 1], &[(0, 7)])), "Timestamps::Some([Some(7), None]) [0, 1]");
        assert_eq!(shown(items.of_output(vec![0], &[(0, NO_TIMESTAMP)])), "Timestamps::None [0]");
    }

    #[test]
    fn records_of_timers_that_the_host_does_not_know_have_their_timestamps() {
        let mut items = ItemTimes::inheritable(vec![5]);
        assert_eq!(items.add(6), 1);
        assert_eq!(shown(items.of_output(vec![0, 0], &[])), "Timestamps::Inherited [0, 0]");
        assert_eq!(shown(items.of_output(vec![0, 1], &[])), "Timestamps::Every([5, 6]) []");
        assert_eq!(shown(ItemTimes::none(2).of_output(vec![0, 1], &[])), "Timestamps::None []");
    }
}
