//! The search for the items of a batch that a guest fails on.
//!
//! ```text
//! 1. The whole batch runs in one turn.
//! 2. A turn that fails runs again in halves. The first half runs first.
//! 3. After FAULTS_BEFORE_SINGLE_ITEMS faults in the batch, a turn that fails runs again item by item.
//! 4. An item that fails alone is bad.
//! ```
//!
//! So a batch of `n` items costs at most `n` turns of single items and a fixed number of others, however many items are bad. One bad
//! item among 1024 costs five faults and at most 128 small turns.
//!
//! After a turn has exceeded its deadline, parts of its items get a part of the deadline, in proportion to their number. A single
//! item always gets the whole deadline, since its fault is final. So one endless item costs three deadlines.
//!
//! Invariant: every item is handed out alone, or in a range that the caller reports as handled, and items are handed out in order.

use std::ops::Range;

use crate::model::FaultCode;
use crate::turn::CallShare;

/// Number of faults in one batch after which a failing range is divided into single items.
const FAULTS_BEFORE_SINGLE_ITEMS: u32 = 4;

/// Items that have not been handled yet. The last range comes first.
pub(super) struct BadItemSearch {
    remaining: Vec<PendingItems>,
    /// Faults of ranges so far.
    faults: u32,
}

struct PendingItems {
    range: Range<usize>,
    /// Whether the items are handed out one by one.
    one_by_one: bool,
    /// Number of items of the turn that exceeded its deadline, if one did and these are a part of it.
    exceeded_with: Option<usize>,
}

/// What to do about a range that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SearchStep {
    /// The items will be handed out again, in smaller ranges. `is_first` tells whether it is the first fault of the batch.
    Divided { is_first: bool },
    /// The item failed alone.
    BadItem(usize),
}

/// A range to run in one turn.
pub(super) struct NextItems {
    pub(super) range: Range<usize>,
    pub(super) share: CallShare,
    exceeded_with: Option<usize>,
}

impl BadItemSearch {
    /// The items `0..count`, at most `per_turn` in one turn.
    pub(super) fn new(count: usize, per_turn: usize) -> BadItemSearch {
        let step = per_turn.max(1);
        let ranges = (0..count).step_by(step).map(|start| start..count.min(start + step));
        let remaining = ranges.rev().map(|range| PendingItems { range, one_by_one: false, exceeded_with: None });
        BadItemSearch { remaining: remaining.collect(), faults: 0 }
    }

    /// Returns the next range to run.
    pub(super) fn next(&mut self) -> Option<NextItems> {
        let mut items = self.remaining.pop()?;
        let exceeded_with = items.exceeded_with;
        let mut range = items.range.clone();
        if items.one_by_one && range.len() > 1 {
            range.end = range.start + 1;
            items.range.start += 1;
            self.remaining.push(items);
        }
        let share = match exceeded_with {
            Some(whole) if range.len() > 1 => CallShare { items: range.len(), of: whole },
            _ => CallShare::WHOLE,
        };
        Some(NextItems { range, share, exceeded_with })
    }

    /// Notes that only the items before `end` were handled.
    pub(super) fn handled_until(&mut self, items: NextItems, end: usize) {
        if end < items.range.end {
            let (range, exceeded_with) = (end..items.range.end, items.exceeded_with);
            self.remaining.push(PendingItems { range, one_by_one: false, exceeded_with });
        }
    }

    /// Notes that a range failed with a fault of this code.
    pub(super) fn failed(&mut self, items: NextItems, code: FaultCode) -> SearchStep {
        let NextItems { range, exceeded_with, .. } = items;
        if range.len() == 1 {
            return SearchStep::BadItem(range.start);
        }
        let is_first = self.faults == 0;
        self.faults = self.faults.saturating_add(1);
        let exceeded_with = exceeded_with.or_else(|| (code == FaultCode::DeadlineExceeded).then_some(range.len()));
        if self.faults >= FAULTS_BEFORE_SINGLE_ITEMS {
            self.remaining.push(PendingItems { range, one_by_one: true, exceeded_with });
        } else {
            self.halve(range, exceeded_with);
        }
        SearchStep::Divided { is_first }
    }

    /// Notes that a range of several items is too large for one turn, although no item need be bad.
    pub(super) fn divide(&mut self, items: NextItems) {
        self.halve(items.range, items.exceeded_with);
    }

