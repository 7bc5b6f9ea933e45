//! Functions that see all elements of a window at once.

use super::{Run, Stage, failure};
use crate::bindings::cofferdam::function::types::{Failure, Output, Windows};
use crate::bindings::exports::cofferdam::function::function::FunctionKind;
use crate::bindings::exports::cofferdam::function::window::Elements;
use crate::column;
use crate::context::WindowContext;
use crate::function::{Function, Windowed};
use crate::host::Host;
use crate::panic::in_record;
use crate::window::{Stored, Window};
use std::rc::Rc;

/// What the inputs are called in errors.
const INPUTS: [&str; 2] = ["input", "second input"];

/// See the module. `K` is the kind of `F`.
pub(crate) struct WindowRunner<F, K: Windowed<F>> {
    stage: Stage<F, K::Out>,
}

impl<F: Function, K: Windowed<F>> WindowRunner<F, K> {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        WindowRunner { stage: Stage::new(host) }
    }
}

impl<F: Function, K: Windowed<F>> Run for WindowRunner<F, K> {
    fn who(&self) -> (&'static str, FunctionKind) {
        (F::NAME, K::KIND)
    }

    fn process_windows(&mut self, windows: Windows, inputs: Vec<Elements>) -> Result<Vec<Output>, Failure> {
        let stage = &mut self.stage;
        stage.context.begin_places(windows.starts.len());
        stage.begin(|function, ctx| K::open(function, ctx))?;
        if inputs.len() != K::INPUTS.len() {
            let message = format!("function `{}` has {} inputs, not {}", F::NAME, K::INPUTS.len(), inputs.len());
            return Err(failure(&message.into(), None));
        }
        for (index, &key) in windows.key_of.iter().enumerate() {
            let key = column::value(&windows.keys, key as usize);
            let window = Window { key, start_ms: windows.starts[index], end_ms: windows.ends[index] };
            let record = Some(index as u32);
            in_record(record);
            stage.context.record = record;
            stage.context.key = index;
            stage.set_timestamp(window.last_ms());
            let inputs = INPUTS.into_iter().zip(&inputs);
            let stored: Vec<_> = inputs.map(|(name, input)| stored(input, index, name)).collect();
            let ctx = &mut WindowContext::new(&mut stage.context);
            let fired = K::window(&mut stage.function, &window, &stored, ctx, &mut stage.out);
            let fired = fired.and_then(|()| stage.emitted());
            in_record(None);
            fired.map_err(|error| failure(&format!("{window}: {error}").into(), record))?;
        }
        stage.finish()
    }
}

/// What an input has for window `index`.
fn stored<'a>(Elements { values, timestamps, ends }: &'a Elements, index: usize, input: &'static str) -> Stored<'a> {
    let start = index.checked_sub(1).map_or(0, |before| ends[before] as usize);
    Stored { values, timestamps, range: start..ends[index] as usize, input }
}
