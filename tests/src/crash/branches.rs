//! The operators of crash rounds: their tables in the pipeline file, their sources, and their expected output.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde_json::Value;

use super::input::Input;
use super::model;
use crate::{committed_lines, difference};

/// An operator with its sources and sinks.
pub(super) struct Branch {
    /// The operator's id.
    pub(super) name: &'static str,
    pub(super) sources: Vec<&'static str>,
    /// The keys of the operator's table. Empty if the sink reads the source directly.
    pub(super) operator: String,
    pub(super) outputs: Vec<Output>,
    /// Whether the operator has an output `late`, which must stay empty.
    pub(super) has_late: bool,
    /// The records of the dead letters that the host keeps.
    pub(super) letters: Option<fn(&Input) -> Vec<String>>,
}

/// Parallelisms of a round's jobs.
#[derive(Default)]
pub(super) struct Rescaling {
    pub(super) parallelisms: Vec<u32>,
    /// Whether a job started from a checkpoint of another job. That checkpoint may be unaligned, so its subtasks may
    /// know different rules.
    pub(super) from_checkpoint: bool,
}

/// An output of the operator, read by its own file sink.
pub(super) struct Output {
    /// Empty for the main output.
    pub(super) name: &'static str,
    pub(super) expected: Expected,
}

pub(super) enum Expected {
    /// Exactly these lines.
    Lines(fn(&Input) -> Vec<String>),
    /// These lines, with the elements of a field in any order.
    Elements(fn(&Input) -> Vec<String>),
    /// These JSON objects.
    Json(fn(&Input) -> Vec<String>),
    /// Orders and rules that the function `rules` may emit.
    Rules,
}

/// The operator with dead letters.
pub(super) const LETTERS: &str = "letters";

/// The operator whose state is checked at the end.
pub(super) const KINDS: &str = "kinds";

/// The names of all operators.
pub fn names() -> Vec<&'static str> {
    all().into_iter().map(|branch| branch.name).collect()
}

/// Returns all branches. Each round runs some of them.
pub(super) fn all() -> Vec<Branch> {
    use Expected::{Elements, Json, Lines};
    const FIRST: &str = "input = \"first\"";
    const BOTH: &str = "input = \"first\"\nsecond = \"second\"";
    let sliding = "{ type = \"sliding\", size = \"5s\", slide = \"1s\" }";
    let counts = "{ type = \"sliding\", size = \"4s\", slide = \"500ms\" }";
    let union = "inputs = [\"first\", \"second\"]";
    let offset = "{ type = \"tumbling\", size = \"3s\", offset = \"1s\" }";
    let global = "{ type = \"global\" }\ntrigger = { type = \"count\", count = 5, purge = true }";
    let near = "interval = { lower = \"-500ms\", upper = \"300ms\" }";
    let count = "aggregate = { type = \"count\" }";
    let maximum = "aggregate = { type = \"max\", column = 1 }";
    let session = |gap_ms: u32| format!("{{ type = \"session\", gap = \"{gap_ms}ms\" }}");
    let mut elements =
        windowed("elements", FIRST, &tumbling(8000), &event_time("elements"), Elements(model::window_elements));
    elements.outputs.push(Output { name: "large", expected: Elements(model::large_window_elements) });
    let mut counted =
        keyed("counted", "input = \"alarms\"", "", &event_time("elements"), Elements(model::counted_elements));
    counted.operator.push_str(&format!("window = {global}\n"));
    counted.outputs.push(Output { name: "large", expected: Elements(model::counted_elements) });
    vec![
        Branch { operator: String::new(), ..keyed("copy", FIRST, "", "", Lines(model::copied)) },
        keyed("kinds", "input = \"serial\"", "", &kinds("kinds"), Lines(model::every_kind)),
        keyed("broadcast", "input = \"serial\"\nbroadcast = \"rules\"", "", &kinds("rules"), Expected::Rules),
        windowed("sliding", FIRST, sliding, &event_time("sum"), Lines(model::sliding_sums)),
        keyed("timers", "input = \"alarms\"", "", &event_time("timers"), Lines(model::timers)),
        windowed("union", union, offset, &event_time("sum"), Lines(model::tumbling_sums_of_a_union)),
        keyed("connected", BOTH, "", &event_time("both"), Lines(model::counts_of_both)),
        windowed("session", FIRST, &session(1001), &event_time("sum"), Lines(model::session_sums)),
        windowed("co-group", BOTH, &tumbling(1500), &event_time("grouped"), Elements(model::co_groups)),
        elements,
        windowed("window-join", BOTH, &tumbling(1000), &event_time("joined"), Lines(model::window_join)),
        windowed("counts", FIRST, counts, count, Json(model::native_counts)),
        Branch {
            has_late: true,
            ..keyed("interval-join", BOTH, near, &event_time("near"), Lines(model::interval_join))
        },
        counted,
        windowed(
            "session-elements",
            "input = \"second\"",
            &session(1501),
            &event_time("session-elements"),
            Elements(model::session_elements),
        ),
        windowed("maxima", "input = \"second\"", &tumbling(2000), maximum, Json(model::native_maxima)),
        windowed("largest", FIRST, &tumbling(2500), &event_time("largest"), Lines(model::largest_records)),
        Branch {
            letters: Some(model::bad_records),
            ..keyed(
                LETTERS,
                "input = \"doubtful\"",
                "on_fault = \"dead-letter\"",
                "component = \"repairable@1\"\nfunction = \"sum\"",
                Lines(model::sums_of_good_records),
            )
        },
    ]
}

