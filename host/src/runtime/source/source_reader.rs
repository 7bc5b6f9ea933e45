//! Polls a source at its rate, and sets the timestamps of its records.
//!
//! An error of the source comes after all records that were read before it.

use std::time::Duration;

use super::rate_limiter::{Allowance, RateShare};
use super::raw_attributes::raw_attributes;
use super::source_decoder::{DecodeFailure, DecodedRecords, SourceDeadLetter, SourceDecoder, UndecodedRecord};
use super::watermark_alignment::AlignmentMembership;
use super::watermark_generator::WatermarkGenerator;
use crate::clock::SharedClock;
use crate::connector::{Poll, RecordLocation, Source, SplitId, UndecodableRecord};
use crate::error::{Error, Result};
use crate::model::{Batch, Column, Counters, NO_TIMESTAMP};
use crate::permits::{self, WaitReason};
use crate::turn::{OutputBatch, OutputId};
use crate::wakeup::Wakeup;

/// Reads one source subtask.
pub(crate) struct SourceReader {
    /// Index among all source subtasks of the job.
    pub(crate) index: usize,
    pub(crate) source: Box<dyn Source>,
    pub(crate) decoder: SourceDecoder,
    pub(crate) watermarks: WatermarkGenerator,
    /// `None` if the source is in no alignment group.
    pub(crate) alignment: Option<AlignmentMembership>,
    /// `None` if the source has no rate limit.
    pub(crate) rate: Option<RateShare>,
    pub(crate) batch_records: usize,
    pub(crate) clock: SharedClock,
    /// Counts what was read.
    pub(crate) counters: Counters,
    /// Whether the source has emitted any records in this attempt.
    pub(crate) has_emitted: bool,
    /// Records and bytes of the last poll: the next one is likely to return as many.
    pub(crate) last_read: (usize, usize),
    /// An error that follows the records that were read last.
    pub(crate) pending_error: Option<Error>,
    /// Whether the source was asked last and had no records.
    pub(crate) awaits_input: bool,
    /// Whether the source has failed and reads no more. Its input has not ended then.
    pub(crate) has_failed: bool,
    /// The indexes within the last poll of the records of the last batch, if some were left out.
    pub(crate) kept: Option<Vec<usize>>,
    /// Whether dead letters of the chain get the positions of their records, because no attribute holds these.
    pub(crate) locates_letters: bool,
    /// The watermark that the alignment group knows.
    pub(crate) reported_watermark: i64,
}

/// What a source has read.
pub(crate) struct SourceBatch {
    /// The batches of the source's outputs. None is empty.
    pub(crate) outputs: Vec<OutputBatch>,
    /// Number of records, each of which is on all outputs but that of dead letters.
    pub(crate) records: usize,
}

impl SourceReader {
    /// Creates the reader of a source without an alignment group and without a rate limit.
    pub(crate) fn new(
        source: Box<dyn Source>,
        decoder: SourceDecoder,
        watermarks: WatermarkGenerator,
        batch_records: usize,
        clock: SharedClock,
    ) -> SourceReader {
        SourceReader {
            index: 0,
            source,
            decoder,
            watermarks,
            alignment: None,
            rate: None,
            batch_records,
            clock,
            counters: Counters::default(),
            has_emitted: false,
            last_read: (0, 0),
            pending_error: None,
            awaits_input: false,
            has_failed: false,
            kept: None,
            locates_letters: false,
            reported_watermark: NO_TIMESTAMP,
        }
    }

    /// Reads the next records and decodes them for each output. Stops searching for the location of a bad record when
    /// `is_cancelled` returns true.
    pub(crate) fn read(&mut self, is_cancelled: &dyn Fn() -> bool) -> Result<(SourceBatch, Poll)> {
        if let Some(error) = self.pending_error.take() {
            return Err(error);
        }
        let (polled, mut poll) = self.poll()?;
        let batch = self.decode(polled, poll, is_cancelled)?;
        if poll == Poll::End {
            self.decoder.end();
        }
        self.counters.records_in += batch.records as u64;
        self.counters.records_out = self.counters.records_in;
        self.has_emitted |= batch.records > 0;
        // After the records, which may be the last ones of a split.
        self.watermarks.set_open_splits(self.source.open_splits());
        if self.awaits_input {
            self.watermarks.note_nothing();
        }
        if self.alignment.is_some() {
            self.report_to_group(self.watermarks.slowest());
        }
        if matches!(poll, Poll::Records(_)) && batch.records == 0 {
            poll = Poll::Pending(Duration::ZERO);
        }
        Ok((batch, poll))
    }

