//! Tests of records in all kinds of functions, of what records carry beside their values, and of states that hold records.

use super::{Harness, IntervalJoinHarness, WindowHarness, Windows};
use crate::prelude::*;

#[derive(Debug, Clone, PartialEq, Record)]
struct Order {
    item: String,
    cents: Option<u32>,
}

/// The same rows, borrowed.
#[derive(Record)]
struct OrderRef<'a> {
    item: &'a str,
    cents: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Record)]
struct Total {
    orders: u64,
    cents: u64,
}

impl Total {
    fn add(&mut self, cents: Option<u32>) {
        self.orders += 1;
        self.cents += u64::from(cents.unwrap_or_default());
    }
}

fn order(item: &str, cents: u32) -> Order {
    Order { item: item.to_owned(), cents: Some(cents) }
}

#[derive(Function)]
struct Free {
    paid: SideOutput<OrderRef<'static>>,
}

#[function]
impl MapFunction for Free {
    type In = OrderRef<'static>;
    type Out = Order;

    fn map(&mut self, order: OrderRef, _: &mut Context) -> Result<Order> {
        let item = order.item.to_uppercase();
        self.paid.emit(order);
        Ok(Order { item, cents: None })
    }
}

#[test]
fn a_map_reads_and_writes_records() -> Result {
    let mut harness = Harness::<Free>::new();
    harness.push((), OrderRef { item: "tea", cents: Some(3) }, 0)?;
    harness.push((), &OwnedOrderRef { item: "jam".to_owned(), cents: None }, 0)?;
    assert_eq!(harness.take_output()?.iter().map(|order| order.item.as_str()).collect::<Vec<_>>(), ["TEA", "JAM"]);
    assert_eq!(harness.take_side_output(|free| &free.paid)?[0], OwnedOrderRef { item: "tea".into(), cents: Some(3) });
    let error = harness.push_bytes((), &[1], 0).expect_err("the bytes are no row");
    assert!(error.to_string().starts_with("record 0: input is not row: the row ends too early"), "{error}");
    Ok(())
}

/// Keeps records in every kind of state.
#[derive(Function)]
struct Keeps {
    total: ValueState<Total>,
    orders: ListState<Order>,
    by_item: MapState<String, Total>,
    as_json: ValueState<u64, Json<u64>>,
}

#[function]
impl KeyedProcessFunction for Keeps {
    type Key = String;
    type In = Order;
    type Out = Total;

    fn process_element(&mut self, order: Order, _: &mut KeyedContext<String>, out: &mut Collector<Total>) -> Result {
        self.by_item.update(&order.item, |total| total.add(order.cents));
        self.total.update(|total| total.add(order.cents));
        self.orders.add(order);
        self.as_json.update(|count| *count += 1);
        out.emit(self.total.get_ref().ok_or("no total")?);
        Ok(())
    }
}

#[test]
fn states_hold_records_as_rows() -> Result {
    let mut harness = Harness::<Keeps>::new();
    harness.push_batch([("ann", order("tea", 3), 0), ("ann", order("jam", 4), 1)])?;
    let mut harness = Harness::<Keeps>::restore(&harness.snapshot())?;
    harness.push("ann", &order("tea", 5), 2)?;
    assert_eq!(harness.take_output()?, [Total { orders: 3, cents: 12 }]);
    let orders = harness.read_state("ann", |keeps| keeps.orders.get().to_vec());
    assert_eq!(orders, [order("tea", 3), order("jam", 4), order("tea", 5)]);
    assert_eq!(harness.read_state("ann", |keeps| keeps.by_item.get("tea")), Some(Total { orders: 2, cents: 8 }));
    let forms: Vec<_> = harness.description().states.iter().map(|state| &state.form).collect();
    assert_eq!(forms.iter().map(|form| form.codec.as_str()).collect::<Vec<_>>(), ["row", "row", "row", "json"]);
    assert_eq!(forms[0].schema, "{orders:u64,cents:u64}");
    Ok(())
}

/// A later version of [`Total`].
#[derive(Clone, Default, PartialEq, Debug, Record)]
struct NewTotal {
    orders: u64,
    euros: f64,
}

impl From<Total> for NewTotal {
    fn from(old: Total) -> Self {
        NewTotal { orders: old.orders, euros: old.cents as f64 / 100.0 }
    }
}

