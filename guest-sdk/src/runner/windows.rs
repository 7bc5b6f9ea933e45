//! Functions that see all elements of a window at once.

use super::{Run, Stage, check_keys, failure};
use crate::bindings::cofferdam::function::types::{Failure, Output, Windows};
use crate::bindings::exports::cofferdam::function::function::FunctionKind;
use crate::bindings::exports::cofferdam::function::window::Elements;
use crate::column;
use crate::function::{Function, Windowed};
use crate::host::Host;
use crate::panic::in_record;
use crate::window::{Stored, Window};
use std::marker::PhantomData;
use std::rc::Rc;

/// The names of the inputs in errors.
const INPUTS: [&str; 2] = ["input", "second input"];

/// Runs a function of kind `K`.
pub(crate) struct WindowRunner<F: Function, K> {
    stage: Stage<F>,
    kind: PhantomData<K>,
}

impl<F: Function, K: Windowed<F>> WindowRunner<F, K> {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        WindowRunner { stage: Stage::new(host), kind: PhantomData }
    }
}

impl<F: Function, K: Windowed<F>> Run for WindowRunner<F, K> {
    fn name_and_kind(&self) -> (&'static str, FunctionKind) {
        (F::NAME, K::KIND)
    }

    fn process_windows(&mut self, windows: Windows, inputs: Vec<Elements>) -> Result<Vec<Output>, Failure> {
        let stage = &mut self.stage;
        check_keys::<F>(&windows.keys, &windows.key_of)?;
        stage.begin(windows.starts.len(), column::empty())?;
        if inputs.len() != K::INPUTS.len() {
            let message = format!("function `{}` has {} inputs, not {}", F::NAME, K::INPUTS.len(), inputs.len());
            return Err(failure(&message.into(), None));
        }
        for (index, &key) in windows.key_of.iter().enumerate() {
            let key = column::value(&windows.keys, key as usize);
            let window = Window::new(key, windows.starts[index], windows.ends[index]);
            let record = Some(index as u32);
            in_record(record);
            stage.cursor.record.set(record);
            stage.cursor.key.set(index);
            stage.set_timestamp(window.last().as_millis());
            let inputs = INPUTS.into_iter().zip(&inputs);
            let stored: Vec<_> = inputs.map(|(name, input)| stored(input, index, name)).collect();
            let fired = K::window(&mut stage.function, &window, &stored, &mut stage.context, &mut stage.out);
            let fired = fired.and_then(|()| stage.emitted());
            in_record(None);
            fired.map_err(|error| failure(&format!("{window}: {error}").into(), record))?;
        }
        stage.finish()
    }
}

/// Returns the elements of window `index` in one input.
fn stored<'a>(Elements { values, timestamps, ends }: &'a Elements, index: usize, input: &'static str) -> Stored<'a> {
    let start = index.checked_sub(1).map_or(0, |before| ends[before] as usize);
    Stored { values, timestamps, range: start..ends[index] as usize, input }
}