    fn halve(&mut self, range: Range<usize>, exceeded_with: Option<usize>) {
        let middle = range.start + range.len() / 2;
        for half in [middle..range.end, range.start..middle] {
            self.remaining.push(PendingItems { range: half, one_by_one: false, exceeded_with });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a search cost and found.
    #[derive(Default)]
    struct SearchCost {
        good: Vec<usize>,
        bad: Vec<usize>,
        turns: usize,
        /// Sum of the shares of the deadline of the turns that failed.
        deadlines: f64,
    }

    fn search(count: usize, per_turn: usize, code: FaultCode, is_bad: impl Fn(usize) -> bool) -> SearchCost {
        let (mut outcome, mut search) = (SearchCost::default(), BadItemSearch::new(count, per_turn));
        while let Some(items) = search.next() {
            outcome.turns += 1;
            let range = items.range.clone();
            if !range.clone().any(&is_bad) {
                outcome.good.extend(range.clone());
                search.handled_until(items, range.end);
                continue;
            }
            outcome.deadlines += items.share.items as f64 / items.share.of as f64;
            if let SearchStep::BadItem(item) = search.failed(items, code) {
                outcome.bad.push(item);
            }
        }
        outcome
    }

    #[test]
    fn one_bad_item_costs_few_turns_and_three_deadlines() {
        for bad in [0, 1, 511, 512, 700, 1023] {
            let found = search(1024, 1024, FaultCode::GuestError, |item| item == bad);
            assert_eq!(found.bad, [bad]);
            assert!(found.turns <= 4 + 128 + 4, "{} turns", found.turns);
            let found = search(1024, 1024, FaultCode::DeadlineExceeded, |item| item == bad);
            assert!(found.deadlines < 3.0, "{} deadlines", found.deadlines);
        }
    }

    #[test]
    fn a_batch_of_bad_items_costs_hardly_more_than_one_turn_each() {
        let found = search(1024, 1024, FaultCode::GuestPanic, |_| true);
        assert_eq!(found.bad, (0..1024).collect::<Vec<_>>());
        assert!(found.turns <= 1024 + 8, "{} turns", found.turns);
    }

    #[test]
    fn an_item_alone_gets_the_whole_deadline_and_a_part_its_share() {
        let mut search = BadItemSearch::new(8, 8);
        let whole = search.next().unwrap();
        assert_eq!(whole.share, CallShare::WHOLE);
        assert_eq!(search.failed(whole, FaultCode::DeadlineExceeded), SearchStep::Divided { is_first: true });
        let half = search.next().unwrap();
        assert_eq!((half.range.clone(), half.share), (0..4, CallShare { items: 4, of: 8 }));
        assert_eq!(search.failed(half, FaultCode::GuestError), SearchStep::Divided { is_first: false });
        let quarter = search.next().unwrap();
        assert_eq!((quarter.range.clone(), quarter.share), (0..2, CallShare { items: 2, of: 8 }));
        search.failed(quarter, FaultCode::DeadlineExceeded);
        let single = search.next().unwrap();
        assert_eq!((single.range.clone(), single.share), (0..1, CallShare::WHOLE));
        assert_eq!(search.failed(single, FaultCode::DeadlineExceeded), SearchStep::BadItem(0));

        let mut other = BadItemSearch::new(8, 8);
        let whole = other.next().unwrap();
        other.failed(whole, FaultCode::GuestError);
        assert_eq!(other.next().unwrap().share, CallShare::WHOLE, "no deadline was exceeded");
    }

    proptest! {
        #[test]
        fn every_item_is_handled_once_and_in_order(
            bad in proptest::collection::vec(any::<bool>(), 0..300),
            per_turn in 1usize..200,
        ) {
            let found = search(bad.len(), per_turn, FaultCode::GuestError, |item| bad[item]);
            prop_assert!(found.good.is_sorted() && found.bad.is_sorted());
            prop_assert_eq!(found.bad, (0..bad.len()).filter(|&item| bad[item]).collect::<Vec<_>>());
            prop_assert_eq!(found.good, (0..bad.len()).filter(|&item| !bad[item]).collect::<Vec<_>>());
            let batches = bad.len().div_ceil(per_turn);
            prop_assert!(found.turns <= bad.len() + 2 * batches + 16);
        }

        #[test]
        fn a_turn_that_handles_only_its_first_items_loses_none(
            bad in proptest::collection::vec(any::<bool>(), 1..100),
            ends in proptest::collection::vec(1usize..20, 1..50),
        ) {
            let (mut search, mut handled, mut ends) = (BadItemSearch::new(bad.len(), 64), Vec::new(), ends.iter().cycle());
            while let Some(items) = search.next() {
                let end = items.range.end.min(items.range.start + ends.next().unwrap());
                if (items.range.start..end).any(|item| bad[item]) {
                    if let SearchStep::BadItem(item) = search.failed(items, FaultCode::GuestTrap) {
                        handled.push(item);
                    }
                } else {
                    handled.extend(items.range.start..end);
                    search.handled_until(items, end);
                }
            }
            prop_assert_eq!(handled, (0..bad.len()).collect::<Vec<_>>());
        }
    }
}
