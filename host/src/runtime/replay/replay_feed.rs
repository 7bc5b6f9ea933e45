//! Reads the letters of one subtask in batches.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::replay_board::{ReplayBoard, ReplayOrder};
use super::replay_position::{LetterOwner, ReplayPosition};
use crate::connector::{LetterLines, StoredLetter};
use crate::error::Result;
use crate::model::row::RowSchema;
use crate::model::{Batch, Column, Fault, FaultCode, Keys, NO_ATTRIBUTES, group_of_key, hash_key};
use crate::operator::RejectedRecord;

/// Largest number of letters that are read in one step. Most of them may belong to other subtasks.
const LETTERS_PER_STEP: usize = 4096;

/// The letters that the operator processes next.
pub(crate) enum ReplayStep {
    /// Records of one input that have failed equally often.
    Records { input: u32, batch: Batch, failed_before: u32 },
    /// A record that was rejected before it reached the operator.
    Rejected { record: RejectedRecord, failed_before: u32 },
    /// A letter that cannot be replayed, such as that of a timer: it is kept.
    Kept(Vec<u8>),
    /// Nothing of what was read belongs to this subtask.
    Nothing,
}

/// The replays of one operator in one subtask.
pub(crate) struct ReplayFeed {
    board: ReplayBoard,
    operator: String,
    subtask: u32,
    parallelism: u32,
    max_parallelism: u32,
    is_keyed: bool,
    /// The board's version that `open` is of.
    seen: Option<u64>,
    /// The replays whose letters have not all been read.
    open: VecDeque<Arc<ReplayOrder>>,
    reader: Option<OrderReader>,
    position: ReplayPosition,
}

/// Identifies an operator in one subtask.
pub(crate) struct FedOperator {
    pub(crate) id: String,
    pub(crate) subtask: u32,
    pub(crate) parallelism: u32,
    pub(crate) max_parallelism: u32,
    pub(crate) is_keyed: bool,
}

impl ReplayFeed {
    /// Creates the feed of an operator that continues at `position`.
    pub(crate) fn new(board: ReplayBoard, operator: FedOperator, position: ReplayPosition) -> ReplayFeed {
        let FedOperator { id, subtask, parallelism, max_parallelism, is_keyed } = operator;
        let open: Vec<u64> = board.orders_of(&id).iter().map(|order| order.id).collect();
        let mut position = position;
        position.retain(&open);
        ReplayFeed {
            board,
            operator: id,
            subtask,
            parallelism,
            max_parallelism,
            is_keyed,
            seen: None,
            open: VecDeque::new(),
            reader: None,
            position,
        }
    }

    /// Returns whether letters are left to read.
    pub(crate) fn has_letters(&mut self) -> bool {
        let version = self.board.version();
        if self.seen.replace(version) != Some(version) {
            let orders = self.board.orders_of(&self.operator).into_iter();
            self.open = orders.filter(|order| self.position.read(order.id) < order.letters).collect();
        }
        !self.open.is_empty()
    }

    /// Returns the position behind the last step, if anything was replayed.
    pub(crate) fn position(&self) -> Result<Option<Vec<u8>>> {
        self.position.encode()
    }

    /// Reads the next letters, up to `records` of this subtask. The caller processes them before it takes a snapshot.
    pub(crate) fn next_step(&mut self, records: usize) -> Result<ReplayStep> {
        let Some(order) = self.open.front().cloned() else { return Ok(ReplayStep::Nothing) };
        let mut reader = match self.reader.take() {
            Some(reader) if reader.order.id == order.id => reader,
            _ => OrderReader::open(order.clone(), self.position.read(order.id))?,
        };
        let mut batch = LetterBatch::default();
        let mut step = None;
        for _ in 0..LETTERS_PER_STEP {
            let Some(line) = reader.take_line()? else { break };
            match self.judge((order.id, reader.next), &line, &mut batch, records) {
                LetterFate::Next => reader.next += 1,
                LetterFate::Alone(alone) => {
                    reader.next += 1;
                    step = Some(alone);
                    break;
                }
                LetterFate::Later => {
                    reader.given_back = Some(line);
                    break;
                }
            }
        }
        let read = if reader.has_ended { order.letters } else { reader.next };
        self.position.set_read(order.id, read);
        if read >= order.letters {
            self.open.pop_front();
        } else {
            self.reader = Some(reader);
        }
        Ok(step.unwrap_or_else(|| batch.into_step()))
    }

    /// Decides what becomes of a letter, by its replay and its index. One that fits is added to the batch.
    fn judge(&self, (replay, index): (u64, u64), line: &[u8], batch: &mut LetterBatch, records: usize) -> LetterFate {
        let Some(letter) = StoredLetter::parse(line) else {
            // Not written by this program. The first subtask keeps it for the user.
            return if self.subtask == 0 { batch.alone(ReplayStep::Kept(line.to_vec())) } else { LetterFate::Next };
        };
        let key = letter.key().filter(|_| self.is_keyed);
        let group = key.as_ref().map(|key| group_of_key(hash_key(key), self.max_parallelism));
        let owner = LetterOwner { group, failed_in: letter.position.subtask, max_parallelism: self.max_parallelism };
        if owner.subtask(self.parallelism) != self.subtask || self.position.was_handled(replay, index, &owner) {
            return LetterFate::Next;
        }
        batch.add(line, &letter, key.as_deref().zip(group), self.is_keyed, records)
    }
}