impl From<NewTotal> for Total {
    fn from(new: NewTotal) -> Self {
        Total { orders: new.orders, cents: (new.euros * 100.0) as u64 }
    }
}

#[derive(Function)]
struct KeepsLater {
    #[state(migrate_from(Total, u64 as Postcard<u64>), migrate_to(Total))]
    total: ValueState<NewTotal>,
    orders: ListState<Order>,
    by_item: MapState<String, Total>,
    as_json: ValueState<u64, Json<u64>>,
}

impl From<u64> for NewTotal {
    fn from(orders: u64) -> Self {
        NewTotal { orders, euros: 0.0 }
    }
}

#[function]
impl KeyedProcessFunction for KeepsLater {
    type Key = String;
    type In = Order;
    type Out = NewTotal;

    fn process_element(&mut self, _: Order, _: &mut KeyedContext<String>, _: &mut Collector<NewTotal>) -> Result {
        Ok(())
    }
}

#[test]
fn a_record_in_state_migrates_and_goes_back() -> Result {
    let mut harness = Harness::<Keeps>::new();
    harness.push("ann", order("tea", 350), 0)?;
    let restored = Harness::<KeepsLater>::restore(&harness.snapshot())?;
    let new = NewTotal { orders: 1, euros: 3.5 };
    assert_eq!(restored.read_state("ann", |keeps| keeps.total.get()), Some(new.clone()));
    let state = &restored.description().states[0];
    let readable: Vec<_> = state.reads.iter().map(|older| older.form.schema.as_str()).collect();
    assert_eq!(readable, ["{orders:u64,cents:u64}", "postcard:u64"]);
    let mut values = crate::column::empty();
    <NewTotal as crate::StateCodec<NewTotal>>::write(&new, &mut values.bytes)?;
    crate::column::end_value(&mut values);
    let back = crate::declaration::migrate::<KeepsLater>(0, &state.form, &state.writes[0], &values);
    assert_eq!(back.expect("it goes back").bytes, [1, 222, 2]);
    let other = crate::declaration::migrate::<KeepsLater>(0, &state.form, &state.form, &values);
    assert!(other.unwrap_err().message.contains("state `total` is stored as"));
    Ok(())
}

#[derive(Function)]
struct Paid {
    open: ValueState<Order>,
}

#[function]
impl CoProcessFunction for Paid {
    type Key = String;
    type First = Order;
    type Second = Total;
    type Out = OrderRef<'static>;

    fn process_first(
        &mut self,
        order: Order,
        _: &mut KeyedContext<String>,
        _: &mut Collector<OrderRef<'static>>,
    ) -> Result {
        self.open.set(order);
        Ok(())
    }

    fn process_second(
        &mut self,
        paid: Total,
        _: &mut KeyedContext<String>,
        out: &mut Collector<OrderRef<'static>>,
    ) -> Result {
        if let Some(order) = self.open.take() {
            out.emit(OrderRef { item: &order.item, cents: Some(paid.cents as u32) });
        }
        Ok(())
    }
}

#[derive(Function)]
struct Limited {
    limits: BroadcastState<String, Total>,
}

#[function]
impl BroadcastProcessFunction for Limited {
    type Key = String;
    type In = OrderRef<'static>;
    type Broadcast = Order;
    type Out = Order;

    fn process_element(&mut self, order: OrderRef, _: &mut KeyedContext<String>, out: &mut Collector<Order>) -> Result {
        let limit = self.limits.get_ref(order.item).map_or(u64::MAX, |limit| limit.cents);
        if u64::from(order.cents.unwrap_or_default()) <= limit {
            out.emit(Order { item: order.item.to_owned(), cents: order.cents });
        }
        Ok(())
    }

    fn process_broadcast(&mut self, limit: Order, ctx: &mut BroadcastContext, _: &mut Collector<Order>) -> Result {
        let cents = limit.cents.unwrap_or_default().into();
        self.limits.write(ctx).insert(&limit.item, Total { orders: 0, cents });
        Ok(())
    }
}

