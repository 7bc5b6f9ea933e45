//! A test guest: each function attacks the host, or a neighbouring job, in one way. It uses the contract without the SDK, because the
//! SDK does not allow this.
//!
//! `echo` is the healthy function. All others misbehave in every call. `tests/tests/evil.rs` names the expected end of each.

#![allow(clippy::disallowed_methods)]

mod calls;
mod describe;
mod hoard;
mod lies;

wit_bindgen::generate!({ path: "../../../wit", world: "full-component" });

use cofferdam::function::types::{Batch, Column, Failure, Output, RecordValues, TimeDomain, Timestamps, Windows};
use exports::cofferdam::function::aggregate::Guest as Aggregate;
use exports::cofferdam::function::guest::{ComponentDescription, Form, Guest};
use exports::cofferdam::function::join::{Guest as Join, Pairs};
use exports::cofferdam::function::migration::{Guest as Migration, StoredValues};
use exports::cofferdam::function::timer_handler::{DueTimers, Guest as TimerHandler};
use exports::cofferdam::function::window::{Elements, Guest as Window};

struct Evil;
export!(Evil);

/// What `process` does. It may not return.
type Misdeed = fn(&Batch) -> Result<Vec<Output>, Failure>;

/// Functions that misbehave in `process` and have neither keys nor state.
const PLAIN: &[(&str, Misdeed)] = &[
    ("echo", |batch| Ok(vec![output(values_of(batch))])),
    ("error", |_| Err(failure("this record is refused"))),
    ("error-large", |_| Err(lies::large_failure())),
    ("loop", |_| calls::endless()),
    ("work", |batch| Ok(vec![calls::work(batch)])),
    ("trap", |_| unreachable_instruction()),
    ("divide-by-zero", |_| calls::divide_by_zero()),
    ("read-out-of-bounds", |_| calls::read_out_of_bounds()),
    ("call-null", |_| calls::call_null()),
    ("memory-bomb", |_| hoard::memory()),
    ("memory-fill", |_| hoard::fill_memory()),
    ("recursion", |_| Err(calls::recursion())),
    ("panic-large", |_| calls::panic_with(&"x".repeat(8 << 20), 1)),
    ("panic-often", |_| calls::panic_with("again", 100_000)),
    ("output-fill", |batch| Ok(vec![output(vec![vec![b'x'; 12 << 20]; values_of(batch).len().min(1)])])),
    ("output-large", |_| Ok(vec![output(vec![vec![b'x'; 20 << 20]])])),
    ("output-shared", |_| Ok(lies::gigabyte())),
    ("output-empty-records", |_| Ok(vec![lies::nothings(4_500_000)])),
    ("output-empty-batches", |batch| Ok(lies::empty_outputs(batch, 150_000))),
    ("output-timestamps", |_| Ok(vec![lies::timestamps_only(1_450_000)])),
    ("output-keys", |_| Ok(vec![lies::large_keys()])),
    ("output-attributes", |_| Ok(vec![lies::large_attributes()])),
    ("offsets-decrease", |batch| lies::offsets(batch, |column| column.offsets.reverse())),
    ("offsets-beyond", |batch| {
        lies::offsets(batch, |column| column.offsets.iter_mut().for_each(|end| *end = u32::MAX))
    }),
    ("offsets-start", |batch| lies::offsets(batch, |column| column.offsets[0] = 1)),
    ("offsets-short", |batch| lies::offsets(batch, |column| column.bytes.push(b'x'))),
    ("timestamps-missing", |batch| lies::change(batch, |output| output.timestamps = Timestamps::Every(Vec::new()))),
    ("timestamps-reserved", |batch| {
        lies::change(batch, |output| output.timestamps = Timestamps::Every(vec![i64::MIN; 1]))
    }),
    ("keys-missing", |batch| lies::change(batch, |output| output.keys = Some(column(&[])))),
    ("origins-beyond", |batch| lies::change(batch, |output| output.origins = vec![u32::MAX])),
    ("origins-missing", |batch| lies::change(batch, |output| output.timestamps = Timestamps::Inherited)),
    ("no-such-output", |batch| lies::change(batch, |output| output.index = 7)),
    ("another-layout", |batch| lies::change(batch, |output| output.values = RecordValues::Fields(Vec::new()))),
    ("state-without-state", |_| calls::use_state_without_having_any()),
    ("timer-without-key", |_| calls::add_timers(TimeDomain::Event, 1)),
    ("call-for-ever", |_| calls::call_for_ever()),
    ("log-large", |batch| Ok(vec![hoard::log_large_lines(batch)])),
    ("log-flood", |batch| Ok(vec![hoard::log_flood(batch)])),
    ("log-steadily", |batch| Ok(vec![hoard::log_steadily(batch)])),
    ("log-million", |batch| Ok(vec![hoard::log_million(batch)])),
    ("spin-million", |batch| Ok(vec![hoard::spin_million(batch)])),
    ("log-for-ever", |_| hoard::log_for_ever()),
    ("metrics-many", |batch| Ok(vec![hoard::metrics_many(batch)])),
    ("metrics-flood", |batch| Ok(vec![hoard::metrics_flood(batch)])),
];

