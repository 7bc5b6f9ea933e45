//! The interface of a function, as operators call it.

use super::error::TurnFailure;
use super::transaction::Turn;
use crate::model::{Batch, Column, DueTimers, Fault, FaultCode, JoinedPairs, TimeDomain, WindowElements, Windows};
use crate::state::{StateForm, StoredValues};

/// The only input of most functions, and the first input of a function with two.
pub const FIRST_INPUT: u32 = 0;
/// The second input of a function with two. For broadcast functions it is the broadcast input.
pub const SECOND_INPUT: u32 = 1;

/// The part of its items that a call handles, while the host searches for the one that exceeds the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallShare {
    /// Number of items of the call.
    pub items: usize,
    /// Number of items of the call that exceeded its deadline.
    pub of: usize,
}

impl CallShare {
    /// A call that gets its whole deadline.
    pub const WHOLE: CallShare = CallShare { items: 1, of: 1 };
}

/// A function: a guest in the sandbox, or a native function in tests and benchmarks.
///
/// The methods that handle items run within a turn. If it succeeds, the caller commits the turn. If it fails, the caller aborts the turn. A guest
/// that did not return, for instance because it trapped, is replaced by one without memory of earlier calls. The defaults fail with `internal`: the host calls only what
/// the function's description declares.
pub trait Guest: Send {
    /// Gives the following calls a share of their deadline. A guest without a deadline ignores it.
    fn limit_to_share(&mut self, _share: CallShare) {}

    /// Handles a batch of one input.
    fn process(&mut self, _turn: &mut Turn, _input: u32, _batch: &Batch) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_implemented("process"))
    }

    /// Handles due timers. The keys of the turn are those of the timers.
    fn on_timers(&mut self, _turn: &mut Turn, _: TimeDomain, _: &DueTimers) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_implemented("timers"))
    }

    /// Folds each value `i` into accumulator `accumulator_of[i]`, in order, and returns all accumulators. An empty
    /// accumulator does not exist yet.
    ///
    /// The turn has no keys, so state calls are refused. The guest may log.
    fn add(
        &mut self,
        _turn: &mut Turn,
        _accumulators: &Column,
        _accumulator_of: &[u32],
        _values: &Column,
        _timestamps: &[i64],
    ) -> Result<Column, TurnFailure> {
        Err(not_implemented("aggregate"))
    }

    /// Merges accumulator `i` of `right` into accumulator `i` of `left`, and returns the merged accumulators.
    fn merge(&mut self, _turn: &mut Turn, _left: &Column, _right: &Column) -> Result<Column, TurnFailure> {
        Err(not_implemented("aggregate"))
    }

    /// Returns the result of each accumulator. Accumulator `i` belongs to window `i`.
    fn finish(&mut self, _turn: &mut Turn, _accumulators: &Column, _windows: &Windows) -> Result<Column, TurnFailure> {
        Err(not_implemented("aggregate"))
    }

    /// Handles firing windows, with the elements of each input of the function. Key `i` of the turn belongs to window `i`.
    fn process_windows(
        &mut self,
        _: &mut Turn,
        _: &Windows,
        _inputs: &[WindowElements],
    ) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_implemented("window"))
    }

    /// Handles joined pairs of records.
    fn join(&mut self, _: &mut Turn, _: &JoinedPairs) -> Result<Vec<OutputBatch>, TurnFailure> {
        Err(not_implemented("join"))
    }

    /// Rewrites values that are stored in the form `stored` in the form `wanted`, and returns one value for each. `state` is
    /// the index of the state in the function's description.
    ///
    /// Called during a restore, before any record and outside of turns.
    fn migrate(
        &mut self,
        _state: u32,
        stored: &StateForm,
        _wanted: &StateForm,
        _values: &StoredValues,
    ) -> Result<Column, TurnFailure> {
        Err(Fault::new(FaultCode::GuestError, format!("the function cannot migrate from {stored}")).into())
    }
}

fn not_implemented(what: &str) -> TurnFailure {
    crate::error::internal(format!("the function does not handle `{what}`")).into()
}

/// An output of a node.
///
/// Late records and dead letters are no positions after the function's own outputs. So a function that gains an output moves
/// neither of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputId {
    /// An output that a function describes, by its index in the description; or one of a source.
    Declared(usize),
    /// The late records of an operator with windows or an interval join.
    Late,
    /// The dead letters of an operator.
    DeadLetter,
}

impl OutputId {
    /// The main output.
    pub const MAIN: OutputId = OutputId::Declared(0);
}

/// Records for one output of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputBatch {
    /// The output.
    pub output: OutputId,
    /// The records.
    pub batch: Batch,
}