    /// Waits until the source may have records, until the subtask is woken, or until `timeout` has passed.
    pub(crate) fn wait(&self, wakeup: &Wakeup, timeout: Duration) {
        if timeout.is_zero() || wakeup.is_woken() || !self.awaits_input {
            return permits::wait(WaitReason::Input, wakeup, timeout);
        }
        permits::while_waiting(WaitReason::Input, || self.source.wait(wakeup, timeout));
    }

    fn poll(&mut self) -> Result<(Batch, Poll)> {
        self.awaits_input = false;
        let mut records = self.batch_records;
        if let Some(rate) = &self.rate {
            match rate.allowance(self.clock.monotonic_ns()) {
                Allowance::Records(allowed) => records = records.min(usize::try_from(allowed).unwrap_or(usize::MAX)),
                Allowance::Wait(wait) => {
                    // The source is not polled, so it may have records.
                    self.watermarks.note_not_polled();
                    return Ok((Batch::default(), Poll::Pending(wait)));
                }
            }
        }
        let mut batch = Batch::with_capacity(self.last_read.0.min(records), self.last_read.1);
        let polled = self.source.poll(&mut batch, records);
        self.last_read = (batch.len(), batch.values.bytes().len());
        let skipped = self.source.take_skipped();
        self.count_undecodable(skipped);
        self.awaits_input = matches!(polled, Ok(Poll::Pending(_)));
        if let Some(rate) = &self.rate {
            rate.use_up(batch.len());
            if batch.is_empty() && (self.awaits_input || matches!(polled, Ok(Poll::End))) {
                rate.give_up();
            }
        }
        match polled {
            Ok(poll) => Ok((batch, poll)),
            Err(error) if batch.is_empty() => Err(error),
            Err(error) => {
                self.pending_error = Some(error);
                let first = self.source.open_splits().splits.first();
                Ok((batch, Poll::Records(first.copied().unwrap_or(SplitId::ONLY))))
            }
        }
    }

    fn count_undecodable(&mut self, records: u64) {
        match self.decoder.dead_letter_output() {
            Some(_) => self.counters.records_dead_lettered += records,
            None => self.counters.records_skipped += records,
        }
    }

    /// Decodes records. One that cannot be decoded fails the source after the records before it, or is left out.
    fn decode(&mut self, polled: Batch, poll: Poll, is_cancelled: &dyn Fn() -> bool) -> Result<SourceBatch> {
        let count = polled.len();
        let originals = self.decoder.keeps_raw().then(|| polled.values.clone());
        let DecodedRecords { mut outputs, records, max_timestamp, missing, undecodable, kept, failed } =
            self.decoder.decode(polled, self.source.headers());
        if let Poll::Records(split) = poll {
            self.watermarks.add_open_splits(self.source.open_splits());
            self.watermarks.note_records(split, max_timestamp);
        }
        self.counters.add_records_without_timestamp(missing);
        self.count_undecodable(undecodable.len() as u64);
        undecodable.iter().for_each(|record| self.decoder.log_undecodable(&record.defect));
        self.kept = kept;
        if let Some(originals) = originals {
            self.keep_originals(&originals, records, &mut outputs, is_cancelled);
        }
        if let Some(index) = self.decoder.dead_letter_output() {
            let letters = self.dead_letters(&undecodable, is_cancelled);
            outputs.push(OutputBatch { output: OutputId::Declared(index), batch: letters });
        }
        outputs.retain(|output| !output.batch.is_empty());
        let batch = SourceBatch { outputs, records };
        if let Some((index, failure)) = failed {
            let error = self.failure(index, failure, is_cancelled);
            self.source.give_back(count - index)?;
            if batch.outputs.is_empty() {
                return Err(error);
            }
            self.pending_error = Some(error);
        }
        Ok(batch)
    }

    /// Adds the original bytes and the positions of records to all outputs.
    fn keep_originals(
        &mut self,
        originals: &Column,
        records: usize,
        outputs: &mut [OutputBatch],
        is_cancelled: &dyn Fn() -> bool,
    ) {
        let indexes: Vec<usize> = self.kept.clone().unwrap_or_else(|| (0..records).collect());
        let locations = self.source.locate_all(&indexes, is_cancelled);
        for output in outputs {
            let records = indexes.iter().map(|&index| originals.value(index));
            let own = output.batch.attributes.as_ref();
            output.batch.attributes = Some(raw_attributes(self.decoder.node(), own, records, &locations));
        }
    }

