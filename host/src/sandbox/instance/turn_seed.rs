//! The seed of the random numbers that WASI gives a guest in one turn. See `wasi.rs`.

use crate::model::{TimeDomain, hash_key};
use crate::turn::Turn;

/// What a call hands to the guest. Calls of one position draw different numbers.
#[derive(Clone, Copy)]
pub(super) enum TurnCall {
    Records(u32),
    Timers(TimeDomain),
    Add,
    Merge,
    Finish,
    Windows,
    Pairs,
}

/// Returns the seed of a call within `turn`.
pub(super) fn turn_seed(turn: &Turn, call: TurnCall) -> u64 {
    let call = match call {
        TurnCall::Records(input) => u64::from(input),
        TurnCall::Timers(domain) => 16 + domain as u64,
        TurnCall::Add => 32,
        TurnCall::Merge => 33,
        TurnCall::Finish => 34,
        TurnCall::Windows => 35,
        TurnCall::Pairs => 36,
    };
    // Key groups stay together when the parallelism changes. Subtasks without keys have no better name.
    let place = turn.first_group().map_or_else(|| u64::from(turn.context.subtask) << 32, u64::from);
    let operator = hash_key(turn.context.operator.as_bytes());
    hash_key([turn.context.seed, operator, call, place, turn.context.position].map(u64::to_le_bytes).as_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::TurnContext;

    #[test]
    fn the_seed_depends_on_the_place_of_the_turn_alone() {
        let of = |operator: &str, subtask, position, call| {
            let context =
                TurnContext { operator: operator.into(), subtask, position, seed: 7, ..TurnContext::default() };
            turn_seed(&Turn::stateless(context), call)
        };
        let first = of("a", 0, 5, TurnCall::Records(0));
        assert_eq!(first, of("a", 0, 5, TurnCall::Records(0)));
        let others = [
            of("b", 0, 5, TurnCall::Records(0)),
            of("a", 1, 5, TurnCall::Records(0)),
            of("a", 0, 6, TurnCall::Records(0)),
            of("a", 0, 5, TurnCall::Records(1)),
            of("a", 0, 5, TurnCall::Timers(TimeDomain::Event)),
        ];
        assert!(others.iter().all(|other| *other != first));
    }
}
