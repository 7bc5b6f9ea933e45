//! The guest of the test of changed rows: functions in several versions, which read other fields of the same records. Their output does
//! not depend on the version, so that a job that changes the version half-way gives the output of one that does not.

use cofferdam_sdk::prelude::*;

/// The fields before the change.
#[derive(Record)]
struct Old<'a> {
    id: &'a str,
    value: i64,
    note: &'a str,
}

/// After it: reordered, without `id`, and with a field that the source does not have.
#[derive(Record)]
struct New<'a> {
    note: &'a str,
    extra: Option<u8>,
    value: i64,
}

/// A field of another type.
#[derive(Record)]
struct Narrow<'a> {
    value: i32,
    note: &'a str,
}

/// What an element or a record shows of itself.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Old<'_> {
    fn shown(&self) -> String {
        debug_assert!(!self.id.is_empty());
        format!("{}={}", self.note, self.value)
    }
}

impl Shown for New<'_> {
    fn shown(&self) -> String {
        debug_assert!(self.extra.is_none());
        format!("{}={}", self.note, self.value)
    }
}

impl Shown for Narrow<'_> {
    fn shown(&self) -> String {
        format!("{}={}", self.note, self.value)
    }
}

fn listed<T: Shown>(elements: impl Iterator<Item = T>) -> String {
    elements.map(|element| element.shown()).collect::<Vec<_>>().join(" ")
}

/// Declares the functions that read records of the type `$record`.
macro_rules! version {
    ($record:ident, $windows:ident $windows_name:literal, $groups:ident $groups_name:literal, $joins:ident $joins_name:literal) => {
        /// Emits the elements of a window.
        #[derive(Default)]
        struct $windows;

        #[function(name = $windows_name)]
        impl ProcessWindowFunction for $windows {
            type Key = String;
            type In = $record<'static>;
            type Out = Text;

            fn process(
                &mut self,
                window: &Window<String>,
                elements: Elements<$record<'static>>,
                _: &mut Context,
                out: &mut Collector<Text>,
            ) -> Result {
                let elements = listed(elements.map(|element| element.value));
                out.emit(format!("{},{},{elements}", window.key(), window.start));
                Ok(())
            }
        }

        /// Emits the elements of both inputs of a window.
        #[derive(Default)]
        struct $groups;

        #[function(name = $groups_name)]
        impl CoGroupFunction for $groups {
            type Key = String;
            type First = $record<'static>;
            type Second = $record<'static>;
            type Out = Text;

            fn co_group(
                &mut self,
                window: &Window<String>,
                first: Elements<$record<'static>>,
                second: Elements<$record<'static>>,
                _: &mut Context,
                out: &mut Collector<Text>,
            ) -> Result {
                let first = listed(first.map(|element| element.value));
                let second = listed(second.map(|element| element.value));
                out.emit(format!("{},{},{first}|{second}", window.key(), window.start));
                Ok(())
            }
        }

        /// Emits pairs.
        #[derive(Default)]
        struct $joins;

        #[function(name = $joins_name)]
        impl IntervalJoinFunction for $joins {
            type Key = String;
            type First = $record<'static>;
            type Second = $record<'static>;
            type Out = Text;

            fn join(
                &mut self,
                first: &$record,
                second: &$record,
                ctx: &mut JoinContext<String>,
                out: &mut Collector<Text>,
            ) -> Result {
                out.emit(format!("{},{}|{}", ctx.key(), first.shown(), second.shown()));
                Ok(())
            }
        }
    };
}

version!(Old, WindowsOld "windows-old", GroupsOld "groups-old", JoinsOld "joins-old");
version!(New, WindowsNew "windows-new", GroupsNew "groups-new", JoinsNew "joins-new");
version!(Narrow, WindowsNarrow "windows-narrow", GroupsNarrow "groups-narrow", JoinsNarrow "joins-narrow");

/// The state of a key before the change.
#[derive(Clone, Default, Record)]
struct SumOld {
    records: u64,
    sum: i64,
    last: String,
}

/// After it.
#[derive(Clone, Default, Record)]
struct SumNew {
    largest: Option<i64>,
    sum: i64,
    records: u64,
}

/// After a change that cannot be converted.
#[derive(Clone, Default, Record)]
struct SumNarrow {
    sum: i32,
}

/// Counts and sums the values of a key.
#[derive(Function)]
struct SumsOld {
    sum: ValueState<SumOld>,
}

#[function(name = "sums-old")]
impl KeyedProcessFunction for SumsOld {
    type Key = String;
    type In = Old<'static>;
    type Out = Text;

    fn process_element(&mut self, record: Old, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let state = self.sum.update(|state| {
            state.records += 1;
            state.sum += record.value;
            state.last = record.note.to_owned();
            state.clone()
        });
        out.emit(format!("{},{},{}", ctx.key(), state.records, state.sum));
        Ok(())
    }
}

/// The same with other fields, in the records and in the state.
#[derive(Function)]
struct SumsNew {
    sum: ValueState<SumNew>,
}

#[function(name = "sums-new")]
impl KeyedProcessFunction for SumsNew {
    type Key = String;
    type In = New<'static>;
    type Out = Text;

    fn process_element(&mut self, record: New, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let state = self.sum.update(|state| {
            state.records += 1;
            state.sum += record.value;
            state.largest = state.largest.max(Some(record.value));
            state.clone()
        });
        out.emit(format!("{},{},{}", ctx.key(), state.records, state.sum));
        Ok(())
    }
}

/// Sums values in a state that cannot hold those of the other versions.
#[derive(Function)]
struct SumsNarrow {
    sum: ValueState<SumNarrow>,
}

#[function(name = "sums-narrow")]
impl KeyedProcessFunction for SumsNarrow {
    type Key = String;
    type In = Narrow<'static>;
    type Out = Text;

    fn process_element(&mut self, record: Narrow, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let state = self.sum.update(|state| {
            state.sum += record.value;
            state.clone()
        });
        out.emit(format!("{},{}", ctx.key(), state.sum));
        Ok(())
    }
}

/// Reads keys of another type.
#[derive(Function)]
struct SumsByNumber {
    sum: ValueState<SumOld>,
}

#[function(name = "sums-by-number")]
impl KeyedProcessFunction for SumsByNumber {
    type Key = i64;
    type In = New<'static>;
    type Out = Text;

    fn process_element(&mut self, record: New, ctx: &mut KeyedContext<i64>, out: &mut Collector<Text>) -> Result {
        let sum = self.sum.update(|state| {
            state.sum += record.value;
            state.sum
        });
        out.emit(format!("{},{sum}", ctx.key()));
        Ok(())
    }
}

cofferdam_sdk::export!(
    WindowsOld,
    WindowsNew,
    WindowsNarrow,
    GroupsOld,
    GroupsNew,
    GroupsNarrow,
    JoinsOld,
    JoinsNew,
    JoinsNarrow,
    SumsOld,
    SumsNew,
    SumsNarrow,
    SumsByNumber
);