#[test]
fn functions_of_two_inputs_read_records() -> Result {
    let mut paid = Harness::<Paid>::new();
    paid.push_first("ann", order("tea", 3), 0)?;
    paid.push_second("ann", Total { orders: 1, cents: 5 }, 0)?;
    assert_eq!(paid.take_output()?, [OwnedOrderRef { item: "tea".into(), cents: Some(5) }]);
    let mut limited = Harness::<Limited>::new();
    limited.push_broadcast(order("tea", 4), 0)?;
    for cents in [3, 5] {
        limited.push("ann", OrderRef { item: "tea", cents: Some(cents) }, 0)?;
    }
    assert_eq!(limited.take_output()?, [order("tea", 3)]);
    let description = limited.description();
    assert_eq!([&description.inputs[0], &description.inputs[1]].map(|port| port.key_type.as_str()), ["string", ""]);
    Ok(())
}

#[derive(Function)]
struct Totals;

#[function]
impl AggregateFunction for Totals {
    type Key = String;
    type In = OrderRef<'static>;
    type Accumulator = Total;
    type Out = OrderRef<'static>;

    fn create(&mut self) -> Total {
        Total::default()
    }

    fn add(&mut self, total: &mut Total, order: OrderRef, _: &mut Context) -> Result {
        total.add(order.cents);
        Ok(())
    }

    fn merge(&mut self, total: &mut Total, other: Total) -> Result {
        total.orders += other.orders;
        total.cents += other.cents;
        Ok(())
    }

    fn result(&mut self, total: &Total, window: &Window<String>) -> Result<OwnedOrderRef> {
        Ok(OwnedOrderRef { item: window.key().to_owned(), cents: Some(total.cents as u32) })
    }
}

#[derive(Function)]
struct Dearest;

#[function]
impl ReduceFunction for Dearest {
    type In = OrderRef<'static>;

    fn reduce(&mut self, dearest: OwnedOrderRef, order: OwnedOrderRef) -> Result<OwnedOrderRef> {
        Ok(if order.cents > dearest.cents { order } else { dearest })
    }
}

#[derive(Function)]
struct Listed {
    firings: ValueState<Total>,
}

#[function]
impl ProcessWindowFunction for Listed {
    type Key = String;
    type In = OrderRef<'static>;
    type Out = Order;

    fn process(
        &mut self,
        _: &Window<String>,
        elements: Elements<OrderRef<'static>>,
        _: &mut Context,
        out: &mut Collector<Order>,
    ) -> Result {
        self.firings.update(|total| total.orders += 1);
        for order in elements.values() {
            out.emit(Order { item: order.item.to_owned(), cents: order.cents });
        }
        Ok(())
    }
}

#[test]
fn windows_fold_and_list_records() -> Result {
    let windows = || Windows::sliding(Duration::from_secs(2), Duration::from_secs(1));
    let orders = [(order("tea", 3), 0), (order("jam", 5), 1_000), (order("pie", 4), 1_500)];
    let (mut totals, mut dearest) = (WindowHarness::<Totals>::new(windows()), WindowHarness::<Dearest>::new(windows()));
    let mut listed = WindowHarness::<Listed>::new(windows());
    for (Order { item, cents }, time) in &orders {
        totals.push("ann", OrderRef { item, cents: *cents }, *time)?;
        dearest.push("ann", OrderRef { item, cents: *cents }, *time)?;
        listed.push("ann", OrderRef { item, cents: *cents }, *time)?;
    }
    for harness in [&mut totals.advance_watermark(1_999), &mut dearest.advance_watermark(1_999)] {
        std::mem::replace(harness, Ok(()))?;
    }
    listed.advance_watermark(1_999)?;
    let cents: Vec<_> = totals.take_emitted()?.into_iter().map(|total| (total.value.cents, total.timestamp)).collect();
    assert_eq!(cents, [(Some(3), Some(999.into())), (Some(12), Some(1_999.into()))]);
    assert_eq!(dearest.take_output()?.into_iter().map(|order| order.item).collect::<Vec<_>>(), ["tea", "jam"]);
    assert_eq!(listed.take_output()?.len(), 4);
    let accumulator = &totals.description().states[0].form;
    assert_eq!((accumulator.codec.as_str(), accumulator.schema.as_str()), ("row", "{orders:u64,cents:u64}"));
    assert_eq!(dearest.description().states[0].form.schema, "{item:string,cents:u32?}");
    Ok(())
}

#[derive(Function)]
struct Unpaid;

