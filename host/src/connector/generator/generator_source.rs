//! A source that generates records from a template.
//!
//! Invariant: a job with the same seed gets the same records, each exactly once, at any parallelism.

use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::connector::context::ConnectorContext;
use crate::connector::source::{POLL_BYTES_MAX, Poll, Source, SplitId};
use crate::connector::versioned_bytes;
use crate::error::{Result, checkpoint_corrupt};
use crate::model::{Batch, NO_TIMESTAMP};

/// A literal or a placeholder of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePiece {
    /// Literal text.
    Text(Vec<u8>),
    /// `{n}`: the number of the record, counted from 0.
    Number,
    /// `{key}`: one of the keys `k0`, `k1`, ..., chosen by the hash of the number under the job's seed.
    Key,
}

/// The record numbers `next`, `next + step`, `next + 2 * step` and so on. Durable: a position is a list of progressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progression {
    /// The next number, or `u64::MAX` if none is left.
    next: u64,
    step: u64,
}

/// Version of the positions that are written: a list of progressions. In version 1, each of `p` subtasks had a single
/// progression with the step `p`.
const VERSION: u8 = 2;

/// One subtask's share of a generator. Without a restore, subtask `s` of `p` generates the numbers that are `s` modulo `p`.
pub(super) struct Generator {
    pieces: Vec<TemplatePiece>,
    keys: u64,
    seed: u64,
    progressions: Vec<Progression>,
    /// Number of records; numbers are below it.
    end: u64,
    /// The progressions before the last poll, and the number of records that it returned.
    last_poll: (Vec<Progression>, usize),
}

impl Generator {
    /// Starts from the beginning, or from the restored `positions` of all subtasks.
    pub(super) fn open(
        records: Option<u64>,
        template: &str,
        keys: u64,
        context: &ConnectorContext,
        positions: &[&[u8]],
    ) -> Result<Generator> {
        let step = u64::from(context.parallelism.max(1));
        let progressions = match positions {
            [] => vec![Progression { next: u64::from(context.subtask), step }],
            positions => share(positions, context)?,
        };
        let end = records.unwrap_or(u64::MAX);
        let (pieces, keys, last_poll) = (split(template), keys.max(1), (progressions.clone(), 0));
        Ok(Generator { pieces, keys, seed: context.seed, progressions, end, last_poll })
    }
}

/// Returns the progressions that a subtask continues with after a restore.
///
/// At another parallelism the progressions of all subtasks are dealt out in turn. If there are fewer progressions than
/// subtasks, each is first split into equally many parts.
fn share(positions: &[&[u8]], context: &ConnectorContext) -> Result<Vec<Progression>> {
    let (subtask, parallelism) = (context.subtask as usize, context.parallelism.max(1) as usize);
    if positions.len() == parallelism {
        return positions.get(subtask).map_or_else(|| Ok(Vec::new()), |own| decode(own, parallelism, context));
    }
    let mut all = Vec::new();
    for position in positions {
        all.extend(decode(position, positions.len(), context)?);
    }
    let parts = parallelism.div_ceil(all.len().max(1)) as u64;
    let part = |whole: Progression, part: u64| Progression {
        next: whole.next.saturating_add(whole.step.saturating_mul(part)),
        step: whole.step.saturating_mul(parts),
    };
    let all = all.into_iter().flat_map(|whole| (0..parts).map(move |number| part(whole, number)));
    Ok(all.skip(subtask).step_by(parallelism).collect())
}

/// Decodes the position of one of `parallelism` subtasks.
fn decode(position: &[u8], parallelism: usize, context: &ConnectorContext) -> Result<Vec<Progression>> {
    let what = format!("the position of source `{}`", context.node);
    let progressions = match versioned_bytes::version(position) {
        Some(versioned_bytes::VERSION_1) => {
            let next: u64 = versioned_bytes::decode(versioned_bytes::VERSION_1, position, &what)?;
            vec![Progression { next, step: parallelism as u64 }]
        }
        _ => versioned_bytes::decode::<Vec<Progression>>(VERSION, position, &what)?,
    };
    match progressions.iter().any(|progression| progression.step == 0) {
        true => Err(checkpoint_corrupt(format!("{what} has a step of 0"))),
        false => Ok(progressions),
    }
}

