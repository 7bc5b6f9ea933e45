//! The functions of `tests/guests/kinds`, computed with plain collections. Change both together.

#![allow(clippy::unwrap_used)] // The records are its own.

use std::collections::BTreeMap;

/// The state of one key in the function `kinds`.
#[derive(Debug, Default)]
pub struct Kept {
    /// Number of records so far.
    pub count: u64,
    recent: Vec<u64>,
    words: BTreeMap<String, u64>,
    first: BTreeMap<(i64, String), u64>,
    largest: u64,
    sum: u64,
}

/// Returns the output of the function `kinds` for a record.
pub fn plainly(kept: &mut Kept, record: &str) -> String {
    let mut fields = record.split(',').skip(1);
    let (number, word): (u64, &str) = (fields.next().unwrap().parse().unwrap(), fields.next().unwrap());
    kept.count += 1;
    kept.recent.push(number);
    if kept.count.is_multiple_of(3) {
        kept.recent.drain(..kept.recent.len() - 2);
    }
    match number % 20 {
        0 => kept.words.clear(),
        1 | 2 => drop(kept.words.remove(word)),
        _ => *kept.words.entry(word.to_owned()).or_default() += 1,
    }
    kept.first.entry((-(word.len() as i64), word.to_owned())).or_insert(number);
    kept.largest = kept.largest.max(number * 7 % 1000);
    kept.sum += number;
    let join = |parts: Vec<String>| parts.join(" ");
    format!(
        "{record}: {} [{}] [{}] [{}] {} {}",
        kept.count,
        join(kept.recent.iter().map(u64::to_string).collect()),
        join(kept.words.iter().map(|(word, count)| format!("{word}{count}")).collect()),
        join(kept.first.range(..(-3, String::new())).map(|(_, number)| number.to_string()).collect()),
        kept.largest,
        kept.sum / kept.count
    )
}

/// Returns `count` records `key,number,word`, ordered by number.
pub fn records(count: u64) -> Vec<String> {
    const WORDS: [&str; 9] = ["tea", "jam", "bread", "", "honey", "ginger", "egg", "oat", "rye bread"];
    (0..count).map(|n| format!("k{},{n},{}", n * n % 23, WORDS[(n * 31 % 97 % 9) as usize])).collect()
}
