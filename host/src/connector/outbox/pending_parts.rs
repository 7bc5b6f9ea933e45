//! The parts that a publication hands to a publisher, read one after the other.

use std::io::Read;

use super::committable::{OutboxPart, PartContent};
use super::part_reader::PartReader;
use super::publisher::{Parts, Trouble};
use super::record::OutboxRecord;
use crate::connector::sink::OutputFiles;
use crate::error::{Result, sink_unwritable};
use crate::model::Interrupt;

/// Parts of a checkpoint, in order.
pub(super) struct PendingParts<'a> {
    pub(super) parts: &'a [OutboxPart],
    pub(super) files: &'a dyn OutputFiles,
    /// Ends the reading between two blocks.
    pub(super) interrupt: &'a Interrupt,
}

impl PendingParts<'_> {
    fn open<'a>(&'a self, part: &'a OutboxPart) -> Result<PartReader<'a>> {
        let (source, name): (Box<dyn Read>, String) = match &part.content {
            PartContent::Inline(bytes) => (
                Box::new(&bytes[..]),
                format!("the part of checkpoint {} and subtask {}", part.checkpoint, part.subtask),
            ),
            PartContent::File(name) => (Box::new(self.files.open(name)?), name.clone()),
        };
        PartReader::new(source, name, part.bytes, part.records)
    }
}

impl Parts for PendingParts<'_> {
    fn for_each(&mut self, take: &mut dyn FnMut(&OutboxRecord<'_>) -> Result<(), Trouble>) -> Result<(), Trouble> {
        for part in self.parts {
            fail_point!("outbox.part", |why| Trouble::Retry(sink_unwritable(why)));
            let mut reader = self.open(part)?;
            loop {
                self.interrupt.check().map_err(Trouble::Retry)?;
                if !reader.next_block(&mut *take)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn records(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.records))
    }
}
