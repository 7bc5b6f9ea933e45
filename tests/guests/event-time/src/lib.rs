//! The guest of the tests of event time: functions with timers, functions that windows call, and functions of two inputs.
//!
//! Records are `KEY,VALUE`; the text after another comma is ignored. The value `bad` fails its record, or its window or pair.

use cofferdam_sdk::prelude::*;

/// If the state of the key is empty, emits INPUT, sets the state and registers a timer at the watermark + 5. Otherwise clears the state and
/// deletes the timer at the watermark + 4. A timer emits STATE.
#[derive(Function)]
struct Conditional {
    held: ValueState<String>,
}

#[function(name = "conditional", timers(event))]
impl KeyedProcessFunction for Conditional {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, record: &str, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let (key, _) = fields(record)?;
        let watermark = ctx.watermark();
        if self.held.exists() {
            self.held.clear();
            ctx.delete_event_time_timer(watermark + Duration::from_millis(4));
        } else {
            out.emit(format!("INPUT:{key}"));
            self.held.set(key.to_owned());
            ctx.register_event_time_timer(watermark + Duration::from_millis(5));
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let held = self.held.get().unwrap_or_default();
        out.emit(format!("STATE:{held} at {}", timer.time));
        Ok(())
    }
}

/// Executes the command in the value. `event T` and `processing T` register a timer, `no-event T` and `no-processing T` delete one.
/// `deletes T U` makes the event timer at T delete the one at U. `repeats D U` makes each event timer register the next one after D, up
/// to U. Timers emit themselves.
#[derive(Function)]
struct Timers {
    /// For a timer, by its time, the time of the timer that it deletes.
    deletes: MapState<i64, i64>,
    /// Distance and end of timers that register their next one.
    repeats: ValueState<(i64, i64)>,
}

#[function(name = "timers", timers(event, processing))]
impl KeyedProcessFunction for Timers {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, record: &str, ctx: &mut KeyedContext<String>, _out: &mut Collector<Text>) -> Result {
        let (_, order) = fields(record)?;
        let mut words = order.split(' ');
        let verb = words.next().unwrap_or_default();
        let times: Vec<i64> = words.map(str::parse).collect::<Result<_, _>>()?;
        match (verb, &times[..]) {
            ("event", &[time]) => ctx.register_event_time_timer(time.into()),
            ("processing", &[time]) => ctx.register_processing_time_timer(time.into()),
            ("no-event", &[time]) => ctx.delete_event_time_timer(time.into()),
            ("no-processing", &[time]) => ctx.delete_processing_time_timer(time.into()),
            ("deletes", [time, other]) => self.deletes.insert(time, *other),
            ("repeats", &[distance, until]) => self.repeats.set((distance, until)),
            _ => return Err(format!("`{order}` is not a command").into()),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let key = ctx.key().to_owned();
        if timer.domain == TimeDomain::Processing {
            out.emit(format!("{key},processing,{}", timer.time));
            return Ok(());
        }
        let time = timer.time.as_millis();
        out.emit(format!("{key},event,{time}"));
        if let Some(other) = self.deletes.get(&time) {
            ctx.delete_event_time_timer(other.into());
        }
        match self.repeats.get() {
            Some((distance, until)) if time + distance <= until => {
                ctx.register_event_time_timer((time + distance).into());
            }
            _ => {}
        }
        Ok(())
    }
}

/// Emits the sum of a window: `KEY,START,END,SUM`.
#[derive(Default)]
struct Sum;

#[function(name = "sum")]
impl AggregateFunction for Sum {
    type Key = String;
    type In = Text;
    type Accumulator = i64;
    type Out = Text;

    fn create(&mut self) -> i64 {
        0
    }

    fn add(&mut self, sum: &mut i64, record: &str, _ctx: &mut Context) -> Result {
        *sum += fields(record)?.1.parse::<i64>()?;
        Ok(())
    }

    fn merge(&mut self, sum: &mut i64, other: i64) -> Result {
        *sum += other;
        Ok(())
    }

    fn result(&mut self, sum: &i64, window: &Window<String>) -> Result<String> {
        Ok(format!("{},{sum}", bounds(window)))
    }
}

/// Emits the record of a window with the largest value; the first one among equals.
#[derive(Default)]
struct Largest;

#[function(name = "largest")]
impl ReduceFunction for Largest {
    type In = Text;

    fn reduce(&mut self, largest: String, record: String) -> Result<String> {
        let number = |record: &str| -> Result<i64> { Ok(fields(record)?.1.parse()?) };
        Ok(if number(&record)? > number(&largest)? { record } else { largest })
    }
}

/// Emits the elements of a window and how often it has fired: `KEY,START,END,FIRINGS,VALUE@TIME VALUE@TIME`. A window with more than three
/// elements goes to the side output as well.
#[derive(Function)]
struct Elementwise {
    firings: ValueState<u32>,
    large: SideOutput<Text>,
}

#[function(name = "elements")]
impl ProcessWindowFunction for Elementwise {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process(
        &mut self,
        window: &Window<String>,
        elements: Elements<Text>,
        _ctx: &mut Context,
        out: &mut Collector<Text>,
    ) -> Result {
        let firings = self.firings.get_or_default() + 1;
        self.firings.set(firings);
        let count = elements.len();
        let line = format!("{},{firings},{}", bounds(window), listed(elements)?);
        if count > 3 {
            self.large.emit(&line);
        }
        out.emit(line);
        Ok(())
    }
}

