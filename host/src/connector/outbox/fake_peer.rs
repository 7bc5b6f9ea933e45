//! A peer in memory with transactions and markers, which fails where a test wants it to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::publisher::{OutboxPeer, Parts, Publisher, Trouble};
use crate::error::sink_unwritable;

/// A step of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerStep {
    /// Reads a marker without fencing.
    Marker,
    /// Fences others and reads the marker.
    Connect,
    Begin,
    /// Takes a record.
    Produce,
    SetMarker,
    /// Is asked to commit. The request is lost.
    BeforeCommit,
    /// Has committed. The answer is lost.
    AfterCommit,
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerFault {
    /// The peer is away.
    Away,
    /// Another publisher took over.
    Fenced,
    /// The process is killed.
    Kill,
}

pub(super) const ALL_STEPS: [PeerStep; 6] = [
    PeerStep::Connect,
    PeerStep::Begin,
    PeerStep::Produce,
    PeerStep::SetMarker,
    PeerStep::BeforeCommit,
    PeerStep::AfterCommit,
];

/// A peer. Clones are the same peer.
#[derive(Clone, Default)]
pub struct FakePeer {
    target: String,
    state: Arc<Mutex<PeerState>>,
}

#[derive(Default)]
struct PeerState {
    identities: BTreeMap<String, IdentityState>,
    is_away: bool,
    /// The peer goes away before it takes more records than this.
    records_max: Option<usize>,
    /// Committed values, in order.
    visible: Vec<String>,
    faults: VecDeque<(PeerStep, PeerFault)>,
}

#[derive(Default)]
struct IdentityState {
    /// Number of the publisher that may write.
    generation: u64,
    marker: Option<u64>,
    /// The open transaction.
    open: Option<Vec<String>>,
}

impl FakePeer {
    /// Returns the peer of this name. There is one in the process.
    pub fn named(name: &str) -> FakePeer {
        static PEERS: Mutex<BTreeMap<String, FakePeer>> = Mutex::new(BTreeMap::new());
        PEERS.lock().entry(name.to_owned()).or_insert_with(|| FakePeer::new(name)).clone()
    }

    /// Makes every step fail until the peer is back.
    pub fn set_away(&self, is_away: bool) {
        let mut state = self.state.lock();
        (state.is_away, state.records_max) = (is_away, None);
    }

    /// Makes the peer go away before it takes more records than this. So there is output that is not published, at any speed of the job.
    pub fn leave_after(&self, records: usize) {
        self.state.lock().records_max = Some(records);
    }

    pub(super) fn new(target: &str) -> FakePeer {
        FakePeer { target: target.to_owned(), state: Arc::default() }
    }

    /// The same peer, as a sink with other settings names it.
    pub(super) fn with_target(&self, target: &str) -> FakePeer {
        FakePeer { target: target.to_owned(), ..self.clone() }
    }

    /// Makes the next passages of steps fail, in this order.
    pub(super) fn fail(&self, faults: impl IntoIterator<Item = (PeerStep, PeerFault)>) {
        self.state.lock().faults = faults.into_iter().collect();
    }

    pub(super) fn faults_left(&self) -> usize {
        self.state.lock().faults.len()
    }

    pub fn visible(&self) -> Vec<String> {
        self.state.lock().visible.clone()
    }

    pub(super) fn marker(&self, identity: &str) -> Option<u64> {
        self.state.lock().identities.get(identity).and_then(|identity| identity.marker)
    }

    pub(super) fn lose_markers(&self) {
        self.state.lock().identities.values_mut().for_each(|identity| identity.marker = None);
    }

    pub fn has_open_transaction(&self) -> bool {
        self.state.lock().identities.values().any(|identity| identity.open.is_some())
    }
}

impl OutboxPeer for FakePeer {
    fn target(&self) -> String {
        self.target.clone()
    }

    fn publisher(&self, identity: &str) -> Result<Box<dyn Publisher>, Trouble> {
        Ok(Box::new(FakePublisher { peer: self.clone(), identity: identity.to_owned(), generation: None }))
    }
}

struct FakePublisher {
    peer: FakePeer,
    identity: String,
    generation: Option<u64>,
}

impl FakePublisher {
    /// Passes a step, which may fail.
    fn step(&self, step: PeerStep) -> Result<(), Trouble> {
        let mut state = self.peer.state.lock();
        let open: usize = state.identities.values().flat_map(|identity| &identity.open).map(Vec::len).sum();
        let taken = state.visible.len() + open;
        state.is_away |= step == PeerStep::Produce && state.records_max.is_some_and(|max| taken >= max);
        if state.is_away {
            return Err(Trouble::Retry(sink_unwritable("the peer is away")));
        }
        if state.faults.front().is_none_or(|(at, _)| *at != step) {
            return Ok(());
        }
        let error = sink_unwritable(format!("the peer failed at {step:?}"));
        match state.faults.pop_front() {
            Some((_, PeerFault::Away)) => Err(Trouble::Retry(error)),
            Some((_, PeerFault::Fenced)) => Err(Trouble::Fenced(error)),
            _ => Err(Trouble::Fatal(error)),
        }
    }

    /// Changes the state of the identity, unless another publisher took over.
    fn change<T>(&self, change: impl FnOnce(&mut IdentityState, &mut Vec<String>) -> T) -> Result<T, Trouble> {
        let mut state = self.peer.state.lock();
        let PeerState { identities, visible, .. } = &mut *state;
        let identity = identities.entry(self.identity.clone()).or_default();
        match self.generation == Some(identity.generation) {
            true => Ok(change(identity, visible)),
            false => Err(Trouble::Fenced(sink_unwritable("fenced"))),
        }
    }
}

impl Publisher for FakePublisher {
    fn marker(&mut self) -> Result<Option<u64>, Trouble> {
        self.step(PeerStep::Marker)?;
        Ok(self.peer.marker(&self.identity))
    }

    fn last_published(&mut self) -> Result<Option<u64>, Trouble> {
        self.step(PeerStep::Connect)?;
        let mut state = self.peer.state.lock();
        let identity = state.identities.entry(self.identity.clone()).or_default();
        identity.generation += 1;
        identity.open = None;
        self.generation = Some(identity.generation);
        Ok(identity.marker)
    }

    fn publish(&mut self, epoch: u64, parts: &mut dyn Parts) -> Result<(), Trouble> {
        self.step(PeerStep::Begin)?;
        self.change(|identity, _| identity.open = Some(Vec::new()))?;
        parts.for_each(&mut |record| {
            self.step(PeerStep::Produce)?;
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            self.change(|identity, _| identity.open.as_mut().unwrap().push(value))
        })?;
        self.step(PeerStep::SetMarker)?;
        self.step(PeerStep::BeforeCommit)?;
        self.change(|identity, visible| {
            visible.extend(identity.open.take().unwrap());
            identity.marker = Some(epoch);
        })?;
        self.step(PeerStep::AfterCommit)
    }
}
