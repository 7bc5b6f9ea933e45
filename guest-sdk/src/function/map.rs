//! Functions without keys: a map and a flat-map.

use super::{Function, Records, decode, kinds};
use crate::FunctionError;
use crate::codec::{Codec, Decode, Encode};
use crate::collector::Collector;
use crate::context::Context;

/// Turns each record into exactly one.
pub trait MapFunction: Default + 'static {
    /// How records come in.
    type In: Decode;
    /// How records go out.
    type Out: Codec + Encode<<Self::Out as Codec>::Owned>;

    /// Called once per instance, before its first record: the place to read `ctx.config`.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut Context) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// Turns one record into another, which keeps the timestamp.
    ///
    /// # Errors
    /// Fails the record: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn map(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut Context,
    ) -> Result<<Self::Out as Codec>::Owned, FunctionError>;
}

/// Turns each record into none, one or several.
pub trait FlatMapFunction: Default + 'static {
    /// How records come in.
    type In: Decode;
    /// How records go out.
    type Out: Codec;

    /// Called once per instance, before its first record: the place to read `ctx.config`.
    ///
    /// # Errors
    /// Fails the turn that the instance was made for.
    fn open(&mut self, ctx: &mut Context) -> Result<(), FunctionError> {
        let _ = ctx;
        Ok(())
    }

    /// Handles one record.
    ///
    /// # Errors
    /// Fails the record: nothing of it takes effect, and the operator's disposition decides what becomes of it.
    fn flat_map(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;
}

impl<F: Function + MapFunction> Records<F> for kinds::Map {
    type Out = F::Out;
    const KEYED: &'static [bool] = &[false];

    fn open(function: &mut F, ctx: &mut Context) -> Result<(), FunctionError> {
        function.open(ctx)
    }

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut Context,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        out.emit(function.map(decode::<F::In>(record)?, ctx)?);
        Ok(())
    }
}

impl<F: Function + FlatMapFunction> Records<F> for kinds::FlatMap {
    type Out = F::Out;
    const KEYED: &'static [bool] = &[false];

    fn open(function: &mut F, ctx: &mut Context) -> Result<(), FunctionError> {
        function.open(ctx)
    }

    #[inline(always)]
    fn first(
        function: &mut F,
        record: &[u8],
        ctx: &mut Context,
        out: &mut Collector<F::Out>,
    ) -> Result<(), FunctionError> {
        function.flat_map(decode::<F::In>(record)?, ctx, out)
    }
}
