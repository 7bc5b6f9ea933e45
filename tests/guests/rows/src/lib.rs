//! The guest of `tests/tests/row_versions.rs`: functions that hold rows in windows and joins, in versions that read other fields. A restore
//! converts the rows from one version to another.

use cofferdam_sdk::prelude::*;

/// A flight without the fields that no function needs.
#[derive(Record)]
struct Departure<'a> {
    tailnum: &'a str,
}

/// The flights of a key so far.
#[derive(Record)]
struct Counted<'a> {
    tailnum: &'a str,
    flights: u64,
}

/// What a window, a group or a pair held.
#[derive(Record)]
pub struct Held {
    tailnum: String,
    what: String,
}

/// The delays in the order of their size.
fn sorted(delays: impl Iterator<Item = Option<i64>>) -> String {
    let mut delays: Vec<Option<i64>> = delays.collect();
    delays.sort_unstable();
    let shown: Vec<String> = delays.into_iter().map(shown).collect();
    shown.join(" ")
}

fn shown(delay: Option<i64>) -> String {
    delay.map_or_else(|| "-".to_owned(), |delay| delay.to_string())
}

/// Makes functions that read these fields, and emit the delays that they held.
macro_rules! version {
    ($module:ident, [$list:literal, $group:literal, $near:literal], { $($fields:tt)* }) => {
        mod $module {
            use super::*;

            #[derive(Record)]
            #[allow(dead_code, reason = "a version reads fields that it does not need")]
            pub struct Flight {
                $($fields)*
            }

            impl Flight {
                fn delay(&self) -> Option<i64> {
                    #[allow(clippy::useless_conversion, reason = "the type differs between versions")]
                    self.dep_delay.map(i64::from)
                }
            }

            fn listed(flights: Elements<Flight>) -> String {
                sorted(flights.values().map(|flight| flight.delay()))
            }

            #[derive(Default)]
            pub struct List;

            #[function(name = $list)]
            impl ProcessWindowFunction for List {
                type Key = String;
                type In = Flight;
                type Out = Held;

                fn process(
                    &mut self,
                    window: &Window<String>,
                    flights: Elements<Flight>,
                    _: &mut Context,
                    out: &mut Collector<Held>,
                ) -> Result {
                    let what = format!("{}: {}", window.start, listed(flights));
                    out.emit(Held { tailnum: window.key().to_owned(), what });
                    Ok(())
                }
            }

            #[derive(Default)]
            pub struct Group;

            #[function(name = $group)]
            impl CoGroupFunction for Group {
                type Key = String;
                type First = Flight;
                type Second = Flight;
                type Out = Held;

                fn co_group(
                    &mut self,
                    window: &Window<String>,
                    first: Elements<Flight>,
                    second: Elements<Flight>,
                    _: &mut Context,
                    out: &mut Collector<Held>,
                ) -> Result {
                    let (first, second) = (listed(first), listed(second));
                    let what = format!("{}: {first} | {second}", window.start);
                    out.emit(Held { tailnum: window.key().to_owned(), what });
                    Ok(())
                }
            }

            #[derive(Default)]
            pub struct Near;

            #[function(name = $near)]
            impl IntervalJoinFunction for Near {
                type Key = String;
                type First = Flight;
                type Second = Flight;
                type Out = Held;

                fn join(
                    &mut self,
                    first: &Flight,
                    second: &Flight,
                    ctx: &mut JoinContext<String>,
                    out: &mut Collector<Held>,
                ) -> Result {
                    let what = format!("{} {}", shown(first.delay()), shown(second.delay()));
                    out.emit(Held { tailnum: ctx.key().to_owned(), what });
                    Ok(())
                }
            }
        }
    };
}

version!(old, ["list-old", "group-old", "near-old"], {
    carrier: String,
    tailnum: String,
    dep_delay: Option<i32>,
});
// In another order, without the carrier, and with a field that may be missing.
version!(new, ["list-new", "group-new", "near-new"], {
    dep_delay: Option<i32>,
    tailnum: String,
    origin: Option<String>,
});
// Stored rows have no such integers.
version!(changed, ["list-changed", "group-changed", "near-changed"], {
    tailnum: String,
    dep_delay: Option<i64>,
});
// Stored rows have no gate.
version!(required, ["list-required", "group-required", "near-required"], {
    tailnum: String,
    dep_delay: Option<i32>,
    gate: String,
});

/// Makes a function that counts the flights of a key of this type.
macro_rules! count {
    ($name:ident, $function:literal, $key:ty) => {
        #[derive(Function)]
        struct $name {
            count: ValueState<u64>,
        }

        #[function(name = $function)]
        impl KeyedProcessFunction for $name {
            type Key = $key;
            type In = Departure<'static>;
            type Out = Counted<'static>;

            fn process_element(
                &mut self,
                flight: Departure,
                _: &mut KeyedContext<$key>,
                out: &mut Collector<Counted<'static>>,
            ) -> Result {
                let flights = self.count.update(|count| (*count += 1, *count).1);
                out.emit(Counted { tailnum: flight.tailnum, flights });
                Ok(())
            }
        }
    };
}

count!(CountByNumber, "count-by-number", u32);
count!(CountByText, "count-by-text", String);

cofferdam_sdk::export!(
    old::List,
    old::Group,
    old::Near,
    new::List,
    new::Group,
    new::Near,
    changed::List,
    changed::Group,
    changed::Near,
    required::List,
    required::Group,
    required::Near,
    CountByNumber,
    CountByText,
);
