//! The generator: records made from a template, the same ones for the same seed.

use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{ConnectorContext, POLL_BYTES_MAX, Poll, Source, position};
use crate::error::{Result, checkpoint_mismatch};
use crate::manifest::Format;
use crate::model::{Batch, NO_TIMESTAMP};

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// `{n}`: the number of the record, from 0.
    Number,
    /// `{key}`: one of the keys `k0`, `k1`, ..., chosen by the hash of the number under the job's seed.
    Key,
}

/// Durable: part of the checkpoint.
#[derive(Serialize, Deserialize)]
struct Position {
    next: u64,
}

/// Subtask `s` of `p` makes the records whose number is `s` modulo `p`.
pub(super) struct Generator {
    pieces: Vec<Piece>,
    keys: u64,
    seed: u64,
    /// The number of the next record; at `end` and beyond there is none.
    next: u64,
    step: u64,
    end: u64,
}

impl Generator {
    pub(super) fn open(
        records: Option<u64>,
        template: &str,
        keys: u64,
        context: &ConnectorContext,
        position: Option<&[u8]>,
    ) -> Result<Generator> {
        let step = u64::from(context.parallelism.max(1));
        let mut next = u64::from(context.subtask);
        if let Some(bytes) = position {
            let position: Position = position::decode(bytes, &format!("the position of source `{}`", context.node))?;
            if position.next % step != next % step && position.next != u64::MAX {
                let (node, at) = (&context.node, position.next);
                return Err(checkpoint_mismatch(format!("source `{node}` went on at record {at} in another subtask"))
                    .hint("restore it with the parallelism that it had"));
            }
            next = position.next;
        }
        let end = records.unwrap_or(u64::MAX);
        Ok(Generator { pieces: split(template), keys: keys.max(1), seed: context.seed, next, step, end })
    }
}

/// What the host can look up in the records of a template: JSON where one is, CSV otherwise.
pub(super) fn format(template: &str) -> Format {
    let mut sample = Vec::new();
    render(&split(template), 0, 1, 0, &mut sample);
    match serde_json::from_slice::<serde::de::IgnoredAny>(&sample) {
        Ok(_) if sample.trim_ascii_start().starts_with(b"{") => Format::Json,
        _ => Format::Csv(None),
    }
}

fn split(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let next = [("{n}", Piece::Number), ("{key}", Piece::Key)]
            .into_iter()
            .filter_map(|(mark, piece)| rest.split_once(mark).map(|(before, after)| (before, after, piece)))
            .min_by_key(|(before, _, _)| before.len());
        let Some((before, after, piece)) = next else {
            pieces.push(Piece::Text(rest.as_bytes().to_vec()));
            break;
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.as_bytes().to_vec()));
        }
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn render(pieces: &[Piece], number: u64, keys: u64, seed: u64, into: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => into.extend_from_slice(text),
            // Writing to a vector cannot fail.
            Piece::Number => drop(write!(into, "{number}")),
            Piece::Key => drop(write!(into, "k{}", xxh3_64_with_seed(&number.to_le_bytes(), seed) % keys)),
        }
    }
}

impl Source for Generator {
    fn poll(&mut self, batch: &mut Batch, records: usize) -> Result<Poll> {
        if records == 0 {
            return Ok(Poll::Pending(Duration::ZERO));
        }
        let bytes = batch.values.bytes().len() + POLL_BYTES_MAX;
        let before = batch.len();
        let records = before.saturating_add(records);
        while self.next < self.end && batch.len() < records && batch.values.bytes().len() < bytes {
            let number = self.next;
            batch.values.push_with(|into| render(&self.pieces, number, self.keys, self.seed, into));
            batch.timestamps.push(NO_TIMESTAMP);
            self.next = number.saturating_add(self.step);
        }
        Ok(if batch.len() > before { Poll::Records } else { Poll::End })
    }

    fn position(&self) -> Result<Vec<u8>> {
        position::encode(&Position { next: self.next })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixtures::{context, drain, subtask_of};
    use super::*;

    fn open(subtask: u32, parallelism: u32, position: Option<&[u8]>) -> Result<Generator> {
        let context = subtask_of(context(std::path::Path::new("")), subtask, parallelism);
        Generator::open(Some(100), "{n},{key},x", 7, &context, position)
    }

    #[test]
    fn the_subtasks_share_the_records() {
        let mut all: Vec<String> = (0..3).flat_map(|subtask| drain(&mut open(subtask, 3, None).unwrap())).collect();
        all.sort_by_key(|record| record.split(',').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(all, drain(&mut open(0, 1, None).unwrap()));
        assert_eq!(all.len(), 100);
        let keys: BTreeSet<&str> = all.iter().map(|record| record.split(',').nth(1).unwrap()).collect();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["k0", "k1", "k2", "k3", "k4", "k5", "k6"]);
    }

    #[test]
    fn a_position_goes_on_where_it_was() {
        let mut first = open(1, 2, None).unwrap();
        let mut batch = Batch::default();
        assert_eq!(first.poll(&mut batch, 0).unwrap(), Poll::Pending(Duration::ZERO));
        assert_eq!(first.poll(&mut batch, 10).unwrap(), Poll::Records);
        let position = first.position().unwrap();
        assert_eq!(drain(&mut open(1, 2, Some(&position)).unwrap()), drain(&mut first));
        assert_eq!(open(0, 2, Some(&position)).err().unwrap().code, "checkpoint-mismatch");
        assert_eq!(open(1, 2, Some(b"")).err().unwrap().code, "checkpoint-corrupt");
    }

    #[test]
    fn a_template_tells_its_format() {
        assert_eq!(format(r#"{"n":{n},"k":"{key}"}"#), Format::Json);
        assert_eq!(format("{n},{key}"), Format::Csv(None));
        assert_eq!(split("{n}{key}{m}"), [Piece::Number, Piece::Key, Piece::Text(b"{m}".to_vec())]);
        assert_eq!(split(""), []);
    }
}
