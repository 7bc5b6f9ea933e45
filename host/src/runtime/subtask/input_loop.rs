//! The loop of a subtask that reads from an input gate, until its last barrier.

use super::subtask_core::SubtaskCore;
use crate::pipeline::InputRole;
use crate::runtime::barrier::Barrier;
use crate::runtime::input::in_flight_data::InFlightData;
use crate::runtime::input::input_gate::{InputEvent, InputGate};
use crate::runtime::subtask_failure::SubtaskError;
use crate::runtime::subtask_snapshot::SubtaskSnapshot;
use crate::turn::{FIRST_INPUT, SECOND_INPUT};

/// The snapshots of an unaligned checkpoint whose in-flight data is not complete yet.
struct UnalignedSnapshots {
    barrier: Barrier,
    since_ns: u64,
    snapshots: Vec<SubtaskSnapshot>,
}

/// A subtask that reads from an input gate.
pub(crate) struct InputLoop {
    pub(super) core: SubtaskCore,
    gate: InputGate,
    unaligned: Option<UnalignedSnapshots>,
}

impl InputLoop {
    pub(crate) fn new(core: SubtaskCore, gate: InputGate) -> InputLoop {
        InputLoop { core, gate, unaligned: None }
    }

    /// Runs until the last barrier has passed. Fails if the subtask fails or is cancelled.
    pub(crate) fn run(&mut self) -> Result<(), SubtaskError> {
        // Set when the sinks have been flushed, and reset when records wait in open batches.
        let mut is_quiet = false;
        loop {
            self.core.check_cancelled()?;
            if self.core.chain.is_event_time_advancing() {
                self.core.chain.continue_event_time()?;
            }
            let is_advancing = self.core.chain.is_event_time_advancing();
            let event = if is_advancing {
                // Due timers precede waiting records; barriers need not wait for either.
                self.gate.next_barrier()?
            } else {
                self.gate.next(self.core.max_wait())?
            };
            match event {
                InputEvent::Timeout if is_advancing || is_quiet => {}
                InputEvent::Timeout => {
                    self.core.chain.flush_sinks()?;
                    self.core.publish_stats();
                    is_quiet = true;
                    continue;
                }
                InputEvent::AlignedBarrier { barrier, since_ns } => {
                    let snapshots = self.core.take_snapshots(barrier, since_ns)?;
                    self.core.acknowledge(barrier, snapshots);
                    if barrier.kind.is_last() {
                        return Ok(());
                    }
                }
                event => {
                    is_quiet = false;
                    self.process(event)?;
                }
            }
            self.core.chain.fire_processing_time_timers()?;
            is_quiet &= !self.core.chain.has_open_records();
            self.core.chain.flush_due()?;
            self.core.publish_stats_if_due();
            self.drop_abandoned_snapshots();
        }
    }

    /// Processes an event that does not end the loop.
    fn process(&mut self, event: InputEvent) -> Result<(), SubtaskError> {
        let chain = &mut self.core.chain;
        match event {
            InputEvent::Batch(InputRole::First, batch) => chain.process(0, FIRST_INPUT, batch),
            InputEvent::Batch(InputRole::Second | InputRole::Broadcast, batch) => chain.process(0, SECOND_INPUT, batch),
            InputEvent::Rejected(rejected) => chain.reject(0, rejected),
            InputEvent::Watermark(watermark) => chain.advance_watermark(watermark),
            InputEvent::Idleness { idle } => chain.set_idle(idle),
            InputEvent::OvertakingBarrier { barrier, since_ns } => {
                let snapshots = self.core.take_snapshots(barrier, since_ns)?;
                self.unaligned = Some(UnalignedSnapshots { barrier, since_ns, snapshots });
                Ok(())
            }
            InputEvent::InFlight { checkpoint, in_flight } => {
                self.complete_unaligned(checkpoint, in_flight);
                Ok(())
            }
            InputEvent::AlignedBarrier { .. } | InputEvent::Timeout => Ok(()),
        }
    }

    /// Adds the in-flight data to the snapshots of an unaligned checkpoint, and acknowledges it.
    fn complete_unaligned(&mut self, checkpoint: u64, in_flight: InFlightData) {
        let matching = self.unaligned.take_if(|unaligned| unaligned.barrier.checkpoint == checkpoint);
        let Some(UnalignedSnapshots { barrier, since_ns, mut snapshots }) = matching else { return };
        let now_ns = self.core.chain.clock.monotonic_ns();
        for snapshot in &mut snapshots {
            snapshot.times.alignment_ns = now_ns.saturating_sub(since_ns);
            snapshot.times.unaligned = true;
        }
        if let Some(first) = snapshots.first_mut() {
            first.in_flight = Some(in_flight).filter(|in_flight| !in_flight.is_empty());
        }
        self.core.acknowledge(barrier, snapshots);
    }

    fn drop_abandoned_snapshots(&mut self) {
        let signals = &self.core.signals;
        self.unaligned.take_if(|unaligned| unaligned.barrier.checkpoint <= signals.abandoned());
    }
}