    /// Returns the error for the record that fails the source.
    fn failure(&self, index: usize, failure: DecodeFailure, is_cancelled: &dyn Fn() -> bool) -> Error {
        let defect = match failure {
            DecodeFailure::Header(error) => return error,
            DecodeFailure::Record(defect) => defect,
        };
        let place = match self.source.locate(index, is_cancelled) {
            Some(location) => location.with_byte(),
            None => format!("record {}", self.counters.records_in + index as u64 + 1),
        };
        self.decoder.error(&defect, &place)
    }

    /// Returns the dead letters of the last poll: of parts of the input that are no records, and of records that were left out.
    fn dead_letters(&mut self, undecodable: &[UndecodedRecord], is_cancelled: &dyn Fn() -> bool) -> Batch {
        let mut letters = Batch::default();
        for UndecodableRecord { value, location, message } in self.source.take_undecodable() {
            let letter = SourceDeadLetter {
                code: "record-undecodable",
                field: "",
                message: &message,
                location: location.as_ref(),
                value: &value,
            };
            letters.push(&self.decoder.dead_letter(&letter), NO_TIMESTAMP);
        }
        if undecodable.is_empty() {
            return letters;
        }
        let indexes: Vec<usize> = undecodable.iter().map(|record| record.index).collect();
        let locations = self.source.locate_all(&indexes, is_cancelled);
        for (UndecodedRecord { defect, value, .. }, location) in undecodable.iter().zip(&locations) {
            let letter = SourceDeadLetter {
                code: defect.code(),
                field: defect.field(),
                message: &defect.to_string(),
                location: location.as_ref(),
                value,
            };
            letters.push(&self.decoder.dead_letter(&letter), NO_TIMESTAMP);
        }
        letters
    }

    /// Returns the location in the input of record `index` of the last batch. See [`Source::locate`].
    pub(crate) fn locate(&self, index: usize, is_cancelled: &dyn Fn() -> bool) -> Option<RecordLocation> {
        let index = match &self.kept {
            Some(kept) => *kept.get(index)?,
            None => index,
        };
        self.source.locate(index, is_cancelled)
    }

    /// Returns the locations of records of the last batch, in ascending order of their indexes.
    pub(crate) fn locate_all(
        &mut self,
        indexes: &[usize],
        is_cancelled: &dyn Fn() -> bool,
    ) -> Vec<Option<RecordLocation>> {
        let polled = |index: &usize| self.kept.as_ref().map_or(Some(*index), |kept| kept.get(*index).copied());
        let polled: Vec<usize> = indexes.iter().filter_map(polled).collect();
        self.source.locate_all(&polled, is_cancelled)
    }

    /// Returns the warnings about the records read since the last call.
    pub(crate) fn take_warnings(&mut self) -> Vec<String> {
        self.decoder.take_warnings()
    }

    /// Pauses the splits that are ahead of their alignment group. Returns whether the source must wait, because all of them are. The wait
    /// is not a time without records.
    pub(crate) fn must_wait_for_group(&mut self) -> bool {
        let Some(alignment) = &self.alignment else { return false };
        let (watermarks, mut has_changed) = (&mut self.watermarks, false);
        alignment.limit(|allowed| {
            has_changed = watermarks.pause_above(allowed);
            watermarks.paused().map(|(_, watermark)| watermark).min()
        });
        if has_changed {
            let paused: Vec<SplitId> = self.watermarks.paused().map(|(split, _)| split).collect();
            self.source.pause(&paused);
        }
        let must_wait = self.watermarks.is_paused();
        if must_wait {
            self.watermarks.note_not_polled();
        }
        must_wait
    }

    /// Tells the alignment group not to wait for this source, because it is idle or has ended.
    pub(crate) fn release_group(&mut self) {
        self.report_to_group(i64::MAX);
    }

    fn report_to_group(&mut self, watermark: i64) {
        if let Some(alignment) = &self.alignment
            && std::mem::replace(&mut self.reported_watermark, watermark) != watermark
        {
            alignment.advance(watermark);
        }
    }
}
