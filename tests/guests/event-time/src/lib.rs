//! The guest of the tests of event time: functions with timers, functions that windows call, and functions of two inputs.
//!
//! Records are `KEY,VALUE`; what follows another comma is not looked at. A value that is `bad` fails its record, or the window
//! or pair that it is in.

use cofferdam_sdk::prelude::*;

const HELD: ValueState<String> = ValueState::new("held");

/// Where its key's state is empty it emits INPUT, sets the state and a timer at the watermark + 5; else it clears the state and
/// deletes the timer at the watermark + 4. A timer emits STATE.
#[derive(Default)]
struct Conditional;

#[function(name = "conditional", states(HELD), timers(event))]
impl KeyedProcessFunction for Conditional {
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, record: &str, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        let (key, _) = fields(record)?;
        let watermark = ctx.watermark();
        if ctx.state(HELD).exists() {
            ctx.state(HELD).clear();
            ctx.delete_event_timer(watermark + 4);
        } else {
            out.emit(format!("INPUT:{key}"));
            ctx.state(HELD).set(key.to_owned());
            ctx.register_event_timer(watermark + 5);
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        let held = ctx.state(HELD).get().unwrap_or_default();
        out.emit(format!("STATE:{held} at {}", timer.time));
        Ok(())
    }
}

/// What a timer does beside emitting itself: by its time.
const DELETES: MapState<i64, i64> = MapState::new("deletes");
/// Distance and end of timers that register their next one.
const REPEATS: ValueState<(i64, i64)> = ValueState::new("repeats");

/// Does what the value says: `event T`, `processing T`, `no-event T` and `no-processing T` register and delete a timer, `deletes
/// T U` has the event timer at T delete that at U, `repeats D U` has each event timer register the next one after D, up to U.
/// Timers emit themselves.
#[derive(Default)]
struct Timers;