/// Functions with keyed state: 0 is a value, 1 a list, 2 a map.
const KEYED: &[(&str, Misdeed)] = &[
    ("no-such-state", |_| calls::read_state(99, 0)),
    ("no-such-key", |_| calls::read_state(0, u32::MAX)),
    ("state-of-another-kind", |_| calls::read_state(1, 0)),
    ("malformed-column", |_| calls::store_malformed_column()),
    ("fewer-values-than-keys", |_| calls::store_fewer_values_than_keys()),
    ("broadcast-without-broadcast", |_| calls::write_broadcast(0)),
    ("timer-undeclared", |_| calls::add_timers(TimeDomain::Event, 1)),
    ("state-of-a-turn", |_| hoard::state_of_a_turn()),
    ("state-of-a-turn-in-the-map", |_| hoard::map_of_a_turn()),
    ("state-under-new-keys", hoard::value_of_each_key),
    ("state-of-one-key", hoard::map_grows),
    ("list-grows", hoard::list_grows),
    ("list-at-once", |_| hoard::list_at_once()),
    ("read-again-and-again", |_| hoard::map_load_repeated()),
    ("read-whole-map", hoard::map_scan_all),
    ("read-whole-list", hoard::list_read_all),
    ("scan-for-ever", |_| hoard::scan_for_ever()),
];

/// Functions with timers. Their handler misbehaves, or their `process` does.
const TIMED: &[(&str, Misdeed)] = &[
    ("timer-loop", |batch| calls::one_timer(batch)),
    ("timer-trap", |batch| calls::one_timer(batch)),
    ("timer-renews-itself", |batch| calls::renewed_timer(batch)),
    ("timer-flood-in-handler", |batch| calls::one_timer(batch)),
    ("timers-of-a-turn", |_| calls::add_timers(TimeDomain::Event, 8_000_000)),
    ("timers-of-one-key", |batch| calls::more_timers(batch, 200)),
    ("timers-at-the-end-of-time", |batch| calls::extreme_timers(batch)),
];

/// Functions of windows: their names, and whether `process-window` or `aggregate` is their kind.
const WINDOWED: &[&str] = &["window-loop", "window-trap", "window-output"];
const AGGREGATES: &[&str] = &[
    "add-loop",
    "add-trap",
    "add-fewer",
    "add-large",
    "add-uses-state",
    "merge-loop",
    "merge-fewer",
    "finish-loop",
    "finish-fewer",
    "finish-malformed",
];
/// Functions with a broadcast input: state 0 is broadcast.
const BROADCAST: &[&str] = &["broadcast-read-again-and-again", "broadcast-grows", "broadcast-from-the-other-input"];
const JOINS: &[&str] = &["join-echo", "join-loop", "join-trap"];
/// Functions with one state in a form of its own. The first writes it, the others read it and misbehave in `migrate`.
const MIGRATIONS: &[&str] = &["migrate-from", "migrate-loop", "migrate-trap", "migrate-fewer", "migrate-bomb"];

/// Returns the name of a function by its index.
fn name_of(index: u32) -> &'static str {
    describe::names().nth(index as usize).unwrap_or_else(|| unreachable_instruction())
}

impl Guest for Evil {
    fn describe() -> ComponentDescription {
        describe::component()
    }

    fn process(function: u32, input: u32, batch: Batch) -> Result<Vec<Output>, Failure> {
        let name = name_of(function);
        let listed = PLAIN.iter().chain(KEYED).chain(TIMED).find(|(listed, _)| *listed == name);
        match (name, input) {
            ("broadcast-read-again-and-again", 1) => calls::write_broadcast(1 << 20),
            ("broadcast-read-again-and-again", _) => hoard::broadcast_load_repeated(),
            ("broadcast-grows", 1) => hoard::broadcast_grows(&batch),
            ("broadcast-from-the-other-input", 0) => calls::write_broadcast(1),
            ("migrate-from", _) => hoard::value_of_each_key(&batch),
            _ => match listed {
                Some((_, misdeed)) => misdeed(&batch),
                None => Ok(Vec::new()),
            },
        }
    }
}

