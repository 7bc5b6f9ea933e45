//! The thread of one source subtask that waits for the cluster: it connects, looks up where to begin, and lists partitions.
//!
//! The subtask's own thread never waits for a broker once the source is open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::client::{FetchedTopics, KafkaConsumer, KafkaError, KafkaErrorKind, StartOffset, TopicId, TopicPartition};
use super::topics::{TopicSelection, matches};
use crate::access::AccessPolicy;
use crate::clock::SharedClock;
use crate::connector::health::HealthReporter;
use crate::connector::splits::SplitName;
use crate::error::{Error, Result, internal};
use crate::wakeup::Wakeup;

/// Time between two tries to reach a broker.
const RETRY: Duration = Duration::from_millis(500);
/// Time after which a missing topic counts as deleted.
const MISSING_MAX: Duration = Duration::from_secs(10);

/// What the thread is to do.
pub(super) struct WatchOrder {
    pub(super) node: String,
    pub(super) topics: TopicSelection,
    pub(super) policy: AccessPolicy,
    pub(super) clock: SharedClock,
    /// Time between two listings. `None` lists once.
    pub(super) interval: Option<Duration>,
    /// The offsets that are looked up before the first listing is reported.
    pub(super) first: FirstOffsets,
}

/// The offsets that a source needs when it begins.
pub(super) struct FirstOffsets {
    /// The start of the source's new partitions. `None` after a restore: they begin at the earliest.
    pub(super) start: Option<StartOffset>,
    /// Whether the present ends are looked up, too.
    pub(super) with_ends: bool,
    /// Returns whether this subtask reads a partition.
    pub(super) is_own: Box<dyn Fn(&SplitName) -> bool + Send>,
}

/// A listing, with the first offsets and the ends of partitions that were looked up.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) partitions: Vec<SplitName>,
    pub(super) starts: BTreeMap<SplitName, i64>,
    pub(super) ends: BTreeMap<SplitName, i64>,
    /// The ids of the topics, as far as the brokers have ids.
    pub(super) ids: BTreeMap<String, TopicId>,
}

/// The thread, as its source sees it. It ends when this is dropped.
pub(super) struct ClusterWatcher {
    listings: Receiver<Result<Listing>>,
    stop: Arc<AtomicBool>,
    /// Set to list the partitions now.
    poked: Arc<AtomicBool>,
    /// Wakes the thread.
    wakeup: Wakeup,
}

impl ClusterWatcher {
    /// Starts the thread. It calls `wake` after each listing. `thread_wakeup` is the one that wakes it for the client.
    pub(super) fn start(
        order: WatchOrder,
        consumer: Arc<KafkaConsumer>,
        health: HealthReporter,
        thread_wakeup: Wakeup,
        subtask: Wakeup,
    ) -> Result<ClusterWatcher> {
        let (sender, listings) = crossbeam_channel::unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let poked = Arc::new(AtomicBool::new(false));
        let task = WatchTask {
            clock: order.clock.clone(),
            order,
            consumer,
            health,
            sender,
            subtask,
            wakeup: thread_wakeup.clone(),
            stop: stop.clone(),
            poked: poked.clone(),
            is_down: false,
            known: BTreeSet::new(),
        };
        let thread = std::thread::Builder::new().name(format!("kafka {}", task.order.node));
        thread.spawn(move || task.run()).map_err(|cause| internal(format!("cannot start a thread: {cause}")))?;
        Ok(ClusterWatcher { listings, stop, poked, wakeup: thread_wakeup })
    }

    /// Lists the partitions now: one of them seems to be missing.
    pub(super) fn poke(&self) {
        self.poked.store(true, Ordering::SeqCst);
        self.wakeup.wake();
    }

    /// Returns the next listing, if there is one. An error is final.
    pub(super) fn take(&self) -> Option<Result<Listing>> {
        self.listings.try_recv().ok()
    }
}

impl Drop for ClusterWatcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wakeup.wake();
    }
}

struct WatchTask {
    order: WatchOrder,
    consumer: Arc<KafkaConsumer>,
    health: HealthReporter,
    sender: Sender<Result<Listing>>,
    subtask: Wakeup,
    wakeup: Wakeup,
    stop: Arc<AtomicBool>,
    poked: Arc<AtomicBool>,
    clock: SharedClock,
    is_down: bool,
    /// The topics of the last listing.
    known: BTreeSet<String>,
}