#[function(name = "timers", states(DELETES, REPEATS), timers(event, processing))]
impl KeyedProcessFunction for Timers {
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, record: &str, ctx: &mut Context, _out: &mut Collector<Text>) -> Result {
        let (_, order) = fields(record)?;
        let mut words = order.split(' ');
        let verb = words.next().unwrap_or_default();
        let times: Vec<i64> = words.map(str::parse).collect::<Result<_, _>>()?;
        match (verb, &times[..]) {
            ("event", &[time]) => ctx.register_event_timer(time),
            ("processing", &[time]) => ctx.register_processing_timer(time),
            ("no-event", &[time]) => ctx.delete_event_timer(time),
            ("no-processing", &[time]) => ctx.delete_processing_timer(time),
            ("deletes", [time, other]) => ctx.state(DELETES).insert(time, *other),
            ("repeats", &[distance, until]) => ctx.state(REPEATS).set((distance, until)),
            _ => return Err(format!("`{order}` says nothing that can be done").into()),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        let key = ctx.key_str()?.to_owned();
        if timer.domain == TimeDomain::Processing {
            out.emit(format!("{key},processing,{}", timer.time));
            return Ok(());
        }
        out.emit(format!("{key},event,{}", timer.time));
        if let Some(other) = ctx.state(DELETES).get(&timer.time) {
            ctx.delete_event_timer(other);
        }
        match ctx.state(REPEATS).get() {
            Some((distance, until)) if timer.time + distance <= until => {
                ctx.register_event_timer(timer.time + distance);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The sum of a window: `KEY,START,END,SUM`.
#[derive(Default)]
struct Sum;

#[function(name = "sum")]
impl AggregateFunction for Sum {
    type In = Text;
    type Accumulator = i64;
    type Out = Text;

    fn create(&mut self) -> i64 {
        0
    }

    fn add(&mut self, sum: &mut i64, record: &str, _ctx: &mut BaseContext) -> Result {
        *sum += fields(record)?.1.parse::<i64>()?;
        Ok(())
    }

    fn merge(&mut self, sum: &mut i64, other: i64) -> Result {
        *sum += other;
        Ok(())
    }

    fn result(&mut self, sum: &i64, window: &Window) -> Result<String> {
        Ok(format!("{},{sum}", bounds(window)?))
    }
}

/// The record of a window with the largest value, and of several the first.
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

const FIRINGS: ValueState<u32> = ValueState::new("firings");
const LARGE: SideOutput<Text> = SideOutput::new("large");

/// The elements of a window and how often it has fired: `KEY,START,END,FIRINGS,VALUE@TIME VALUE@TIME`. One of more than three
/// goes to the side output as well.
#[derive(Default)]
struct Elementwise;

#[function(name = "elements", states(FIRINGS), side_outputs(LARGE))]
impl ProcessWindowFunction for Elementwise {
    type In = Text;
    type Out = Text;

    fn process(
        &mut self,
        window: &Window,
        elements: Elements<Text>,
        ctx: &mut WindowContext,
        out: &mut Collector<Text>,
    ) -> Result {
        let firings = ctx.state(FIRINGS).get_or_default() + 1;
        ctx.state(FIRINGS).set(firings);
        let count = elements.len();
        let line = format!("{},{firings},{}", bounds(window)?, listed(elements)?);
        if count > 3 {
            ctx.output(LARGE, &line);
        }
        out.emit(line);
        Ok(())
    }
}

/// The elements of a window without a state: `KEY,START,END,VALUE@TIME VALUE@TIME`. For windows that grow together.
#[derive(Default)]
struct Session;

#[function(name = "session-elements")]
impl ProcessWindowFunction for Session {
    type In = Text;
    type Out = Text;

    fn process(
        &mut self,
        window: &Window,
        elements: Elements<Text>,
        _ctx: &mut WindowContext,
        out: &mut Collector<Text>,
    ) -> Result {
        out.emit(format!("{},{}", bounds(window)?, listed(elements)?));
        Ok(())
    }
}

const SEEN: MapState<i64, (u32, u32)> = MapState::new("seen");

/// Counts the records of both inputs in each second of event time, and emits them when it is over: `KEY,END,FIRST,SECOND`.
#[derive(Default)]
struct Both;

#[function(name = "both", states(SEEN), timers(event))]
impl CoProcessFunction for Both {
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn process_first(&mut self, record: &str, ctx: &mut Context, _out: &mut Collector<Text>) -> Result {
        fields(record)?;
        let end = second_of(ctx)?;
        ctx.state(SEEN).update(&end, |(first, _)| *first += 1);
        ctx.register_event_timer(end - 1);
        Ok(())
    }

    fn process_second(&mut self, record: &str, ctx: &mut Context, _out: &mut Collector<Text>) -> Result {
        fields(record)?;
        let end = second_of(ctx)?;
        ctx.state(SEEN).update(&end, |(_, second)| *second += 1);
        ctx.register_event_timer(end - 1);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        let end = timer.time + 1;
        let (first, second) = ctx.state(SEEN).get(&end).unwrap_or_default();
        ctx.state(SEEN).remove(&end);
        out.emit(format!("{},{end},{first},{second}", ctx.key_str()?));
        Ok(())
    }
}

/// The first millisecond behind the second of a record.
fn second_of(ctx: &Context) -> Result<i64> {
    let time = ctx.timestamp().ok_or("a record has a time")?;
    Ok(time - time.rem_euclid(1000) + 1000)
}

/// The elements that both inputs brought to a window: `KEY,START,END,FIRST FIRST,SECOND SECOND`.
#[derive(Default)]
struct Grouped;

#[function(name = "grouped")]
impl CoGroupFunction for Grouped {
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn co_group(
        &mut self,
        window: &Window,
        first: Elements<Text>,
        second: Elements<Text>,
        _ctx: &mut WindowContext,
        out: &mut Collector<Text>,
    ) -> Result {
        out.emit(format!("{},{},{}", bounds(window)?, listed(first)?, listed(second)?));
        Ok(())
    }
}

/// The pairs of a window: `KEY,FIRST,SECOND,TIME`.
#[derive(Default)]
struct Joined;

#[function(name = "joined")]
impl JoinFunction for Joined {
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn join(&mut self, first: &&str, second: &&str, ctx: &mut JoinContext, out: &mut Collector<Text>) -> Result {
        out.emit(pair(first, second, ctx)?);
        Ok(())
    }
}

/// The pairs of an interval: `KEY,FIRST,SECOND,TIME`.
#[derive(Default)]
struct Near;

#[function(name = "near")]
impl IntervalJoinFunction for Near {
    type First = Text;
    type Second = Text;
    type Out = Text;

    fn join(&mut self, first: &&str, second: &&str, ctx: &mut JoinContext, out: &mut Collector<Text>) -> Result {
        out.emit(pair(first, second, ctx)?);
        Ok(())
    }
}

fn pair(first: &str, second: &str, ctx: &JoinContext) -> Result<String> {
    let time = ctx.timestamp().unwrap_or(i64::MIN);
    Ok(format!("{},{},{},{time}", ctx.key_str()?, fields(first)?.1, fields(second)?.1))
}

fn bounds(window: &Window) -> Result<String> {
    Ok(format!("{},{},{}", window.key_str()?, window.start_ms, window.end_ms))
}

fn listed(elements: Elements<Text>) -> Result<String> {
    let one = |element: Element<&str>| -> Result<String> {
        Ok(format!("{}@{}", fields(element.value)?.1, element.timestamp.unwrap_or(i64::MIN)))
    };
    Ok(elements.map(one).collect::<Result<Vec<_>>>()?.join(" "))
}

/// Key and value of a record.
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