/// Emits the elements of a window, without a state, for session windows: `KEY,START,END,VALUE@TIME VALUE@TIME`.
#[derive(Default)]
struct Session;

#[function(name = "session-elements")]
impl ProcessWindowFunction for Session {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process(
        &mut self,
        window: &Window<String>,
        elements: Elements<Text>,
        _ctx: &mut Context,
        out: &mut Collector<Text>,
    ) -> Result {
        out.emit(format!("{},{}", bounds(window), listed(elements)?));
        Ok(())
    }
}

/// Counts the records of both inputs in each second of event time, and emits them when it is over: `KEY,END,FIRST,SECOND`.
#[derive(Function)]
struct Both {
    /// The number of records of both inputs in each second, by the end of the second.
    seen: MapState<Timestamp, (u32, u32)>,
}

#[function(name = "both", timers(event))]
impl CoProcessFunction for Both {
    type Key = String;
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn process_first(&mut self, record: &str, ctx: &mut KeyedContext<String>, _out: &mut Collector<Text>) -> Result {
        fields(record)?;
        let end = second_of(ctx)?;
        self.seen.update(&end, |(first, _)| *first += 1);
        ctx.register_event_time_timer(end - Duration::from_millis(1));
        Ok(())
    }

    fn process_second(&mut self, record: &str, ctx: &mut KeyedContext<String>, _out: &mut Collector<Text>) -> Result {
        fields(record)?;
        let end = second_of(ctx)?;
        self.seen.update(&end, |(_, second)| *second += 1);
        ctx.register_event_time_timer(end - Duration::from_millis(1));
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let end = timer.time + Duration::from_millis(1);
        let (first, second) = self.seen.get(&end).unwrap_or_default();
        self.seen.remove(&end);
        out.emit(format!("{},{end},{first},{second}", ctx.key()));
        Ok(())
    }
}

/// Returns the first millisecond after the second of a record.
fn second_of(ctx: &Context) -> Result<Timestamp> {
    const SECOND: Duration = Duration::from_secs(1);
    Ok(ctx.require_timestamp()?.floor(SECOND) + SECOND)
}

/// Emits the elements of both inputs in a window: `KEY,START,END,FIRST FIRST,SECOND SECOND`.
#[derive(Default)]
struct Grouped;

#[function(name = "grouped")]
impl CoGroupFunction for Grouped {
    type Key = String;
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn co_group(
        &mut self,
        window: &Window<String>,
        first: Elements<Text>,
        second: Elements<Text>,
        _ctx: &mut Context,
        out: &mut Collector<Text>,
    ) -> Result {
        out.emit(format!("{},{},{}", bounds(window), listed(first)?, listed(second)?));
        Ok(())
    }
}

/// Emits the pairs of a window: `KEY,FIRST,SECOND,TIME`.
#[derive(Default)]
struct Joined;

#[function(name = "joined")]
impl JoinFunction for Joined {
    type Key = String;
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn join(
        &mut self,
        first: &&str,
        second: &&str,
        ctx: &mut JoinContext<String>,
        out: &mut Collector<Text>,
    ) -> Result {
        out.emit(pair(first, second, ctx)?);
        Ok(())
    }
}

/// Emits the pairs of an interval: `KEY,FIRST,SECOND,TIME`.
#[derive(Default)]
struct Near;

#[function(name = "near")]
impl IntervalJoinFunction for Near {
    type Key = String;
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn join(
        &mut self,
        first: &&str,
        second: &&str,
        ctx: &mut JoinContext<String>,
        out: &mut Collector<Text>,
    ) -> Result {
        out.emit(pair(first, second, ctx)?);
        Ok(())
    }
}

fn pair(first: &str, second: &str, ctx: &JoinContext<String>) -> Result<String> {
    let time = ctx.timestamp().unwrap_or(Timestamp::MIN);
    Ok(format!("{},{},{},{time}", ctx.key(), fields(first)?.1, fields(second)?.1))
}

fn bounds(window: &Window<String>) -> String {
    format!("{},{},{}", window.key(), window.start, window.end)
}

fn listed(elements: Elements<Text>) -> Result<String> {
    let one = |element: Element<&str>| -> Result<String> {
        Ok(format!("{}@{}", fields(element.value)?.1, element.timestamp.unwrap_or(Timestamp::MIN)))
    };
    Ok(elements.map(one).collect::<Result<Vec<_>>>()?.join(" "))
}

/// Returns the key and the value of a record.
fn fields(record: &str) -> Result<(&str, &str)> {
    let mut fields = record.split(',');
    match (fields.next(), fields.next()) {
        (Some(_), Some("bad")) => Err("a bad record".into()),
        (Some(key), Some(value)) => Ok((key, value)),
        _ => Err("a record is KEY,VALUE".into()),
    }
}

cofferdam_sdk::export!(Conditional, Timers, Sum, Largest, Elementwise, Session, Both, Grouped, Joined, Near);

#[cfg(test)]
mod tests;
