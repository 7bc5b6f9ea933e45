//! The guest of `tests/tests/kinds.rs` and `fixtures.rs`: a function with every kind of keyed state, and a function with a broadcast input.
//! `tests/src/kinds.rs` computes the result of the first one without state. Change both together.

use cofferdam_sdk::prelude::*;

/// Longer than the lifetime of the fixtures.
const LONG: Duration = Duration::from_hours(24 * 36_500);

struct Mean;

impl Aggregator for Mean {
    type Input = u64;
    type Accumulator = (u64, u64);
    type Output = u64;

    fn create() -> (u64, u64) {
        (0, 0)
    }

    fn add((sum, count): &mut (u64, u64), value: u64) {
        *sum += value;
        *count += 1;
    }

    fn result((sum, count): &(u64, u64)) -> u64 {
        sum / count
    }
}

/// Takes records `key,number,word`, and emits for each the content of every state of its key.
#[derive(Function)]
struct Kinds {
    #[state(ttl = LONG)]
    count: ValueState<u64>,
    #[state(ttl = LONG)]
    recent: ListState<u64>,
    words: MapState<String, u64>,
    #[state(ttl = Ttl::new(LONG).refresh_on_read())]
    first: MapState<(i64, String), u64>,
    largest: ReducingState<u64, Max>,
    mean: AggregatingState<Mean>,
}

#[function(name = "kinds")]
impl KeyedProcessFunction for Kinds {
    type Key = String;
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, record: &str, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let mut fields = record.splitn(3, ',').skip(1);
        let number: u64 = fields.next().ok_or("no number")?.parse()?;
        let word = fields.next().ok_or("no word")?;

        let count = self.count.get_or_default() + 1;
        self.count.set(count);
        self.recent.add(number);
        if count.is_multiple_of(3) {
            self.recent.update(|recent| recent.drain(..recent.len() - 2).count());
        }
        match number % 20 {
            0 => self.words.clear(),
            1 | 2 => self.words.remove(word),
            _ => self.words.update(word, |count| *count += 1),
        }
        // Sorts by the length of the word, longest first.
        let rank = (-(word.len() as i64), word.to_owned());
        if !self.first.contains(&rank) {
            self.first.insert(&rank, number);
        }
        self.largest.add(number * 7 % 1000);
        self.mean.add(number);

        let recent: Vec<_> = self.recent.get().iter().map(u64::to_string).collect();
        let words: Vec<_> = self.words.iter().map(|(word, count)| format!("{word}{count}")).collect();
        let long: Vec<_> = self.first.range(..(-3, String::new())).map(|(_, number)| number.to_string()).collect();
        out.emit(format!(
            "{record}: {count} [{}] [{}] [{}] {} {}",
            recent.join(" "),
            words.join(" "),
            long.join(" "),
            self.largest.get().unwrap_or_default(),
            self.mean.get().unwrap_or_default(),
        ));
        Ok(())
    }
}

/// Makes records `key,number,word` of numbers, in the same way as `tests/src/kinds.rs`, and emits them with their keys.
#[derive(Default)]
struct Spell;

#[function(name = "spell")]
impl FlatMapFunction for Spell {
    type In = Text;
    type Out = Text;
    type OutKey = String;

    fn flat_map(&mut self, n: &str, _ctx: &mut Context, out: &mut Collector<Text, String>) -> Result {
        const WORDS: [&str; 9] = ["tea", "jam", "bread", "", "honey", "ginger", "egg", "oat", "rye bread"];
        let n: u64 = n.parse()?;
        let key = format!("k{}", n * n % 23);
        out.emit_keyed(&key, format!("{key},{n},{}", WORDS[(n * 31 % 97 % 9) as usize]));
        Ok(())
    }
}

/// Takes orders `key,number` and rules `name,limit`. Emits each rule once per subtask, and for each order the number of known rules and the
/// sum of their limits.
#[derive(Function)]
struct Rules {
    seen: ValueState<u64>,
    rules: BroadcastState<String, u64>,
}

#[function(name = "rules")]
impl BroadcastProcessFunction for Rules {
    type Key = String;
    type In = Text;
    type Broadcast = Text;
    type Out = Text;

    fn process_element(&mut self, order: &str, _: &mut KeyedContext<String>, out: &mut Collector<Text>) -> Result {
        let seen = self.seen.update(|seen| (*seen += 1, *seen).1);
        let limits: Vec<u64> = self.rules.values().collect();
        let (rules, sum) = (limits.len(), limits.iter().sum::<u64>());
        out.emit(format!("order {order}: {seen} {rules} {sum}"));
        Ok(())
    }

    fn process_broadcast(&mut self, rule: &str, ctx: &mut BroadcastContext, out: &mut Collector<Text>) -> Result {
        let (name, limit) = rule.split_once(',').ok_or("a rule is NAME,LIMIT")?;
        self.rules.write(ctx).insert(name, limit.parse()?);
        out.emit(format!("rule {name}"));
        Ok(())
    }
}

cofferdam_sdk::export!(Kinds, Spell, Rules);