impl TimerHandler for Evil {
    fn on_timers(function: u32, timers: DueTimers) -> Result<Vec<Output>, Failure> {
        match name_of(function) {
            "timer-loop" => calls::endless(),
            "timer-trap" => unreachable_instruction(),
            "timer-flood-in-handler" => calls::add_timers(timers.domain, 8_000_000),
            "timer-renews-itself" => {
                cofferdam::function::timers::add(timers.domain, &timers.key_of, &timers.times);
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Migration for Evil {
    fn migrate(
        function: u32,
        _state: u32,
        _stored: Form,
        _wanted: Form,
        values: StoredValues,
    ) -> Result<Column, Failure> {
        match name_of(function) {
            "migrate-loop" => calls::endless(),
            "migrate-trap" => unreachable_instruction(),
            "migrate-fewer" => Ok(column(&[])),
            "migrate-bomb" => hoard::memory(),
            _ => Ok(values.values),
        }
    }
}

impl Aggregate for Evil {
    fn add(
        function: u32,
        accumulators: Column,
        _accumulator_of: Vec<u32>,
        _values: RecordValues,
        _timestamps: Timestamps,
    ) -> Result<Column, Failure> {
        match name_of(function) {
            "add-loop" => calls::endless(),
            "add-trap" => unreachable_instruction(),
            "add-fewer" => Ok(column(&[])),
            "add-large" => Ok(column(&vec![vec![b'x'; 18 << 20]; lies::len(&accumulators)])),
            "add-uses-state" => {
                cofferdam::function::state::value_get(0, 0);
                Ok(accumulators)
            }
            _ => Ok(column(&vec![b"1".to_vec(); lies::len(&accumulators)])),
        }
    }

    fn merge(function: u32, left: Column, _right: Column) -> Result<Column, Failure> {
        match name_of(function) {
            "merge-loop" => calls::endless(),
            "merge-fewer" => Ok(column(&[])),
            _ => Ok(left),
        }
    }

    fn finish(function: u32, accumulators: Column, _windows: Windows) -> Result<RecordValues, Failure> {
        match name_of(function) {
            "finish-loop" => calls::endless(),
            "finish-fewer" => Ok(RecordValues::Packed(column(&[]))),
            "finish-malformed" => Ok(RecordValues::Packed(Column { bytes: vec![1, 2, 3], offsets: vec![3, 0] })),
            _ => Ok(RecordValues::Packed(accumulators)),
        }
    }
}

impl Window for Evil {
    fn process(function: u32, _windows: Windows, _inputs: Vec<Elements>) -> Result<Vec<Output>, Failure> {
        match name_of(function) {
            "window-loop" => calls::endless(),
            "window-trap" => unreachable_instruction(),
            "window-output" => Ok(lies::gigabyte()),
            _ => Ok(Vec::new()),
        }
    }
}

impl Join for Evil {
    fn process(function: u32, pairs: Pairs) -> Result<Vec<Output>, Failure> {
        match name_of(function) {
            "join-loop" => calls::endless(),
            "join-trap" => unreachable_instruction(),
            _ => Ok(vec![output(vec![pairs.key_of.len().to_string().into_bytes()])]),
        }
    }
}

fn failure(message: &str) -> Failure {
    Failure { message: message.to_string(), record: None, backtrace: Vec::new() }
}

/// Returns records of the main output, without timestamps.
fn output(values: Vec<Vec<u8>>) -> Output {
    let values = RecordValues::Packed(column(&values));
    Output { index: 0, values, timestamps: Timestamps::None, origins: Vec::new(), keys: None, attributes: None }
}

fn column(values: &[Vec<u8>]) -> Column {
    let mut end = 0;
    let ends = values.iter().map(|value| {
        end += value.len() as u32;
        end
    });
    Column { offsets: std::iter::once(0).chain(ends).collect(), bytes: values.concat() }
}

fn values_of(batch: &Batch) -> Vec<Vec<u8>> {
    match &batch.values {
        RecordValues::Packed(column) => {
            let ends = column.offsets.windows(2);
            ends.map(|ends| column.bytes[ends[0] as usize..ends[1] as usize].to_vec()).collect()
        }
        RecordValues::Fields(_) => Vec::new(),
    }
}

/// Executes the instruction `unreachable`. Aborts on other targets, on which this crate is only checked.
fn unreachable_instruction() -> ! {
    #[cfg(target_arch = "wasm32")]
    std::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}
