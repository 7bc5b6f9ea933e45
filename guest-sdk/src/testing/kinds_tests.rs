//! Tests of maps, reducing, aggregating and broadcast state, times to live, and types that change.

use super::Harness;
use crate::prelude::*;
use serde::{Deserialize, Serialize};

/// Concatenates the added texts and counts them.
struct Joined;

impl Aggregator for Joined {
    type Input = String;
    type Accumulator = (u32, String);
    type Output = String;

    fn create() -> (u32, String) {
        (0, String::new())
    }

    fn add((count, text): &mut (u32, String), value: String) {
        *count += 1;
        text.push_str(&value);
    }

    fn result((count, text): &(u32, String)) -> String {
        format!("{count}:{text}")
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Executes the steps that each record names, so that every test reads as a script.
#[derive(Function)]
struct Kinds {
    seen: MapState<String, u32>,
    #[state(ttl = SECOND * 10)]
    by_number: MapState<(i32, String), u32>,
    sum: ReducingState<i64, Sum>,
    #[state(ttl = Ttl::new(Duration::from_millis(10)).refresh_on_read())]
    least: ReducingState<i64, Min>,
    rules: BroadcastState<String, i64>,
    joined: AggregatingState<Joined>,
    #[state(ttl = SECOND)]
    last: ListState<String>,
    #[state(ttl = Ttl::new(SECOND).return_expired())]
    held: ValueState<String>,
    #[state(ttl = Ttl::new(SECOND).return_expired())]
    shown: MapState<String, i64>,
    #[state(ttl = Ttl::new(SECOND).return_expired())]
    shown_last: ListState<String>,
}

#[function]
impl BroadcastProcessFunction for Kinds {
    type Key = String;
    type In = Text;
    type Broadcast = Text;
    type Out = Text;

    fn process_element(&mut self, line: &str, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        for step in line.split("; ") {
            let mut words = step.split(' ');
            let (verb, first) = (words.next().unwrap_or_default(), words.next().unwrap_or("0"));
            let second: i64 = words.next().unwrap_or("0").parse()?;
            let seen = &mut self.seen;
            match verb {
                "get" => out.emit(format!("{:?}", seen.get(first))),
                "get-all" => out.emit(format!("{:?}", seen.get_all(first.split(',')))),
                "put" => seen.insert(first, second as u32),
                "count" => out.emit(seen.update(first, |count| (*count += 1, *count).1).to_string()),
                "remove" => seen.remove(first),
                "clear" => seen.clear(),
                "all" => out.emit(entries(seen.iter())),
                "from" => out.emit(entries(seen.range(first.to_owned()..))),
                "behind-until" => {
                    let (start, end) = first.split_once(',').ok_or("two keys")?;
                    let bounds =
                        (std::ops::Bound::Excluded(start.to_owned()), std::ops::Bound::Included(end.to_owned()));
                    out.emit(entries(seen.range(bounds)));
                }
                "take-first" => {
                    let next = seen.keys().next();
                    next.iter().for_each(|key| seen.remove(key.as_str()));
                    out.emit(next.unwrap_or_default());
                }
                "take-from" => {
                    let next = seen.range(first.to_owned()..).next().map(|(key, _)| key);
                    next.iter().for_each(|key| seen.remove(key.as_str()));
                    out.emit(next.unwrap_or_default());
                }
                "is-empty" => out.emit(seen.is_empty().to_string()),
                "keys" => out.emit(seen.keys().collect::<Vec<_>>().join(",")),
                "number" => self.by_number.insert(&(second as i32, first.to_owned()), 1),
                "numbers" => out.emit(format!("{:?}", self.by_number.keys().collect::<Vec<_>>())),
                "sum" => self.sum.add(second),
                "no-sum" => self.sum.clear(),
                "least" => self.least.add(second),
                "show-least" => out.emit(format!("{:?}", self.least.get())),
                "join" => self.joined.add(first.to_owned()),
                "joined" => out.emit(self.joined.get().unwrap_or_default()),
                "last" => self.last.add(first.to_owned()),
                "show-last" => out.emit(self.last.get().join(",")),
                "shown" => {
                    let one = self.shown.get(first);
                    let others = self.shown.keys().collect::<Vec<_>>();
                    out.emit(format!("{one:?} {others:?}"));
                }
                "show" => self.shown.insert(first, second),
                "shown-last" => out.emit(self.shown_last.get().join(",")),
                "show-it-last" => self.shown_last.add(first.to_owned()),
                "held-and" => {
                    let held = self.held.get();
                    self.held.update(|held| held.push('+'));
                    out.emit(format!("{held:?} {:?}", self.held.get()));
                }
                "hold" => self.held.set(first.to_owned()),
                "held" => out.emit(self.held.get().unwrap_or_default()),
                "rule" => out.emit(format!("{:?}", self.rules.get(first))),
                "rules" => out.emit(format!("{:?}", self.rules.iter().collect::<Vec<_>>())),
                _ => return Err("no such step".into()),
            }
        }
        Ok(())
    }

    fn process_broadcast(&mut self, line: &str, ctx: &mut BroadcastContext, out: &mut Collector<Text>) -> Result {
        match line.split_once(' ') {
            Some(("remove", name)) => self.rules.write(ctx).remove(name),
            Some(("keyed", _)) => self.sum.add(1),
            Some((name, limit)) => {
                let limit = limit.parse()?;
                self.rules.write(ctx).insert(name, limit);
                out.emit(format!("{name} at {:?}", ctx.timestamp()));
            }
            None => self.rules.write(ctx).clear(),
        }
        Ok(())
    }
}

fn entries(entries: impl Iterator<Item = (String, u32)>) -> String {
    entries.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn kinds() -> Harness<Kinds> {
    Harness::new()
}

fn seen(harness: &Harness<Kinds>, key: &str) -> Vec<(String, u32)> {
    harness.read_state(key, |kinds| kinds.seen.iter().collect())
}

fn rules(harness: &Harness<Kinds>) -> Vec<(String, i64)> {
    harness.read_state("", |kinds| kinds.rules.iter().collect())
}

#[test]
fn a_map_sees_its_own_writes_in_order_of_keys() -> Result {
    let mut harness = kinds();
    harness.push("a", "put m 1; put c 2; put x 3; all", 0)?;
    harness.push("b", "all; put z 9", 0)?;
    harness.push("a", "put d 4; remove m; put x 5; all; get m; get c; keys", 0)?;
    harness.push("a", "all; count x; count n; get-all x,m,n,zz; from d; behind-until c,n", 0)?;
    assert_eq!(
        harness.take_output()?,
        [
            "c=2 m=1 x=3",
            "",
            "c=2 d=4 x=5",
            "None",
            "Some(2)",
            "c,d,x",
            "c=2 d=4 x=5",
            "6",
            "1",
            "[Some(6), None, Some(1), None]",
            "d=4 n=1 x=6",
            "d=4 n=1",
        ]
    );
    harness.push("a", "behind-until x,c; is-empty; clear; is-empty; get x; put q 1; all", 0)?;
    assert_eq!(harness.take_output()?, ["", "false", "true", "None", "q=1"]);
    assert_eq!((seen(&harness, "a"), seen(&harness, "b")), (vec![("q".into(), 1)], vec![("z".into(), 9)]));
    harness.push("a", "remove q; is-empty", 0)?;
    assert_eq!((harness.take_output()?, seen(&harness, "a")), (vec!["true".to_owned()], vec![]));
    Ok(())
}

/// Compares with a plain map, over more entries than one page has.
#[test]
fn iterating_merges_pages_with_the_turns_writes() -> Result {
    let mut harness = kinds();
    let mut plain = std::collections::BTreeMap::new();
    let steps: Vec<_> = (0..2000).map(|n| format!("put k{:04} {n}", n * 7 % 2000)).collect();
    harness.push("a", steps.join("; "), 0)?;
    plain.extend((0..2000).map(|n| (format!("k{:04}", n * 7 % 2000), n)));
    let mut steps = Vec::new();
    for n in 0..600 {
        let key = format!("k{:04}", n * 13 % 2100);
        match n % 3 {
            0 => drop((steps.push(format!("remove {key}")), plain.remove(&key))),
            1 => drop((steps.push(format!("put {key} {n}")), plain.insert(key, n))),
            _ => steps.push(format!("get {key}")),
        }
    }
    let all = |map: &std::collections::BTreeMap<String, u32>, from: &str| {
        entries(map.range(from.to_owned()..).map(|(key, value)| (key.clone(), *value)))
    };
    harness.push("a", format!("{}; all; from k1000; from k20", steps.join("; ")), 0)?;
    let output = harness.take_output()?;
    assert_eq!(output[output.len() - 3..], [all(&plain, ""), all(&plain, "k1000"), all(&plain, "k20")]);
    Ok(())
}

/// Without gaps, each removal would skip all entries removed before.
#[test]
fn removing_the_first_entry_repeatedly_calls_the_host_once_per_entry() -> Result {
    const ENTRIES: u64 = 3000;
    let mut harness = kinds();
    let puts: Vec<_> = (0..ENTRIES).map(|n| format!("put k{n:04} {n}")).collect();
    harness.push("a", puts.join("; "), 0)?;
    let before = harness.calls("map-scan");
    for (verb, keys) in [("take-first", 0..1500), ("take-from k2000", 2000..3000)] {
        let takes = vec![verb; keys.clone().count()];
        harness.push("a", takes.join("; "), 0)?;
        let expected: Vec<_> = keys.map(|n| format!("k{n:04}")).collect();
        assert_eq!(harness.take_output()?, expected);
    }
    let calls = harness.calls("map-scan") - before;
    assert!(calls <= 2500 + 10, "{calls} calls for 2500 entries");
    assert_eq!(seen(&harness, "a").len(), 500);
    Ok(())
}

/// Compares with a plain map: entries are removed, put back and read in one turn.
#[test]
fn an_entry_removed_from_a_map_is_gone_until_it_is_put_back() -> Result {
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for round in 0..40 {
        let mut harness = kinds();
        let mut plain = std::collections::BTreeMap::new();
        let (mut steps, mut expected) = (Vec::new(), Vec::new());
        for n in 0..next(400) {
            steps.push(format!("put k{n:03} {n}"));
            plain.insert(format!("k{n:03}"), n as u32);
        }
        if !steps.is_empty() {
            harness.push("a", steps.join("; "), 0)?;
        }
        steps.clear();
        for n in 0..300_u64 {
            let key = format!("k{:03}", next(420));
            match next(100) {
                0..40 => {
                    steps.push("take-first".to_owned());
                    expected.push(plain.pop_first().map(|(key, _)| key).unwrap_or_default());
                }
                40..60 => {
                    let found = plain.range(key.clone()..).next().map(|(key, _)| key.clone());
                    steps.push(format!("take-from {key}"));
                    if let Some(found) = &found {
                        plain.remove(found);
                    }
                    expected.push(found.unwrap_or_default());
                }
                60..75 => {
                    steps.push(format!("put {key} {n}"));
                    plain.insert(key, n as u32);
                }
                75..80 => {
                    steps.push(format!("remove {key}"));
                    plain.remove(&key);
                }
                80..90 => {
                    expected.push(format!("{:?}", plain.get(&key)));
                    steps.push(format!("get {key}"));
                }
                90..93 => {
                    let count = plain.entry(key.clone()).or_insert(0);
                    *count += 1;
                    expected.push(count.to_string());
                    steps.push(format!("count {key}"));
                }
                93..95 if round % 4 == 0 => {
                    plain.clear();
                    steps.push("clear".to_owned());
                }
                _ => {
                    expected.push(entries(plain.range(key.clone()..).map(|(key, value)| (key.clone(), *value))));
                    steps.push(format!("from {key}"));
                }
            }
        }
        harness.push("a", steps.join("; "), 0)?;
        assert_eq!(harness.take_output()?, expected, "round {round}");
        assert_eq!(seen(&harness, "a"), plain.into_iter().collect::<Vec<_>>(), "round {round}");
    }
    Ok(())
}

#[test]
fn a_map_is_written_once_and_each_entry_is_loaded_once() -> Result {
    let mut harness = kinds();
    harness.push_batch((0..1000).map(|n| (format!("k{}", n % 10), format!("count x{}; remove gone", n % 4), 0)))?;
    let calls = |import| harness.calls(import);
    assert_eq!((calls("map-get"), calls("map-load"), calls("map-scan")), (20, 0, 0));
    assert_eq!((calls("map-store"), calls("map-remove"), calls("map-clear")), (1, 1, 0));
    harness.push("k0", "get-all x0,x2,y; get-all x0,y", 0)?;
    assert_eq!((harness.calls("map-load"), harness.calls("map-get"), harness.calls("map-store")), (1, 20, 1));
    assert_eq!(harness.take_text()?.last().map(String::as_str), Some("[Some(50), None]"));
    Ok(())
}

#[test]
fn accumulators_are_folded_and_stored() -> Result {
    let mut harness = kinds();
    harness.push_batch([("a", "sum - 5; join x", 0), ("b", "sum - 1", 0), ("a", "sum - -7; join y; joined", 0)])?;
    harness.push("a", "sum - 100; join z; joined", 0)?;
    assert_eq!(harness.take_output()?, ["2:xy", "3:xyz"]);
    assert_eq!(
        (harness.read_state("a", |kinds| kinds.sum.get()), harness.read_state("b", |kinds| kinds.sum.get())),
        (Some(98), Some(1))
    );
    assert_eq!(
        (harness.read_state("a", |kinds| kinds.joined.get()), harness.read_state("b", |kinds| kinds.joined.get())),
        (Some("3:xyz".into()), None)
    );
    harness.push("a", "no-sum", 0)?;
    assert_eq!(harness.read_state("a", |kinds| kinds.sum.get()), None);
    Ok(())
}

#[test]
fn an_expired_entry_is_returned_once_if_the_state_says_so() -> Result {
    let mut harness = kinds();
    harness.push("a", "hold y; show m 1; show n 2; show-it-last x", 0)?;
    harness.push("b", "hold z", 0)?;
    harness.advance_processing_time(1000)?;
    // `b` is in the batch, but does not read its state.
    harness.push_batch([
        ("b", "sum - 1", 0),
        ("a", "held; held; shown m; shown m", 0),
        ("a", "shown-last; shown-last; held", 0),
    ])?;
    let given = ["y", "", "Some(1) [\"n\"]", "None []", "x", "", ""];
    assert_eq!(harness.take_output()?, given);
    harness.push("a", "held; shown n; shown-last; show-it-last w; shown-last; shown-last", 0)?;
    assert_eq!(harness.take_output()?, ["", "None []", "", "w", "w"], "a live entry is returned every time");
    harness.push("b", "held-and; held-and", 0)?;
    assert_eq!(harness.take_output()?, ["Some(\"z\") Some(\"+\")", "Some(\"+\") Some(\"++\")"]);
    assert_eq!(harness.read_state("b", |kinds| kinds.held.get()).as_deref(), Some("++"));
    Ok(())
}

#[test]
fn an_expired_entry_is_not_read() -> Result {
    let mut harness = kinds();
    harness.push("a", "last x; hold y; number n 5", 0)?;
    harness.advance_processing_time(500)?;
    harness.push("a", "last z; show-last; number n -5", 0)?;
    harness.advance_processing_time(1000)?;
    harness.push("a", "show-last; held", 0)?;
    assert_eq!(harness.take_output()?, ["x,z", "z", "y"], "each element has its own time; `held` returns expired ones");
    harness.advance_processing_time(10_000)?;
    harness.push("a", "numbers; show-last", 0)?;
    assert_eq!(harness.take_output()?, ["[(-5, \"n\")]", ""]);
    assert_eq!(
        harness.read_state("a", |kinds| kinds.by_number.iter().collect::<Vec<_>>()),
        [((-5, "n".to_owned()), 1)]
    );
    assert!(harness.read_state("a", |kinds| kinds.last.is_empty()));
    Ok(())
}

#[test]
fn reading_refreshes_an_entry_if_the_state_says_so() -> Result {
    let mut harness = kinds();
    harness.push("a", "least - 5", 0)?;
    for time in [9, 18, 27, 37] {
        harness.advance_processing_time(time)?;
        harness.push("a", "show-least", 0)?;
    }
    assert_eq!(harness.take_output()?, ["Some(5)", "Some(5)", "Some(5)", "None"]);
    Ok(())
}

#[test]
fn broadcast_state_is_written_by_its_input_and_read_by_the_other() -> Result {
    let mut harness = kinds();
    harness.push("a", "rule x; rules", 0)?;
    harness.push_broadcast("x 5", 7)?;
    harness.push_broadcast("y 6", i64::MIN)?;
    harness.push_batch([("a", "rule x; rules", 0), ("b", "rule x; rule z; rules", 0)])?;
    let both = "[(\"x\", 5), (\"y\", 6)]";
    let seen = ["None", "[]", "x at Some(7)", "y at None", "Some(5)", both, "Some(5)", "None", both];
    assert_eq!(harness.take_output()?, seen);
    assert_eq!((harness.calls("broadcast-scan"), harness.calls("broadcast-get")), (2, 2), "once per turn");
    harness.push_broadcast("remove x", 0)?;
    assert_eq!(rules(&harness), [("y".to_owned(), 6)]);
    let restored = Harness::<Kinds>::restore(&harness.snapshot())?;
    assert_eq!(rules(&restored), [("y".to_owned(), 6)]);
    assert!(harness.push_broadcast("y six", 0).is_err());
    harness.push_broadcast("clear", 0)?;
    assert!(rules(&harness).is_empty());
    Ok(())
}

#[test]
#[should_panic(expected = "uses state `sum` where there is no key: `open` and the broadcast input have no key")]
fn the_broadcast_input_has_no_key() {
    let _ = kinds().push_broadcast("keyed state", 0);
}

#[test]
fn all_kinds_are_described() {
    let function = kinds().description;
    let states: Vec<_> = function.states.iter().map(|s| (format!("{:?}", s.kind), s.map_key.as_str())).collect();
    let states: Vec<_> = states.iter().map(|(kind, key)| (kind.trim_start_matches("StateKind::"), *key)).collect();
    assert_eq!(states[0], ("Map", "ordered:string"));
    assert_eq!(states[1], ("Map", "ordered:(i32,string)"));
    assert_eq!([states[2].0, states[4].0, states[5].0], ["Reducing", "Aggregating", "List"]);
    assert_eq!(states[9], ("Broadcast", "ordered:string"));
    assert_eq!(function.states[4].form.schema, "postcard:(u32,string,)");
    let ttl = function.states[3].ttl.map(|ttl| (ttl.milliseconds, format!("{:?}", ttl.update), ttl.return_expired));
    assert_eq!(ttl, Some((10, "TtlUpdate::ReadAndWrite".to_owned(), false)));
    assert_eq!(function.inputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["main", "broadcast"]);
}

/// Three forms of one type, and functions with states of them.
mod forms {
    use super::*;

    #[derive(Clone, Serialize, Deserialize, StateType)]
    pub struct First {
        pub count: u32,
    }

    #[derive(Clone, Serialize, Deserialize, StateType)]
    pub struct Second {
        pub count: u64,
        pub total: i64,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, StateType)]
    pub struct Third {
        pub count: u64,
        pub mean: f64,
    }

    impl From<First> for Third {
        fn from(first: First) -> Third {
            Third { count: first.count.into(), mean: 0.0 }
        }
    }

    impl From<Second> for Third {
        fn from(second: Second) -> Third {
            Third { count: second.count, mean: second.total as f64 / second.count as f64 }
        }
    }

    macro_rules! keeps {
        ($function:ident, $form:ident, $make:expr, [$($older:tt)*]) => {
            pub mod $function {
                use super::*;

                #[derive(Function)]
                pub struct Keeps {
                    #[state(migrate_from($($older)*))]
                    pub value: ValueState<$form>,
                    #[state(migrate_from($($older)*))]
                    pub list: ListState<$form>,
                    #[state(migrate_from($($older)*))]
                    pub map: MapState<u8, $form>,
                    #[state(migrate_from($($older)*))]
                    pub rules: BroadcastState<u8, $form>,
                }

                #[function]
                impl BroadcastProcessFunction for Keeps {
                    type Key = String;
                    type In = Json<u32>;
                    type Broadcast = Json<u32>;
                    type Out = Bytes;

                    fn process_element(
                        &mut self,
                        n: u32,
                        _: &mut KeyedContext<String>,
                        _: &mut Collector<Bytes>,
                    ) -> Result {
                        let make: fn(u32) -> $form = $make;
                        self.value.set(make(n));
                        self.list.add_all([make(n), make(n + 1)]);
                        self.map.insert(&7, make(n));
                        Ok(())
                    }

                    fn process_broadcast(
                        &mut self,
                        n: u32,
                        ctx: &mut BroadcastContext,
                        _: &mut Collector<Bytes>,
                    ) -> Result {
                        let make: fn(u32) -> $form = $make;
                        self.rules.write(ctx).insert(&1, make(n));
                        Ok(())
                    }
                }
            }
        };
    }

    keeps!(first, First, |n| First { count: n }, []);
    keeps!(second, Second, |n| Second { count: n.into(), total: 10 }, []);
    keeps!(third, Third, |n| Third { count: n.into(), mean: 1.0 }, [First, Second as Postcard<Second>]);
}

#[test]
fn older_forms_are_read() -> Result {
    let mut first = Harness::<forms::first::Keeps>::new();
    first.push("k", 4, 0)?;
    first.push_broadcast(9, 0)?;
    let mut second = Harness::<forms::second::Keeps>::new();
    second.push("k", 4, 0)?;
    second.push_broadcast(20, 0)?;
    for (snapshot, means) in [(first.snapshot(), [0.0, 0.0]), (second.snapshot(), [2.5, 2.0])] {
        let third = Harness::<forms::third::Keeps>::restore(&snapshot)?;
        let form = |count, mean| forms::Third { count, mean };
        assert_eq!(third.read_state("k", |keeps| keeps.value.get()), Some(form(4, means[0])));
        assert_eq!(third.read_state("k", |keeps| keeps.list.get().to_vec()), [form(4, means[0]), form(5, means[1])]);
        assert_eq!(third.read_state("k", |keeps| keeps.map.iter().collect::<Vec<_>>()), [(7, form(4, means[0]))]);
        let rules = third.read_state("", |keeps| keeps.rules.iter().collect::<Vec<_>>());
        assert_eq!((rules[0].1.count, rules.len()), (if means[0] == 0.0 { 9 } else { 20 }, 1));
        assert_eq!(Harness::<forms::third::Keeps>::restore(&third.snapshot())?.snapshot(), third.snapshot());
    }
    Ok(())
}

#[test]
fn a_form_that_cannot_be_read_is_refused_with_what_to_do() {
    let mut harness = Harness::<forms::third::Keeps>::new();
    harness.push("k", 4, 0).unwrap();
    let error = Harness::<forms::first::Keeps>::restore(&harness.snapshot()).map(drop).unwrap_err().to_string();
    for part in
        ["state `value`", "postcard:{count:u64,mean:f64,}", "postcard:{count:u32,}", "`#[state(migrate_from(Old))]`"]
    {
        assert!(error.contains(part), "{error}");
    }
    for state in &harness.description.states {
        let reads: Vec<_> = state.reads.iter().map(|older| older.form.schema.as_str()).collect();
        assert!(reads.contains(&"postcard:{count:u32,}") && reads.len() == 2 && state.writes.is_empty(), "{reads:?}");
    }
}

/// Has the states of `Kinds`, but `sum` is of another kind.
#[derive(Function)]
struct Otherwise {
    seen: MapState<String, u32>,
    #[state(ttl = SECOND * 10)]
    by_number: MapState<(i32, String), u32>,
    sum: ValueState<i64>,
}

#[function]
impl BroadcastProcessFunction for Otherwise {
    type Key = String;
    type In = Text;
    type Broadcast = Text;
    type Out = Text;

    fn process_element(&mut self, _: &str, _: &mut KeyedContext<String>, _: &mut Collector<Text>) -> Result {
        self.by_number.clear();
        self.seen.clear();
        self.sum.clear();
        Ok(())
    }

    fn process_broadcast(&mut self, _: &str, _: &mut BroadcastContext, _: &mut Collector<Text>) -> Result {
        Ok(())
    }
}

#[test]
fn a_state_of_another_kind_is_refused() {
    let error = Harness::<Otherwise>::restore(&kinds().snapshot()).map(drop).unwrap_err().to_string();
    assert_eq!(error, "state `sum` is stored as reducing, and declared as value");
}
