//! Functions without keys: a map and a flat-map.

use super::{Function, Records, decode, kinds};
use crate::codec::{Codec, Decode, Encode};
use crate::collector::Collector;
use crate::context::{Context, KeyedContext};
use crate::{FunctionError, Result};

/// Turns each record into exactly one record. See [`Function`] for `In`, `Out` and `open`.
///
/// ```
/// use cofferdam_sdk::prelude::*;
///
/// #[derive(Function)]
/// struct Length {
///     long: SideOutput<Text>,
/// }
///
/// #[function]
/// impl MapFunction for Length {
///     type In = Text;
///     type Out = Json<usize>;
///
///     fn map(&mut self, text: &str, _ctx: &mut Context) -> Result<usize> {
///         if text.len() > 80 {
///             self.long.emit(text);
///         }
///         Ok(text.len())
///     }
/// }
/// ```
///
/// Its records have no key, so it cannot have states:
///
/// ```compile_fail,E0080
/// use cofferdam_sdk::prelude::*;
///
/// #[derive(Function)]
/// struct Length {
///     long: ValueState<String>,
/// }
///
/// #[function]
/// impl MapFunction for Length {
///     type In = Text;
///     type Out = Json<usize>;
///
///     fn map(&mut self, text: &str, _ctx: &mut Context) -> Result<usize> {
///         Ok(text.len())
///     }
/// }
/// ```
pub trait MapFunction: Function {
    /// Turns one record into another, which keeps the timestamp.
    ///
    /// # Errors
    /// An error fails the record: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn map(&mut self, value: <Self::In as Decode>::Value<'_>, ctx: &mut Context)
    -> Result<<Self::Out as Codec>::Owned>;
}

/// Turns each record into any number of records. See [`Function`] for `In`, `Out` and `open`.
pub trait FlatMapFunction: Function {
    /// Handles one record.
    ///
    /// # Errors
    /// An error fails the record: it changes nothing, and the operator's `on_fault` decides what happens to it.
    fn flat_map(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out, Self::OutKey>,
    ) -> Result;
}

impl<F: MapFunction> Records<F> for kinds::Map
where
    F::Out: Encode<<F::Out as Codec>::Owned>,
{
    const KEYED: &'static [bool] = &[false];

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        out.emit(function.map(decode::<F::In>(record)?, ctx)?);
        Ok(())
    }
}

impl<F: FlatMapFunction> Records<F> for kinds::FlatMap {
    const KEYED: &'static [bool] = &[false];

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut KeyedContext<F::Key>,
        out: &mut Collector<F::Out, F::OutKey>,
    ) -> Result<(), FunctionError> {
        function.flat_map(decode::<F::In>(record)?, ctx, out)
    }
}
