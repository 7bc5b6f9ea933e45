//! The guest of `tests/tests/kinds.rs` and `fixtures.rs`: a function that uses every kind of keyed state, and one with a
//! broadcast input. `tests/src/kinds.rs` computes the first one's result plainly; one is not changed without the other.

use cofferdam_sdk::prelude::*;

/// Longer than the fixtures are kept.
const LONG: Ttl = Ttl::days(36_500);

const COUNT: ValueState<u64> = ValueState::new("count").ttl(LONG);
const RECENT: ListState<u64> = ListState::new("recent").ttl(LONG);
const WORDS: MapState<String, u64> = MapState::new("words");
const FIRST: MapState<(i64, String), u64> = MapState::new("first").ttl(LONG.refresh_on_read());
const LARGEST: ReducingState<u64, Max> = ReducingState::new("largest");
const MEAN: AggregatingState<Mean> = AggregatingState::new("mean");

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

/// Takes records `key,number,word`, and emits for each what every state of its key holds then.
#[derive(Default)]
struct Kinds;

#[function(name = "kinds", states(COUNT, RECENT, WORDS, FIRST, LARGEST, MEAN))]
impl KeyedProcessFunction for Kinds {
    type In = Text;
    type Out = Text;

    fn process_element(&mut self, record: &str, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        let mut fields = record.splitn(3, ',').skip(1);
        let number: u64 = fields.next().ok_or("no number")?.parse()?;
        let word = fields.next().ok_or("no word")?;

        let count = ctx.state(COUNT).get_or_default() + 1;
        ctx.state(COUNT).set(count);
        ctx.state(RECENT).add(number);
        if count.is_multiple_of(3) {
            ctx.state(RECENT).update(|recent| recent.drain(..recent.len() - 2).count());
        }
        match number % 20 {
            0 => ctx.state(WORDS).clear(),
            1 | 2 => ctx.state(WORDS).remove(word),
            _ => ctx.state(WORDS).update(word, |count| *count += 1),
        }
        // Sorts by the length of the word, longest first.
        let rank = (-(word.len() as i64), word.to_owned());
        if !ctx.state(FIRST).contains(&rank) {
            ctx.state(FIRST).insert(&rank, number);
        }
        ctx.state(LARGEST).add(number * 7 % 1000);
        ctx.state(MEAN).add(number);

        let recent: Vec<_> = ctx.state(RECENT).get().iter().map(u64::to_string).collect();
        let words: Vec<_> = ctx.state(WORDS).iter().map(|(word, count)| format!("{word}{count}")).collect();
        let long: Vec<_> =
            ctx.state(FIRST).range(..(-3, String::new())).map(|(_, number)| number.to_string()).collect();
        out.emit(format!(
            "{record}: {count} [{}] [{}] [{}] {} {}",
            recent.join(" "),
            words.join(" "),
            long.join(" "),
            ctx.state(LARGEST).get().unwrap_or_default(),
            ctx.state(MEAN).get().unwrap_or_default(),
        ));
        Ok(())
    }
}

/// Makes records `key,number,word` of numbers, the same as `tests/src/kinds.rs` does, and gives them their keys.
#[derive(Default)]
struct Spell;

#[function(name = "spell")]
impl FlatMapFunction for Spell {
    type In = Text;
    type Out = Text;

    fn flat_map(&mut self, n: &str, _ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        const WORDS: [&str; 9] = ["tea", "jam", "bread", "", "honey", "ginger", "egg", "oat", "rye bread"];
        let n: u64 = n.parse()?;
        let key = format!("k{}", n * n % 23);
        out.emit_keyed(&key, format!("{key},{n},{}", WORDS[(n * 31 % 97 % 9) as usize]));
        Ok(())
    }
}

const RULES: BroadcastState<String, u64> = BroadcastState::new("rules");
const SEEN: ValueState<u64> = ValueState::new("seen");

/// Takes orders `key,number` and rules `name,limit`. Says of each rule in which subtask it is heard, and of each order how many
/// rules are known, and the sum of their limits.
#[derive(Default)]
struct Rules;

#[function(name = "rules", states(SEEN), broadcast(RULES))]
impl BroadcastProcessFunction for Rules {
    type In = Text;
    type Broadcast = Text;
    type Out = Text;

    fn process_element(&mut self, order: &str, ctx: &mut Context, out: &mut Collector<Text>) -> Result {
        let seen = ctx.state(SEEN).update(|seen| (*seen += 1, *seen).1);
        let limits: Vec<u64> = ctx.broadcast(RULES).values().collect();
        let (rules, sum) = (limits.len(), limits.iter().sum::<u64>());
        out.emit(format!("order {order}: {seen} {rules} {sum}"));
        Ok(())
    }

    fn process_broadcast(&mut self, rule: &str, ctx: &mut BroadcastContext, out: &mut Collector<Text>) -> Result {
        let (name, limit) = rule.split_once(',').ok_or("a rule is NAME,LIMIT")?;
        ctx.broadcast(RULES).insert(name, limit.parse()?);
        out.emit(format!("rule {name} in {}", ctx.turn().subtask));
        Ok(())
    }
}

cofferdam_sdk::export!(Kinds, Spell, Rules);