/// Returns the branches for this seed, with those that are `needed`. Consecutive rounds cycle through all branches, and each adds
/// others at random. With `names`, returns the branches with these names.
pub(super) fn of_round(seed: u64, names: &[String], needed: &[&str], rng: &mut Rng) -> Vec<Branch> {
    const IN_TURN: u64 = 4;
    const AT_RANDOM: usize = 2;
    if !names.is_empty() {
        return all().into_iter().filter(|branch| names.iter().any(|name| name == branch.name)).collect();
    }
    let mut all: Vec<Option<Branch>> = all().into_iter().map(Some).collect();
    let count = all.len() as u64;
    let mut chosen: Vec<Branch> = Vec::new();
    let first = seed.wrapping_mul(IN_TURN) % count;
    for place in first..first + IN_TURN {
        chosen.extend(all[(place % count) as usize].take());
    }
    let mut rest: Vec<Branch> = all.into_iter().flatten().collect();
    rng.shuffle(&mut rest);
    chosen.extend(rest.into_iter().take(AT_RANDOM));
    let missing = self::all().into_iter().filter(|branch| needed.contains(&branch.name));
    let missing: Vec<Branch> = missing.filter(|branch| chosen.iter().all(|other| other.name != branch.name)).collect();
    chosen.extend(missing);
    chosen
}

fn tumbling(size_ms: u32) -> String {
    format!("{{ type = \"tumbling\", size = \"{size_ms}ms\" }}")
}

fn event_time(function: &str) -> String {
    format!("component = \"event-time@1\"\nfunction = \"{function}\"")
}

fn kinds(function: &str) -> String {
    format!("component = \"kinds@1\"\nfunction = \"{function}\"")
}

/// An operator keyed by the first column. `inputs` contains the names of its sources.
fn keyed(name: &'static str, inputs: &str, settings: &str, function: &str, expected: Expected) -> Branch {
    let sources = ["first", "second", "serial", "alarms", "rules", "doubtful"];
    let is_read = |source: &&str| inputs.contains(&format!("\"{source}\""));
    Branch {
        name,
        sources: sources.into_iter().filter(is_read).collect(),
        operator: format!("{inputs}\nkey = {{ column = 0 }}\n{settings}\n{function}\n"),
        outputs: vec![Output { name: "", expected }],
        has_late: false,
        letters: None,
    }
}