fn split(template: &str) -> Vec<TemplatePiece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let next = [("{n}", TemplatePiece::Number), ("{key}", TemplatePiece::Key)]
            .into_iter()
            .filter_map(|(mark, piece)| rest.split_once(mark).map(|(before, after)| (before, after, piece)))
            .min_by_key(|(before, _, _)| before.len());
        let Some((before, after, piece)) = next else {
            pieces.push(TemplatePiece::Text(rest.as_bytes().to_vec()));
            break;
        };
        if !before.is_empty() {
            pieces.push(TemplatePiece::Text(before.as_bytes().to_vec()));
        }
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn render(pieces: &[TemplatePiece], number: u64, keys: u64, seed: u64, into: &mut Vec<u8>) {
    for piece in pieces {
        match piece {
            TemplatePiece::Text(text) => into.extend_from_slice(text),
            // Writing to a vector never fails.
            TemplatePiece::Number => drop(write!(into, "{number}")),
            TemplatePiece::Key => drop(write!(into, "k{}", xxh3_64_with_seed(&number.to_le_bytes(), seed) % keys)),
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
        self.last_poll.0.clone_from(&self.progressions);
        while batch.len() < records && batch.values.bytes().len() < bytes {
            // Takes the smallest number first, so that the numbers of one subtask ascend.
            let smallest = self.progressions.iter_mut().min_by_key(|progression| progression.next);
            let Some(Progression { next, step }) = smallest.filter(|progression| progression.next < self.end) else {
                break;
            };
            let number = *next;
            batch.values.push_with(|into| render(&self.pieces, number, self.keys, self.seed, into));
            batch.timestamps.push(NO_TIMESTAMP);
            *next = number.saturating_add(*step);
        }
        self.last_poll.1 = batch.len() - before;
        Ok(if batch.len() > before { Poll::Records(SplitId::ONLY) } else { Poll::End })
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<Vec<u8>> {
        versioned_bytes::encode(VERSION, &self.progressions)
    }

    fn give_back(&mut self, records: usize) -> Result<()> {
        let kept = self.last_poll.1.saturating_sub(records);
        self.progressions.clone_from(&self.last_poll.0);
        self.poll(&mut Batch::default(), kept)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::connector::testing::{context, drain, subtask_of};

    fn open(subtask: u32, parallelism: u32, positions: &[&[u8]]) -> Result<Generator> {
        let context = subtask_of(context(std::path::Path::new("")), subtask, parallelism);
        Generator::open(Some(100), "{n},{key},x", 7, &context, positions)
    }

    fn numbers(records: &[String]) -> impl Iterator<Item = u64> {
        records.iter().map(|record| record.split(',').next().unwrap().parse().unwrap())
    }

    #[test]
    fn subtasks_divide_the_records_among_them() {
        let mut all: Vec<String> = (0..3).flat_map(|subtask| drain(&mut open(subtask, 3, &[]).unwrap())).collect();
        all.sort_by_key(|record| record.split(',').next().unwrap().parse::<u64>().unwrap());
        assert_eq!(all, drain(&mut open(0, 1, &[]).unwrap()));
        assert_eq!(all.len(), 100);
        let keys: BTreeSet<&str> = all.iter().map(|record| record.split(',').nth(1).unwrap()).collect();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), ["k0", "k1", "k2", "k3", "k4", "k5", "k6"]);
    }

    #[test]
    fn a_restored_generator_continues_from_its_position() {
        let mut first = open(1, 2, &[]).unwrap();
        let mut batch = Batch::default();
        assert_eq!(first.poll(&mut batch, 0).unwrap(), Poll::Pending(Duration::ZERO));
        assert_eq!(first.poll(&mut batch, 10).unwrap(), Poll::Records(SplitId::ONLY));
        let position = first.snapshot(1).unwrap();
        let both: [&[u8]; 2] = [&open(0, 2, &[]).unwrap().snapshot(1).unwrap(), &position];
        assert_eq!(drain(&mut open(1, 2, &both).unwrap()), drain(&mut first));
        for damaged in [&b""[..], &[2, 1, 7, 0], &[3, 0], &position[..2]] {
            assert_eq!(open(0, 1, &[damaged]).err().unwrap().code, "checkpoint-corrupt", "{damaged:?}");
        }
    }

    #[test]
    fn every_record_is_generated_once_across_changes_of_parallelism() {
        let mut made = Vec::new();
        let mut positions: Vec<Vec<u8>> = Vec::new();
        for (step, parallelism) in [2, 4, 3, 7, 1, 5, 2].into_iter().enumerate() {
            let before: Vec<&[u8]> = positions.iter().map(Vec::as_slice).collect();
            let mut subtasks: Vec<Generator> =
                (0..parallelism).map(|subtask| open(subtask, parallelism, &before).unwrap()).collect();
            assert!(subtasks.iter().all(|subtask| !subtask.progressions.is_empty()), "each subtask has records left");
            for (number, subtask) in subtasks.iter_mut().enumerate() {
                let mut batch = Batch::default();
                subtask.poll(&mut batch, 1 + (step + number) % 4).unwrap();
                made.extend(batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()));
            }
            positions = subtasks.iter_mut().map(|subtask| subtask.snapshot(1).unwrap()).collect();
            if step == 6 {
                subtasks.iter_mut().for_each(|subtask| made.extend(drain(subtask)));
            }
        }
        let mut numbers: Vec<u64> = numbers(&made).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn positions_of_version_1_can_be_restored() {
        let new = open(1, 2, &[]).unwrap().snapshot(1).unwrap();
        assert_eq!(new, [2, 1, 1, 2], "version 2: the list of progressions");
        // Positions of two subtasks: the first is behind record 4, the second behind record 301.
        let old: [&[u8]; 2] = [&[1, 6], &[1, 0xaf, 2]];
        for parallelism in [1, 2, 3] {
            let all = (0..parallelism).flat_map(|subtask| drain(&mut open(subtask, parallelism, &old).unwrap()));
            let mut numbers: Vec<u64> = numbers(&all.collect::<Vec<_>>()).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (6..100).step_by(2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn placeholders_are_found_in_a_template() {
        assert_eq!(
            split("{n}{key}{m}"),
            [TemplatePiece::Number, TemplatePiece::Key, TemplatePiece::Text(b"{m}".to_vec())]
        );
        assert_eq!(split(""), []);
    }
}