impl WatchTask {
    fn run(mut self) {
        let mut is_first = true;
        let mut due_ns = Some(0);
        let mut missing_since_ns = None;
        while !self.stop.load(Ordering::SeqCst) {
            self.consumer.serve();
            self.report_health();
            if let Some(refused) = self.consumer.state().refused_address() {
                self.send(Err(refused.into_source_error().context(format!("source `{}`", self.order.node))));
                return;
            }
            let now_ns = self.clock.monotonic_ns();
            if self.poked.swap(false, Ordering::SeqCst) && !is_first {
                due_ns = due_ns.min(Some(now_ns)).or(Some(now_ns));
            }
            let wait = due_ns.map_or(Duration::MAX, |due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns)));
            if !wait.is_zero() {
                self.wakeup.wait(wait);
                continue;
            }
            let outcome = self.list(is_first);
            let now_ns = self.clock.monotonic_ns();
            let retry_ns = now_ns.saturating_add(RETRY.as_nanos() as u64);
            match outcome {
                Ok(listing) => {
                    (is_first, missing_since_ns) = (false, None);
                    self.known = listing.partitions.iter().map(|name| name.of.clone()).collect();
                    self.send(Ok(listing));
                    due_ns = self.order.interval.map(|interval| now_ns.saturating_add(interval.as_nanos() as u64));
                }
                Err(WatchError::Retry(error)) => {
                    self.set_down(&error);
                    due_ns = Some(retry_ns);
                }
                // A broker that has just started may not know its topics yet.
                Err(WatchError::Missing(_) | WatchError::Fewer)
                    if now_ns < *missing_since_ns.get_or_insert(now_ns) + MISSING_MAX.as_nanos() as u64 =>
                {
                    due_ns = Some(retry_ns);
                }
                Err(WatchError::Fewer) => {
                    // The next listing is taken as it is.
                    self.known.clear();
                    due_ns = Some(now_ns);
                }
                Err(WatchError::Missing(error) | WatchError::Fatal(error)) => {
                    self.send(Err(error));
                    due_ns = None;
                }
            }
        }
    }

    fn send(&self, listing: Result<Listing>) {
        // The source may be gone.
        let _ = self.sender.send(listing);
        self.subtask.wake();
    }

    fn report_health(&mut self) {
        match self.consumer.state().error() {
            Some(error) => self.set_down(&error),
            None if self.is_down => {
                self.is_down = false;
                self.health.healthy();
            }
            None => {}
        }
    }

    fn set_down(&mut self, error: &KafkaError) {
        self.is_down = true;
        self.health.down(&error.message);
    }

    fn list(&self, is_first: bool) -> Result<Listing, WatchError> {
        let fetched = self.fetch()?;
        for broker in &fetched.brokers {
            // A broker could otherwise send the client to any address.
            self.order.policy.check_address(broker).map_err(|error| {
                WatchError::Fatal(
                    error.context(format!("source `{}`: a broker advertises an address", self.order.node)),
                )
            })?;
        }
        let name = |topic: &str, partition: i32| {
            u32::try_from(partition).ok().map(|number| SplitName { of: topic.to_owned(), number })
        };
        let partitions =
            fetched.topics.iter().flat_map(|(topic, all)| all.iter().filter_map(move |&one| name(topic, one)));
        let mut listing = Listing { partitions: partitions.collect(), ..Listing::default() };
        let topics: BTreeSet<&str> = listing.partitions.iter().map(|name| name.of.as_str()).collect();
        if self.known.iter().any(|topic| !topics.contains(topic.as_str())) {
            return Err(WatchError::Fewer);
        }
        let topics: Vec<&str> = topics.into_iter().collect();
        listing.ids =
            self.consumer.topic_ids(&topics, fetched.answering_broker).map_err(|error| self.classify(error))?;
        if is_first {
            self.look_up(&mut listing)?;
        }
        Ok(listing)
    }

    fn fetch(&self) -> Result<FetchedTopics, WatchError> {
        let names = match &self.order.topics {
            TopicSelection::Pattern(pattern) => {
                let mut fetched = self.consumer.fetch_topics(None).map_err(|error| self.classify(error))?;
                fetched.topics.retain(|(topic, _)| matches(pattern, topic));
                return Ok(fetched);
            }
            TopicSelection::Names(names) => names,
        };
        let mut all = FetchedTopics::default();
        for name in names {
            let fetched = self.consumer.fetch_topics(Some(name)).map_err(|error| self.classify(error))?;
            all.topics.extend(fetched.topics);
            (all.brokers, all.answering_broker) = (fetched.brokers, fetched.answering_broker);
        }
        Ok(all)
    }

    fn look_up(&self, listing: &mut Listing) -> Result<(), WatchError> {
        let FirstOffsets { start, with_ends, is_own } = &self.order.first;
        let own: Vec<&SplitName> = listing.partitions.iter().filter(|name| is_own(name)).collect();
        let partitions: Vec<TopicPartition> = own.iter().map(|name| topic_partition(name)).collect();
        if let Some(start) = start {
            let offsets = self.consumer.start_offsets(&partitions, start).map_err(|error| self.classify(error))?;
            listing.starts = own.iter().map(|name| (*name).clone()).zip(offsets).collect();
        }
        if *with_ends {
            let offsets = self.consumer.end_offsets(&partitions).map_err(|error| self.classify(error))?;
            listing.ends = own.iter().map(|name| (*name).clone()).zip(offsets).collect();
        }
        Ok(())
    }

    fn classify(&self, error: KafkaError) -> WatchError {
        match error.kind {
            KafkaErrorKind::Unreachable => WatchError::Retry(error),
            kind => {
                let error = error.into_source_error().context(format!("source `{}`", self.order.node));
                if kind == KafkaErrorKind::Missing { WatchError::Missing(error) } else { WatchError::Fatal(error) }
            }
        }
    }
}

enum WatchError {
    /// The cluster may answer later.
    Retry(KafkaError),
    /// A topic does not exist.
    Missing(Error),
    /// A topic that the pattern matched no longer exists.
    Fewer,
    Fatal(Error),
}

/// Returns the partition that a split names.
pub(super) fn topic_partition(name: &SplitName) -> TopicPartition {
    TopicPartition { topic: name.of.as_str().into(), partition: name.number.cast_signed() }
}
