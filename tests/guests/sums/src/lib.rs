//! The guest of `tests/tests/rescaling.rs`: sums per key. It is also the guest of `migration.rs`: two versions of
//! a function whose states have the same names and different types.

use cofferdam_sdk::prelude::*;

/// The number of keys. Records are numbers, and the key of a number is its remainder.
const KEYS: u64 = 42;

/// Turns a number into a record whose key and value are its remainder.
#[derive(Default)]
struct Spread;

#[function(name = "spread")]
impl FlatMapFunction for Spread {
    type In = Bytes;
    type Out = Bytes;
    type OutKey = String;

    fn flat_map(&mut self, record: &[u8], _ctx: &mut Context, out: &mut Collector<Bytes, String>) -> Result {
        let key = (number(record)? % KEYS).to_string();
        out.emit_keyed(&key, key.as_bytes());
        Ok(())
    }
}

/// Adds each record to the sum of its key. Emits `key,sum`.
#[derive(Function)]
struct Sum {
    sum: ValueState<u64>,
}

#[function(name = "sum")]
impl KeyedProcessFunction for Sum {
    type Key = String;
    type In = Bytes;
    type Out = Bytes;

    fn process_element(&mut self, record: &[u8], ctx: &mut KeyedContext<String>, out: &mut Collector<Bytes>) -> Result {
        let number = number(record)?;
        let sum = self.sum.get_or_default() + number;
        self.sum.set(sum);
        let line = format!("{},{sum}", ctx.key());
        out.emit(line.as_bytes());
        Ok(())
    }
}

/// Makes a version of the function that has a value, a list and a map for each key, and emits `key,total,latest,by_digit`.
macro_rules! version {
    ($module:ident, $function:literal, $number:ty, [$($older:ty)?]) => {
        mod $module {
            use super::*;

            #[derive(Function)]
            pub struct Keeps {
                #[state(migrate_from($($older)?))]
                total: ValueState<$number>,
                /// The last three records.
                #[state(migrate_from($($older)?))]
                latest: ListState<$number>,
                /// The sum for each last digit.
                #[state(name = "by_digit", migrate_from($($older)?))]
                by_digit: MapState<u64, $number>,
            }

            #[function(name = $function)]
            impl KeyedProcessFunction for Keeps {
                type Key = String;
                type In = Bytes;
                type Out = Bytes;

                fn process_element(
                    &mut self,
                    record: &[u8],
                    ctx: &mut KeyedContext<String>,
                    out: &mut Collector<Bytes>,
                ) -> Result {
                    let digit = number(record)? % 10;
                    let number = <$number>::try_from(number(record)?).map_err(|error| error.to_string())?;
                    let total = self.total.get_or_default() + number;
                    self.total.set(total);
                    self.latest.add(number);
                    self.latest.update(|latest| latest.drain(..latest.len().saturating_sub(3)).count());
                    self.by_digit.update(&digit, |sum| *sum += number);
                    let latest = format!("{:?}", self.latest.get());
                    let by_digit: Vec<_> = self.by_digit.iter().collect();
                    out.emit(format!("{},{total},{latest},{by_digit:?}", ctx.key()).as_bytes());
                    Ok(())
                }
            }
        }
    };
}

version!(old, "keep_old", u32, []);
// Signed numbers have other bytes, so a value that is not migrated is read wrongly.
version!(new, "keep_new", i64, [u32]);

fn number(record: &[u8]) -> Result<u64, FunctionError> {
    let text = std::str::from_utf8(record).map_err(|error| FunctionError::from(error.to_string()))?;
    text.parse().map_err(|error| FunctionError::from(format!("`{text}`: {error}")))
}

cofferdam_sdk::export!(Spread, Sum, old::Keeps, new::Keeps);