fn windowed(name: &'static str, inputs: &str, window: &str, function: &str, expected: Expected) -> Branch {
    Branch { has_late: true, ..keyed(name, inputs, &format!("window = {window}"), function, expected) }
}

impl Branch {
    /// Returns the id of an output's sink.
    pub(super) fn sink(&self, output: &Output) -> String {
        match output.name {
            "" => format!("{}-out", self.name),
            name => format!("{}-{name}", self.name),
        }
    }

    /// Compares the committed lines below `out` with the expected ones.
    pub(super) fn check(&self, input: &Input, out: &Path, rescaling: &Rescaling) -> Result<()> {
        for output in &self.outputs {
            let sink = self.sink(output);
            let actual = committed_lines(&out.join(&sink))?;
            let (expected, form): (_, fn(&str) -> String) = match &output.expected {
                Expected::Lines(lines) => (lines(input), str::to_owned),
                Expected::Elements(lines) => (lines(input), with_sorted_fields),
                Expected::Json(lines) => (lines(input), as_json),
                Expected::Rules => {
                    check_rules(input, &actual, rescaling).with_context(|| format!("in the sink {sink}"))?;
                    continue;
                }
            };
            ensure!(!expected.is_empty(), "the model expects nothing in the sink {sink}, so it is wrong");
            let [expected, actual] = [expected, actual].map(|lines| {
                let mut lines: Vec<String> = lines.iter().map(|line| form(line)).collect();
                lines.sort_unstable();
                lines
            });
            if let Some(difference) = difference(&expected, &actual) {
                bail!("in the sink {sink} of {} lines {difference}", expected.len());
            }
        }
        Ok(())
    }
}

/// Sorts the words of each field of a line.
fn with_sorted_fields(line: &str) -> String {
    let sorted = |field: &str| {
        let mut words: Vec<&str> = field.split(' ').collect();
        words.sort_unstable();
        words.join(" ")
    };
    line.split(',').map(sorted).collect::<Vec<_>>().join(",")
}

fn as_json(line: &str) -> String {
    let object = serde_json::from_str::<BTreeMap<String, Value>>(line);
    object.map_or_else(|_| line.to_owned(), |object| format!("{object:?}"))
}

