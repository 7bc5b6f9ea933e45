//! The loop of a subtask that reads from an input gate, until its last barrier.

use std::time::Duration;

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
        let result = self.run_loop();
        if result.is_err() {
            // Totals contain what was processed after the last publication.
            self.core.publish_stats();
        }
        result
    }

    fn run_loop(&mut self) -> Result<(), SubtaskError> {
        loop {
            self.core.begin_step()?;
            match self.next_event()? {
                InputEvent::AlignedBarrier { barrier, since_ns } => {
                    let snapshots = self.core.take_snapshots(barrier, since_ns)?;
                    self.core.acknowledge(barrier, snapshots);
                    if barrier.kind.is_last() {
                        return Ok(());
                    }
                }
                event => self.process(event)?,
            }
            self.core.finish_step()?;
            self.drop_abandoned_snapshots();
        }
    }

    /// Returns the next event, and waits for it if nothing else is left to do.
    fn next_event(&mut self) -> Result<InputEvent, SubtaskError> {
        self.core.chain.continue_event_time()?;
        if self.core.chain.is_event_time_advancing() {
            // Due timers precede waiting records; barriers need not wait for either.
            return Ok(self.gate.next_barrier()?);
        }
        match self.gate.next(Duration::ZERO)? {
            InputEvent::Timeout => Ok(self.gate.next(self.core.prepare_wait()?)?),
            event => Ok(event),
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
        fail_point!("snapshot.in-flight");
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
