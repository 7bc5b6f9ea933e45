//! Measurements of a node for a monitoring system, beside its record counts: turns, timers and its database.

use crate::model::{DurationHistogram, TimeDomain};
use crate::operator::Operator;
use crate::state::DatabaseLoad;
use crate::turn::TimerTotals;

/// The measurements of one node, in one subtask or summed over several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeMeters {
    /// How long turns of the function took.
    pub turns: DurationHistogram,
    /// The timers of each clock that the operator has; the index is the [`TimeDomain`].
    pub timers: [Option<TimerMeter>; 2],
    /// The databases of its state, if it has any.
    pub database: Option<DatabaseLoad>,
}

/// The timers of one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerMeter {
    /// Totals since the attempt began, or since the process began.
    pub totals: TimerTotals,
    /// No pending timer is earlier, in milliseconds since the Unix epoch. `None` if none is pending.
    pub next_ms: Option<i64>,
}

impl NodeMeters {
    /// Reads the measurements of an operator.
    pub(crate) fn of_operator(operator: &mut dyn Operator) -> NodeMeters {
        let turns = operator.turn_times();
        let turn = operator.turn();
        let timers = [TimeDomain::Event, TimeDomain::Processing].map(|domain| {
            let totals = turn.timer_totals(domain)?;
            Some(TimerMeter { totals, next_ms: turn.next_timer(domain) })
        });
        NodeMeters { turns, timers, database: turn.backend().and_then(|backend| backend.database_load()) }
    }

    /// Adds the measurements of another subtask, or of a later attempt.
    pub fn add(&mut self, other: &NodeMeters) {
        self.turns.add(&other.turns);
        for (own, other) in self.timers.iter_mut().zip(&other.timers) {
            let Some(other) = other else { continue };
            let own = own.get_or_insert_default();
            own.totals.add(&other.totals);
            own.next_ms = own.next_ms.into_iter().chain(other.next_ms).min();
        }
        if let Some(other) = &other.database {
            self.database.get_or_insert_default().add(other);
        }
    }

    /// Keeps only what has been counted, because the subtask has ended.
    pub(crate) fn end(&mut self) {
        self.timers.iter_mut().flatten().for_each(|timers| timers.next_ms = None);
        if let Some(database) = &mut self.database {
            *database = DatabaseLoad { write_stalls: database.write_stalls, ..DatabaseLoad::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outlive_their_subtask_and_current_values_do_not() {
        let meters = |registered, next_ms, files| {
            let totals = TimerTotals { registered, fired: 1 };
            let mut turns = DurationHistogram::default();
            turns.observe(0.5);
            let database = DatabaseLoad { files, write_stalls: 3, ..DatabaseLoad::default() };
            NodeMeters { turns, timers: [None, Some(TimerMeter { totals, next_ms })], database: Some(database) }
        };
        let mut all = meters(5, Some(70), 2);
        all.end();
        all.add(&meters(1, Some(90), 4));
        all.add(&meters(1, Some(80), 1));
        let timers = TimerMeter { totals: TimerTotals { registered: 7, fired: 3 }, next_ms: Some(80) };
        assert_eq!(all.timers, [None, Some(timers)]);
        assert_eq!(all.database, Some(DatabaseLoad { files: 5, write_stalls: 9, ..DatabaseLoad::default() }));
        assert_eq!(all.turns.count(), 3);
    }
}
