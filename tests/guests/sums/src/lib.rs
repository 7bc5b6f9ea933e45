//! The guest of `tests/tests/rescaling.rs`: sums per key, and the subtask that holds each. And of `migration.rs`: two
//! versions of a function, whose states have the same names and other types.

use cofferdam_sdk::prelude::*;

/// Records are numbers. A number goes to the key that is its remainder by this, and becomes the key's value.
const KEYS: u64 = 42;

/// Turns a number into a record whose key and value are its remainder.
#[derive(Default)]
struct Spread;

#[function(name = "spread")]
impl FlatMapFunction for Spread {
    type In = Bytes;
    type Out = Bytes;

    fn flat_map(&mut self, record: &[u8], _ctx: &mut Context, out: &mut Collector<Bytes>) -> Result {
        let key = (number(record)? % KEYS).to_string();
        out.emit_keyed(&key, key.as_bytes());
        Ok(())
    }
}

const SUM: ValueState<u64> = ValueState::new("sum");

/// Adds each record to the sum of its key. Emits `key,sum,subtask`.
#[derive(Default)]
struct Sum;

#[function(name = "sum", states(SUM))]
impl KeyedProcessFunction for Sum {
    type In = Bytes;
    type Out = Bytes;

    fn process_element(&mut self, record: &[u8], ctx: &mut Context, out: &mut Collector<Bytes>) -> Result {
        let number = number(record)?;
        let mut state = ctx.state(SUM);
        let sum = state.get_or_default() + number;
        state.set(sum);
        let line = format!("{},{sum},{}", ctx.key_str()?, ctx.turn().subtask);
        out.emit(line.as_bytes());
        Ok(())
    }
}

/// Two versions of the function that keeps a value, a list and a map of each key, and emits `key,total,latest,by_digit`.
macro_rules! version {
    ($module:ident, $function:literal, $number:ty, $total:expr, $latest:expr, $by_digit:expr) => {
        mod $module {
            use super::*;

            const TOTAL: ValueState<$number> = $total;
            /// The last three records.
            const LATEST: ListState<$number> = $latest;
            /// The sum for each last digit.
            const BY_DIGIT: MapState<u64, $number> = $by_digit;

            #[derive(Default)]
            pub struct Keeps;

            #[function(name = $function, states(TOTAL, LATEST, BY_DIGIT))]
            impl KeyedProcessFunction for Keeps {
                type In = Bytes;
                type Out = Bytes;

                fn process_element(&mut self, record: &[u8], ctx: &mut Context, out: &mut Collector<Bytes>) -> Result {
                    let digit = number(record)? % 10;
                    let number = <$number>::try_from(number(record)?).map_err(|error| error.to_string())?;
                    let total = ctx.state(TOTAL).get_or_default() + number;
                    ctx.state(TOTAL).set(total);
                    ctx.state(LATEST).add(number);
                    ctx.state(LATEST).update(|latest| latest.drain(..latest.len().saturating_sub(3)).count());
                    ctx.state(BY_DIGIT).update(&digit, |sum| *sum += number);
                    let latest = format!("{:?}", ctx.state(LATEST).get());
                    let by_digit: Vec<_> = ctx.state(BY_DIGIT).iter().collect();
                    out.emit(format!("{},{total},{latest},{by_digit:?}", ctx.key_str()?).as_bytes());
                    Ok(())
                }
            }
        }
    };
}

version!(old, "keep_old", u32, ValueState::new("total"), ListState::new("latest"), MapState::new("by_digit"));
// Signed numbers are other bytes: what is not migrated reads wrong.
version!(
    new,
    "keep_new",
    i64,
    ValueState::new("total").migrate_from::<u32>(),
    ListState::new("latest").migrate_from::<u32>(),
    MapState::new("by_digit").migrate_from::<u32>()
);

fn number(record: &[u8]) -> Result<u64, FunctionError> {
    let text = std::str::from_utf8(record).map_err(|error| FunctionError::from(error.to_string()))?;
    text.parse().map_err(|error| FunctionError::from(format!("`{text}`: {error}")))
}

cofferdam_sdk::export!(Spread, Sum, old::Keeps, new::Keeps);