/// Checks the output of the function `rules`.
///
/// Each order occurs once with its number within the key. The rules it has seen are a prefix of the file, never shorter
/// than for an earlier order of the key. Each rule was received as often as one of the parallelisms says.
///
/// After an unaligned checkpoint a key may move to a subtask that has not yet received some rules. A rule may also have
/// been received by some subtasks of one job and some of the next.
fn check_rules(input: &Input, lines: &[String], rescaling: &Rescaling) -> Result<()> {
    let mut orders = BTreeMap::<&str, Vec<&str>>::new();
    let mut heard = BTreeMap::<&str, u32>::new();
    for line in lines {
        if let Some(rule) = line.strip_prefix("rule ") {
            *heard.entry(rule).or_default() += 1;
            continue;
        }
        let Some(order) = line.strip_prefix("order ") else {
            bail!("the line `{line}` belongs to neither an order nor a rule")
        };
        let (name, rest) = order.split_once(": ").with_context(|| format!("the line `{line}` has no end"))?;
        orders.entry(name).or_default().push(rest);
    }
    let mut kept = BTreeMap::<&str, (u64, u64)>::new();
    for order in &input.serial {
        let (seen, known) = kept.entry(order.split(',').next().unwrap_or_default()).or_default();
        *seen += 1;
        let said = orders.get(&order[..]).map_or(&[][..], Vec::as_slice);
        let &[said] = said else { bail!("the order `{order}` occurs {} times: {said:?}", said.len()) };
        let numbers: Vec<u64> = said.split(' ').filter_map(|number| number.parse().ok()).collect();
        let &[number, rules, sum] = &numbers[..] else { bail!("the order `{order}` says `{said}`") };
        ensure!(number == *seen, "the order `{order}` is the {number}th of its key instead of the {seen}th");
        let is_prefix = rules <= input.rules as u64 && sum == (1 << rules) - 1;
        let is_enough = rules >= *known || rescaling.from_checkpoint;
        ensure!(is_prefix && is_enough, "the order `{order}` knows {rules} rules of sum {sum}, after {known}");
        *known = rules;
    }
    ensure!(orders.len() == input.serial.len(), "{} orders instead of {}", orders.len(), input.serial.len());
    for rule in 0..input.rules {
        let times = heard.remove(&format!("r{rule}")[..]).unwrap_or_default();
        // A restored job may have another number of subtasks, some of which received the rule before.
        let largest: u32 = rescaling.parallelisms.iter().sum();
        ensure!(
            rescaling.parallelisms.contains(&times) || (rescaling.from_checkpoint && (1..=largest).contains(&times)),
            "the rule r{rule} was received {times} times, at a parallelism of {:?}",
            rescaling.parallelisms
        );
    }
    ensure!(heard.is_empty(), "unknown rules: {heard:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_rounds_run_every_branch() {
        let mut rng = Rng::with_seed(7);
        let names: std::collections::BTreeSet<_> =
            (40..45).flat_map(|seed| of_round(seed, &[], &[], &mut rng)).map(|branch| branch.name).collect();
        assert_eq!(names.len(), all().len());
        let named = of_round(1, &["sliding".to_owned(), "copy".to_owned()], &[], &mut rng);
        assert_eq!(named.iter().map(|branch| branch.name).collect::<Vec<_>>(), ["copy", "sliding"]);
    }

    #[test]
    fn lost_duplicated_and_changed_lines_are_found() {
        let input = Input::random(&mut Rng::with_seed(1));
        let dir = tempfile::tempdir().unwrap();
        for branch in all().iter().filter(|branch| branch.name != "broadcast") {
            for output in &branch.outputs {
                let (Expected::Lines(lines) | Expected::Elements(lines) | Expected::Json(lines)) = output.expected
                else {
                    continue;
                };
                let folder = dir.path().join(branch.sink(output));
                std::fs::create_dir(&folder).unwrap();
                std::fs::write(folder.join("part"), lines(&input).join("\n")).unwrap();
            }
            branch.check(&input, dir.path(), &Rescaling::default()).unwrap();
            let part = dir.path().join(branch.sink(&branch.outputs[0])).join("part");
            let whole = std::fs::read_to_string(&part).unwrap();
            let (first, rest) = whole.split_once('\n').unwrap();
            for broken in [rest.to_owned(), format!("{first}\n{whole}"), format!("{first}0\n{rest}")] {
                std::fs::write(&part, broken).unwrap();
                assert!(branch.check(&input, dir.path(), &Rescaling::default()).is_err(), "{}", branch.name);
            }
        }
    }

    #[test]
    fn a_forgotten_or_duplicated_rule_is_found() {
        let input =
            Input { serial: ["a,1,", "a,2,"].map(str::to_owned).to_vec(), rules: 2, ..Input::random(&mut Rng::new()) };
        let lines = |text: &str| text.split(';').map(str::to_owned).collect::<Vec<_>>();
        let rules = "rule r0;rule r1;rule r0;rule r1";
        let rescaling = Rescaling { parallelisms: vec![2, 4], from_checkpoint: false };
        let check = |orders: &str| check_rules(&input, &lines(&format!("{orders};{rules}")), &rescaling);
        check("order a,1,: 1 1 1;order a,2,: 2 2 3").unwrap();
        for orders in [
            "order a,1,: 1 2 3;order a,2,: 2 1 1",
            "order a,1,: 1 0 0;order a,2,: 2 1 2",
            "order a,1,: 1 0 0;order a,2,: 1 0 0",
            "order a,1,: 1 0 0",
            "order a,1,: 1 0 0;order a,1,: 1 0 0;order a,2,: 2 0 0",
            "order a,1,: 1 0 0;order a,2,: 2 0 0;rule r0",
            "order a,1,: 1 0 0;order a,2,: 2 0 0;rule r2",
        ] {
            assert!(check(orders).is_err(), "{orders}");
        }
    }
}
