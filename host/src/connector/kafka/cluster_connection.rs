//! Connects one subtask of a source to its cluster: the client, the thread that watches the cluster, and the first listing.

use std::sync::Arc;
use std::time::Duration;

use super::client::{ConsumerSettings, KafkaConsumer, PREFETCH_BYTES_MIN};
use super::source_settings::KafkaSourceSettings;
use super::watcher::{ClusterWatcher, FirstOffsets, Listing, WatchOrder};
use crate::connector::context::ConnectorContext;
use crate::connector::splits::SplitName;
use crate::error::Result;
use crate::permits::{self, WaitReason};
use crate::wakeup::Wakeup;

/// Time that one call to the cluster may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that has reached its cluster.
pub(super) struct ClusterConnection {
    pub(super) consumer: Arc<KafkaConsumer>,
    pub(super) watcher: ClusterWatcher,
    /// The first listing.
    pub(super) listing: Listing,
}

impl ClusterConnection {
    /// Connects, and waits until a broker answers. `is_new` says that the source has no position yet. Errors: those of the
    /// source.
    pub(super) fn open(settings: &KafkaSourceSettings, context: &ConnectorContext, is_new: bool) -> Result<Self> {
        let mut prefetch_bytes = settings.consumer.prefetch_bytes;
        loop {
            let connection = ClusterConnection::open_with(settings, context, is_new, prefetch_bytes)?;
            let (subtask, parallelism) = (context.subtask, context.parallelism);
            let is_own = |name: &&SplitName| name.owner(parallelism) == subtask;
            let partitions = connection.listing.partitions.iter().filter(is_own).count();
            let share = prefetch_share(settings.consumer.prefetch_bytes, settings.prefetch_total_bytes, partitions);
            if share >= prefetch_bytes {
                return Ok(connection);
            }
            // A client cannot change the size of its queues.
            prefetch_bytes = share;
        }
    }

    fn open_with(
        settings: &KafkaSourceSettings,
        context: &ConnectorContext,
        is_new: bool,
        prefetch_bytes: usize,
    ) -> Result<Self> {
        let thread_wakeup = Wakeup::default();
        let waker = thread_wakeup.clone();
        let consumer_settings = ConsumerSettings { prefetch_bytes, ..settings.consumer.clone() };
        let consumer =
            KafkaConsumer::create(&settings.connection, &consumer_settings, CALL_TIMEOUT, move || waker.wake())?;
        let consumer = Arc::new(consumer);
        let (subtask, parallelism) = (context.subtask, context.parallelism);
        let order = WatchOrder {
            node: context.node.clone(),
            topics: settings.topics.clone(),
            policy: context.policy.clone(),
            clock: context.clock.clone(),
            interval: settings.discover.filter(|_| !settings.ends_at_latest),
            first: FirstOffsets {
                start: is_new.then(|| settings.start.clone()),
                with_ends: settings.ends_at_latest,
                is_own: Box::new(move |name| name.owner(parallelism) == subtask),
            },
        };
        let (health, wakeup) = (context.health.clone(), context.wakeup.clone());
        let watcher = ClusterWatcher::start(order, consumer.clone(), health, thread_wakeup, wakeup)?;
        let listing = first_listing(&watcher, context)?;
        Ok(ClusterConnection { consumer, watcher, listing })
    }
}

/// Returns the bytes of each partition that are fetched ahead, so that all partitions together keep to `total`.
fn prefetch_share(of_partition: usize, total: usize, partitions: usize) -> usize {
    let share = total.checked_div(partitions).unwrap_or(of_partition);
    of_partition.min(share.max(PREFETCH_BYTES_MIN))
}

/// Waits for the first listing.
fn first_listing(watcher: &ClusterWatcher, context: &ConnectorContext) -> Result<Listing> {
    context.interrupt.subscribe(&context.wakeup);
    loop {
        context.interrupt.check()?;
        if let Some(listing) = watcher.take() {
            return listing;
        }
        permits::while_waiting(WaitReason::Peer, || context.wakeup.wait(Duration::from_secs(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_partitions_share_what_is_fetched_ahead() {
        let (own, total) = (4 << 20, 64 << 20);
        assert_eq!(prefetch_share(own, total, 0), own);
        assert_eq!(prefetch_share(own, total, 16), own);
        assert_eq!(prefetch_share(own, total, 32), 2 << 20);
        assert_eq!(prefetch_share(own, total, 1_000_000), PREFETCH_BYTES_MIN);
        assert_eq!(prefetch_share(PREFETCH_BYTES_MIN, 0, 9), PREFETCH_BYTES_MIN);
    }
}
