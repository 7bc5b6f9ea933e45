//! Side outputs: the outputs of a function beside its main output.

use crate::FunctionError;
use crate::Timestamp;
use crate::bindings::cofferdam::function::types::Output;
use crate::codec::{Codec, Encode};
use crate::collector::{EmittedRecord, OutputBuffer};
use crate::fields::{Binder, Field, FieldType, sealed};
use crate::turn_cursor::TurnCursor;
use std::marker::PhantomData;
use std::rc::Rc;

/// A side output, declared as a field of the function. A pipeline reads it as `OPERATOR.NAME`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// /// Parses numbers, and emits what is not a number to the side output `odd`.
/// #[derive(Function)]
/// struct Parse {
///     odd: SideOutput<Text>,
/// }
///
/// #[function]
/// impl FlatMapFunction for Parse {
///     type In = Text;
///     type Out = Json<i64>;
///
///     fn flat_map(&mut self, text: &str, _ctx: &mut Context, out: &mut Collector<Json<i64>>) -> Result {
///         match text.parse::<i64>() {
///             Ok(number) => out.emit(number),
///             Err(_) => self.odd.emit(text),
///         }
///         Ok(())
///     }
/// }
///
/// let mut harness = cofferdam_sdk::testing::Harness::<Parse>::new();
/// harness.push("", "7", 0)?;
/// harness.push("", "seven", 0)?;
/// assert_eq!(harness.take_output()?, [7]);
/// assert_eq!(harness.take_side_output(|parse| &parse.odd)?, ["seven"]);
/// # Ok::<(), FunctionError>(())
/// ```
///
/// The field's name in kebab-case is the name of the output; `#[side_output(name = "...")]` gives it another one.
pub struct SideOutput<C> {
    cursor: Rc<TurnCursor>,
    name: &'static str,
    /// Index in the function's outputs.
    index: u32,
    /// The turn that `buffer` belongs to.
    turn: u64,
    buffer: OutputBuffer,
    codec: PhantomData<fn() -> C>,
}

impl<C: Codec> SideOutput<C> {
    /// Emits a record with the timestamp of the record, timer or window that is being handled.
    pub fn emit<V>(&mut self, value: V)
    where
        C: Encode<V>,
    {
        self.push(value);
    }

    /// Emits a record with a timestamp of its own.
    pub fn emit_with_timestamp<V>(&mut self, value: V, timestamp: Timestamp)
    where
        C: Encode<V>,
    {
        self.emit_with(value).timestamp(timestamp);
    }

    /// Emits a record, and returns it for further settings: a timestamp, headers. See [`Collector::emit_with`](crate::Collector::emit_with).
    pub fn emit_with<V>(&mut self, value: V) -> EmittedRecord<'_>
    where
        C: Encode<V>,
    {
        let position = self.push(value);
        EmittedRecord::new(&mut self.buffer, position)
    }

    fn push<V>(&mut self, value: V) -> Option<usize>
    where
        C: Encode<V>,
    {
        if self.turn != self.cursor.turn() {
            self.buffer.discard();
            self.turn = self.cursor.turn();
        }
        self.buffer.origin = self.cursor.item.get();
        let position = self.buffer.push::<C, V>(value);
        if let Some(error) = self.buffer.error.take() {
            let error: FunctionError = format!("side output `{}`: {error}", self.name).into();
            self.cursor.side_failed(error);
        }
        position
    }

    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn index(&self) -> usize {
        self.index as usize
    }
}

impl<C: Codec> sealed::Sealed for SideOutput<C> {}

impl<C: Codec> FieldType for SideOutput<C> {
    const IS_SIDE_OUTPUT: bool = true;

    fn bind(binder: &Binder, name: &'static str) -> Self {
        SideOutput {
            cursor: binder.cursor.clone(),
            name,
            index: binder.declaration.side_output_index(name),
            turn: 0,
            buffer: OutputBuffer::new(),
            codec: PhantomData,
        }
    }
}

impl<C: Codec> Field for SideOutput<C> {
    fn take_output(&mut self) -> Option<Output> {
        if self.turn != self.cursor.turn() {
            return None;
        }
        self.buffer.take(self.index, &self.cursor.times.borrow())
    }
}