#[function]
impl CoGroupFunction for Unpaid {
    type Key = String;
    type First = OrderRef<'static>;
    type Second = Total;
    type Out = Order;

    fn co_group(
        &mut self,
        _: &Window<String>,
        orders: Elements<OrderRef<'static>>,
        paid: Elements<Total>,
        _: &mut Context,
        out: &mut Collector<Order>,
    ) -> Result {
        for order in orders.values().skip(paid.len()) {
            out.emit(Order { item: order.item.to_owned(), cents: order.cents });
        }
        Ok(())
    }
}

#[derive(Function)]
struct Joined;

#[function]
impl JoinFunction for Joined {
    type Key = String;
    type First = OrderRef<'static>;
    type Second = Total;
    type Out = OrderRef<'static>;

    fn join(
        &mut self,
        order: &OrderRef,
        paid: &Total,
        _: &mut JoinContext<String>,
        out: &mut Collector<OrderRef<'static>>,
    ) -> Result {
        out.emit(OrderRef { item: order.item, cents: Some(paid.cents as u32) });
        Ok(())
    }
}

#[derive(Function)]
struct Near;

#[function]
impl IntervalJoinFunction for Near {
    type Key = String;
    type First = OrderRef<'static>;
    type Second = Total;
    type Out = OrderRef<'static>;

    fn join(
        &mut self,
        order: &OrderRef,
        _: &Total,
        ctx: &mut JoinContext<String>,
        out: &mut Collector<OrderRef<'static>>,
    ) -> Result {
        out.emit_with(order).header("key", ctx.key());
        Ok(())
    }
}

#[test]
fn joins_read_records() -> Result {
    let tea = OrderRef { item: "tea", cents: None };
    let paid = Total { orders: 1, cents: 7 };
    let mut unpaid = WindowHarness::<Unpaid>::new(Windows::tumbling(Duration::from_secs(1)));
    unpaid.push_first("ann", &tea, 0)?;
    unpaid.push_first("ann", &tea, 1)?;
    unpaid.push_second("ann", &paid, 2)?;
    unpaid.advance_watermark(999)?;
    assert_eq!(unpaid.take_output()?, [Order { item: "tea".into(), cents: None }]);
    let mut joined = WindowHarness::<Joined>::new(Windows::global(2));
    joined.push_first("ann", &tea, 0)?;
    joined.push_second("ann", &paid, 2)?;
    assert_eq!(joined.take_emitted()?[0].timestamp, Some(Timestamp::MAX), "the last moment of a global window");
    let mut near = IntervalJoinHarness::<Near>::new(0, 5);
    near.push_first("ann", &tea, 0)?;
    near.push_second("ann", &paid, 2)?;
    let emitted = near.take_emitted()?;
    assert_eq!((emitted[0].timestamp, &emitted[0].headers[0]), (Some(2.into()), &("key".to_owned(), b"ann".to_vec())));
    Ok(())
}

/// Emits what it sees of a record beside its value.
#[derive(Function)]
struct Carries {
    copies: SideOutput<Text>,
}

#[function(timers(processing))]
impl KeyedProcessFunction for Carries {
    type Key = u32;
    type In = Text;
    type Out = Text;
    type OutKey = (u32, String);

    fn process_element(
        &mut self,
        text: &str,
        ctx: &mut KeyedContext<u32>,
        out: &mut Collector<Text, (u32, String)>,
    ) -> Result {
        let attributes = ctx.attributes();
        let trace = attributes.header("trace").unwrap_or(b"none").to_vec();
        out.emit_with(text).header("trace", &trace).header("from", attributes.topic().unwrap_or("?")).key((1, "a"));
        self.copies.emit_with(text).header("copy", "yes").timestamp(Timestamp::from(9));
        out.emit(format!("{}", attributes.offset().unwrap_or(0)));
        out.emit_with("later").timestamp(Timestamp::from(50)).key((1, "b")).key((2, "c"));
        ctx.observe("length", text.len() as f64);
        ctx.debug(format_args!("{text:?}"));
        ctx.register_processing_time_timer(Timestamp::from(100));
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, _: &mut KeyedContext<u32>, out: &mut Collector<Text, (u32, String)>) -> Result {
        out.emit("timer");
        out.emit_with_timestamp("timer", Timestamp::from(7));
        Ok(())
    }
}

