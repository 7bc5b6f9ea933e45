//! Functions that see all elements of a window at once.

use super::{Run, Stage, check_keys, failure};
use crate::bindings::cofferdam::function::types::{Failure, Output, Windows};
use crate::bindings::exports::cofferdam::function::guest::FunctionKind;
use crate::bindings::exports::cofferdam::function::window::Elements;
use crate::column;
use crate::function::{Function, Windowed};
use crate::host::Host;
use crate::panic::in_record;
use crate::times::ItemTimes;
use crate::turn_cursor::ItemStream;
use crate::window::{StoredInput, Window};
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
        let bounds = windows.bounds.as_ref();
        stage.begin(windows.key_of.len(), column::empty())?;
        if inputs.len() != K::INPUT_COUNT {
            let message = format!("function `{}` has {} inputs, not {}", F::NAME, K::INPUT_COUNT, inputs.len());
            return Err(failure(&message.into(), None));
        }
        let input = |(Elements { values, timestamps, ends }, name)| StoredInput::new(values, timestamps, ends, name);
        let inputs: Vec<_> = inputs.into_iter().zip(INPUTS).map(input).collect::<Result<_, _>>()?;
        let window = |(index, &key): (usize, &u32)| {
            Window::<F::Key>::new(column::value(&windows.keys, key as usize), bounds, index)
        };
        let windows: Vec<_> = windows.key_of.iter().enumerate().map(window).collect();
        let times = windows.iter().map(|window| window.last().as_millis()).collect();
        stage.cursor.set_items(ItemStream::Windows, ItemTimes::inheritable(times));
        for (index, window) in windows.iter().enumerate() {
            let record = Some(index as u32);
            in_record(record);
            stage.cursor.key.set(index);
            stage.set_item(index as u32);
            let stored: Vec<_> = inputs.iter().map(|input| input.of_window(index)).collect();
            let fired = K::window(&mut stage.function, window, &stored, &mut stage.context, &mut stage.out);
            let fired = fired.and_then(|()| stage.emitted());
            in_record(None);
            fired.map_err(|error| failure(&format!("{window}: {error}").into(), record))?;
        }
        stage.finish()
    }
}