/// Returns what the operator processes for one letter.
pub(crate) fn step_of_letter(line: &[u8], is_keyed: bool, max_parallelism: u32) -> ReplayStep {
    let Some(letter) = StoredLetter::parse(line) else { return ReplayStep::Kept(line.to_vec()) };
    let key = letter.key().filter(|_| is_keyed);
    let group = key.as_ref().map(|key| group_of_key(hash_key(key), max_parallelism));
    let mut batch = LetterBatch::default();
    match batch.add(line, &letter, key.as_deref().zip(group), is_keyed, 1) {
        LetterFate::Alone(step) => step,
        LetterFate::Next | LetterFate::Later => batch.into_step(),
    }
}

/// What becomes of a letter that was read.
enum LetterFate {
    /// It is in the batch, or belongs to another subtask.
    Next,
    /// It is a step of its own.
    Alone(ReplayStep),
    /// It comes after the batch, in another step.
    Later,
}

/// Letters of one input, schema and number of failures.
#[derive(Default)]
struct LetterBatch {
    kind: Option<(u32, Option<RowSchema>, u32)>,
    values: Column,
    timestamps: Vec<i64>,
    attributes: Column,
    has_attributes: bool,
    keys: Keys,
    /// Index of each distinct key.
    key_indexes: HashMap<Vec<u8>, u32>,
}

impl LetterBatch {
    fn alone(&self, step: ReplayStep) -> LetterFate {
        if self.values.is_empty() { LetterFate::Alone(step) } else { LetterFate::Later }
    }

    /// Adds the record of a letter if it fits.
    fn add(
        &mut self,
        line: &[u8],
        letter: &StoredLetter<'_>,
        key: Option<(&[u8], u16)>,
        is_keyed: bool,
        records: usize,
    ) -> LetterFate {
        let failed_before = letter.attempt;
        let Some(record) = letter.record() else { return self.alone(ReplayStep::Kept(line.to_vec())) };
        let timestamp = letter.timestamp();
        if record.rejected || (is_keyed && key.is_none() && record.input == 0) {
            let code = serde_json::from_value(letter.code.clone().into()).unwrap_or(FaultCode::RecordInvalid);
            let fault = Fault::new(code, letter.message.clone());
            let schema = record.schema.map(Arc::new);
            let record = RejectedRecord { value: record.value, schema, timestamp, fault };
            return self.alone(ReplayStep::Rejected { record, failed_before });
        }
        let kind = (record.input, record.schema, failed_before);
        if self.values.len() >= records || self.kind.as_ref().is_some_and(|known| *known != kind) {
            return LetterFate::Later;
        }
        self.kind = Some(kind);
        self.push(&record.value, timestamp, record.attributes.as_deref(), key);
        LetterFate::Next
    }

    fn push(&mut self, value: &[u8], timestamp: i64, attributes: Option<&[u8]>, key: Option<(&[u8], u16)>) {
        self.values.push(value);
        self.timestamps.push(timestamp);
        self.attributes.push(attributes.unwrap_or(NO_ATTRIBUTES));
        self.has_attributes |= attributes.is_some();
        let Some((key, group)) = key else { return };
        let next = self.keys.groups.len() as u32;
        let index = *self.key_indexes.entry_ref(key).or_insert(next);
        if index == next {
            self.keys.distinct.push(key);
            self.keys.groups.push(group);
        }
        self.keys.key_of.push(index);
    }

    fn into_step(self) -> ReplayStep {
        let Some((input, schema, failed_before)) = self.kind else { return ReplayStep::Nothing };
        let batch = Batch {
            values: self.values,
            timestamps: self.timestamps,
            attributes: self.has_attributes.then_some(self.attributes),
            keys: (!self.keys.key_of.is_empty()).then(|| Arc::new(self.keys)),
            schema: schema.map(Arc::new),
            ..Batch::default()
        };
        ReplayStep::Records { input, batch, failed_before }
    }
}

/// Reads the letters of a replay in order.
struct OrderReader {
    order: Arc<ReplayOrder>,
    /// Index of the part that is read.
    part: usize,
    lines: Option<LetterLines>,
    /// The letter that was read and not used.
    given_back: Option<Vec<u8>>,
    /// Index of the next letter.
    next: u64,
    has_ended: bool,
}

impl OrderReader {
    /// Opens the letters behind the first `skipped` ones.
    fn open(order: Arc<ReplayOrder>, skipped: u64) -> Result<OrderReader> {
        let mut reader = OrderReader { order, part: 0, lines: None, given_back: None, next: 0, has_ended: false };
        while reader.next < skipped && reader.open_part()? {
            let Some(lines) = &mut reader.lines else { break };
            reader.next += lines.skip(skipped - reader.next)?;
            if reader.next < skipped {
                reader.close_part();
            }
        }
        Ok(reader)
    }

    /// Opens the current part. Returns false behind the last one.
    fn open_part(&mut self) -> Result<bool> {
        while self.lines.is_none() {
            let Some(path) = self.order.parts.get(self.part) else { return Ok(false) };
            if path.exists() {
                self.lines = Some(LetterLines::open(path)?);
            } else {
                tracing::warn!(operator = %self.order.operator, "`{}` was removed, so its letters are not replayed", path.display());
                self.part += 1;
            }
        }
        Ok(true)
    }

    fn close_part(&mut self) {
        self.lines = None;
        self.part += 1;
    }

    /// Reads the next letter. `None` at the end.
    fn take_line(&mut self) -> Result<Option<Vec<u8>>> {
        if let Some(line) = self.given_back.take() {
            return Ok(Some(line));
        }
        while self.open_part()? {
            match self.lines.as_mut().map(LetterLines::next_line).transpose()?.flatten() {
                Some(line) => return Ok(Some(line.json)),
                None => self.close_part(),
            }
        }
        self.has_ended = true;
        Ok(None)
    }
}