#[test]
fn records_carry_headers_keys_and_timestamps() -> Result {
    let mut harness = Harness::<Carries>::new();
    harness.push_with_attributes(7, "x", 5, &[(":topic", b"t"), (":offset", b"12"), ("trace", b"\x01")])?;
    harness.push(7, "y", i64::MIN)?;
    let emitted = harness.take_emitted()?;
    let shown: Vec<_> = emitted.iter().map(|e| (e.value.as_str(), e.timestamp.map(Timestamp::as_millis))).collect();
    let later = ("later", Some(50));
    assert_eq!(shown, [("x", Some(5)), ("12", Some(5)), later, ("y", None), ("0", None), later]);
    let keys: Vec<_> = emitted.iter().map(|e| e.key.clone().unwrap_or_default()).collect();
    assert_eq!(keys[..3], [b"1:11:a".to_vec(), vec![], b"1:21:c".to_vec()]);
    let headers = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    assert_eq!(emitted[0].headers, [headers("trace", b"\x01"), headers("from", b"t")]);
    assert!(emitted[1].headers.is_empty() && emitted[2].headers.is_empty());
    assert_eq!(emitted[3].headers[1], headers("from", b"?"));
    assert_eq!(harness.take_side_output(|carries| &carries.copies)?, ["x", "y"]);
    assert_eq!((harness.observations("length"), harness.logs()[1].message.as_str()), (vec![1.0, 1.0], "\"y\""));
    harness.advance_processing_time(100)?;
    let times: Vec<_> = harness.take_emitted()?.into_iter().map(|e| e.timestamp.map(Timestamp::as_millis)).collect();
    assert_eq!(times, [None, Some(7)], "a timer of processing time has no timestamp");
    Ok(())
}

#[derive(Default)]
struct Draws;

#[function]
impl KeyedProcessFunction for Draws {
    type Key = String;
    type In = Bytes;
    type Out = Json<(u64, u64)>;

    fn process_element(
        &mut self,
        _: &[u8],
        ctx: &mut KeyedContext<String>,
        out: &mut Collector<Json<(u64, u64)>>,
    ) -> Result {
        out.emit((ctx.random(), ctx.random()));
        Ok(())
    }
}

#[test]
fn random_numbers_do_not_depend_on_how_records_are_cut_into_batches() -> Result {
    let (mut one, mut other) = (Harness::<Draws>::new(), Harness::<Draws>::new());
    let keys = ["a", "a", "b", "a"];
    one.push_batch(keys.map(|key| (key, b"", 0)))?;
    other.push_batch(keys[..1].iter().map(|key| (key, b"", 0)))?;
    let mut other = Harness::<Draws>::restore(&other.snapshot()).map(|restored| (other, restored))?;
    other.1.push_batch(keys[1..].iter().map(|key| (key, b"", 0)))?;
    let drawn = one.take_output()?;
    assert_eq!(drawn, [other.0.take_output()?, other.1.take_output()?].concat());
    let mut numbers: Vec<_> = drawn.iter().flat_map(|&(first, second)| [first, second]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 8, "{drawn:?}");
    Ok(())
}

/// Has an error with causes.
#[derive(Default)]
struct Parses;

#[derive(Debug)]
struct Unreadable(std::num::ParseIntError);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("unreadable")
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[function]
impl MapFunction for Parses {
    type In = Text;
    type Out = Json<u64>;

    fn map(&mut self, text: &str, _: &mut Context) -> Result<u64> {
        Ok(text.parse().map_err(Unreadable)?)
    }
}

#[test]
fn the_causes_of_an_error_are_its_backtrace() {
    use crate::bindings::cofferdam::function::types::{Batch, Column, RecordValues, Timestamps};
    let values = RecordValues::Packed(Column { bytes: b"x".to_vec(), offsets: vec![0, 1] });
    let keys = crate::column::empty();
    let batch = Batch { values, timestamps: Timestamps::None, keys, key_of: vec![], attributes: None };
    let failure = Harness::<Parses>::new().instance().process(0, batch).unwrap_err();
    assert_eq!(failure.message, "unreadable: invalid digit found in string");
    assert_eq!(failure.backtrace, ["caused by: invalid digit found in string"]);
}
