//! The traits that user code implements, and the one trait that all of them become.
//!
//! A function is made with `Default` for each instance, and the host may drop an instance between any two calls. What a
//! function keeps in its fields may therefore be a cache, and never state.

use crate::FunctionError;
use crate::codec::{Codec, Decode, Encode};
use crate::collector::Collector;
use crate::context::Context;
use crate::declaration::Declaration;
use crate::timers::Timer;

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

/// Handles the records and timers of a key, with the state of that key.
pub trait KeyedProcessFunction: Default + 'static {
    /// How records come in.
    type In: Decode;
    /// How records go out.
    type Out: Codec;

    /// Called once per instance, before its first record or timer: the place to read `ctx.config`. There is no key here,
    /// and so no state.
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
    fn process_element(
        &mut self,
        value: <Self::In as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError>;

    /// Handles a timer that is due. Only called of functions that declare timers, `#[function(timers(event))]`.
    ///
    /// # Errors
    /// Fails the turn: nothing of it takes effect.
    fn on_timer(
        &mut self,
        timer: Timer,
        ctx: &mut Context,
        out: &mut Collector<Self::Out>,
    ) -> Result<(), FunctionError> {
        let _ = (timer, ctx, out);
        Ok(())
    }
}

/// A function of any kind, as the runner sees it. `#[function]` on the `impl` of one of the traits above writes it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Cofferdam function",
    note = "put `#[cofferdam_sdk::function]` on its `impl` of `MapFunction`, `FlatMapFunction` or `KeyedProcessFunction`"
)]
pub trait Function: Default + 'static {
    /// How records come in.
    type Input: Decode;
    /// How records go out.
    type Output: Codec;
    /// The name that a pipeline calls it by.
    const NAME: &'static str;
    /// Whether it sees records with their key.
    const KEYED: bool;

    #[doc(hidden)]
    fn declare(declaration: &mut Declaration);

    #[doc(hidden)]
    fn open_function(&mut self, ctx: &mut Context) -> Result<(), FunctionError>;

    #[doc(hidden)]
    fn element(
        &mut self,
        value: <Self::Input as Decode>::Value<'_>,
        ctx: &mut Context,
        out: &mut Collector<Self::Output>,
    ) -> Result<(), FunctionError>;

    #[doc(hidden)]
    fn timer(
        &mut self,
        timer: Timer,
        ctx: &mut Context,
        out: &mut Collector<Self::Output>,
    ) -> Result<(), FunctionError> {
        let _ = (timer, ctx, out);
        Ok(())
    }
}
