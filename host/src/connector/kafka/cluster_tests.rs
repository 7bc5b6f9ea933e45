//! The watcher, the source and the publisher against librdkafka's stand-in for a cluster.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::client::{
    ConsumerSettings, KafkaConnection, KafkaConsumer, KafkaErrorKind, ProducerSettings, StartOffset, TestCluster,
};
use super::connection_settings::ConnectionSpec;
use super::kafka_source::KafkaSource;
use super::publisher::KafkaPeer;
use super::source_settings::{KafkaSourceSettings, RecordContent};
use super::topics::TopicSelection;
use super::watcher::{ClusterWatcher, FirstOffsets, Listing, WatchOrder};
use crate::access::{AccessPolicy, AllowList, PipelinePaths};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::connector::context::ConnectorContext;
use crate::connector::health::HealthState;
use crate::connector::outbox::{OutboxPeer, OutboxRecord, Parts, Publisher, Trouble};
use crate::connector::source::{Poll, Source};
use crate::connector::testing::{context, observed, subtask_of, wait_until};
use crate::error::Result;
use crate::model::{Batch, Interrupt};
use crate::wakeup::Wakeup;

fn settings(connection: KafkaConnection, topics: TopicSelection) -> KafkaSourceSettings {
    KafkaSourceSettings {
        connection,
        topics,
        start: StartOffset::Earliest,
        ends_at_latest: false,
        consumer: ConsumerSettings { group: "group".to_owned(), is_committed_only: false, prefetch_bytes: 1 << 20 },
        prefetch_total_bytes: 1 << 22,
        discover: Some(Duration::from_millis(100)),
        content: RecordContent { timestamps: false, attributes: false, keys: false, tombstones: false },
    }
}

fn named(topic: &str) -> TopicSelection {
    TopicSelection::Names(vec![topic.to_owned()])
}

fn real_time() -> ConnectorContext {
    ConnectorContext { clock: SystemClock::shared(), ..context(Path::new("")) }
}

/// Reads at least this many records.
fn read(source: &mut KafkaSource, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    wait_until("the records arrive", || {
        let mut batch = Batch::default();
        let polled = source.poll(&mut batch, count - all.len()).unwrap();
        assert_eq!(matches!(polled, Poll::Records(_)), !batch.is_empty());
        all.extend(batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()));
        (all.len() >= count).then_some(())
    });
    all
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|number| number.to_string())
}

#[test]
fn records_are_read_once_when_a_source_is_restored_at_another_parallelism() {
    let cluster = TestCluster::start(1);
    cluster.create_topic("in", 5, 1);
    for partition in 0..5 {
        let first = partition as u32 * 100;
        cluster.produce("in", partition, numbers(first..first + 100));
    }
    let open = |context: &ConnectorContext, positions: &[&[u8]]| {
        KafkaSource::open(settings(cluster.connection(AccessPolicy::default()), named("in")), context, positions)
    };
    let mut source = open(&real_time(), &[]).unwrap();
    let mut all = read(&mut source, 120);
    // What is given back is not behind the position.
    let mut batch = Batch::default();
    wait_until("more records arrive", || {
        matches!(source.poll(&mut batch, 10).unwrap(), Poll::Records(_)).then_some(())
    });
    source.give_back(batch.len()).unwrap();
    let position = source.snapshot(1).unwrap();
    drop(source);
    let mut rest = 500 - all.len();
    let mut sources: Vec<KafkaSource> =
        (0..3).map(|subtask| open(&subtask_of(real_time(), subtask, 3), &[&position]).unwrap()).collect();
    wait_until("the rest arrives", || {
        for source in &mut sources {
            let mut batch = Batch::default();
            source.poll(&mut batch, 50).unwrap();
            rest -= batch.len();
            all.extend(batch.values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()));
        }
        (rest == 0).then_some(())
    });
    all.sort_unstable_by_key(|value| value.parse::<u32>().unwrap());
    assert!(all.iter().cloned().eq(numbers(0..500)), "{} records", all.len());
}

#[test]
fn a_position_of_an_earlier_topic_of_the_name_is_refused() {
    let (first, second) = (TestCluster::start(1), TestCluster::start(1));
    for cluster in [&first, &second] {
        cluster.create_topic("in", 1, 1);
        cluster.produce("in", 0, numbers(0..10));
    }
    let open = |cluster: &TestCluster, positions: &[&[u8]]| {
        KafkaSource::open(settings(cluster.connection(AccessPolicy::default()), named("in")), &real_time(), positions)
    };
    let mut source = open(&first, &[]).unwrap();
    read(&mut source, 5);
    let position = source.snapshot(1).unwrap();
    // Another cluster has another topic of the name, with an id of its own.
    let Err(error) = open(&second, &[&position]) else { panic!("the position is accepted") };
    assert_eq!(error.code, "source-behind", "{error}");
    assert!(error.message.contains("deleted and created anew"), "{error}");
    assert_eq!(read(&mut open(&first, &[&position]).unwrap(), 5), ["5", "6", "7", "8", "9"]);
}

#[test]
fn many_partitions_are_read_with_smaller_queues() {
    let cluster = TestCluster::start(1);
    cluster.create_topic("in", 40, 1);
    for partition in [0, 39] {
        cluster.produce("in", partition, numbers(0..10));
    }
    let mut few = settings(cluster.connection(AccessPolicy::default()), named("in"));
    few.prefetch_total_bytes = 1 << 20;
    let mut source = KafkaSource::open(few, &real_time(), &[]).unwrap();
    assert_eq!(read(&mut source, 20).len(), 20);
}

#[test]
fn a_client_does_not_connect_to_an_address_that_is_not_allowed() {
    let cluster = TestCluster::start(2);
    // The second broker leads the topic, and only the first may be connected to.
    cluster.create_topic("in", 1, 2);
    let servers = cluster.servers();
    let (first, second) = servers.split_once(',').unwrap();
    let list = AllowList { addresses: vec![first.parse().unwrap()], ..AllowList::default() };
    let policy = AccessPolicy::restricted(list).unwrap();
    let connection = KafkaConnection { brokers: first.to_owned(), ..cluster.connection(policy.clone()) };
    let restricted = ConnectorContext { policy: policy.clone(), ..real_time() };
    let Err(error) = KafkaSource::open(settings(connection.clone(), named("in")), &restricted, &[]) else {
        panic!("the source opens")
    };
    assert_eq!(error.code, "address-denied", "{error}");
    assert!(error.message.contains(second), "{error}");

    // A producer lists nothing: librdkafka asks for each address itself.
    let mut publisher = publisher_at(&connection.brokers, policy, &Interrupt::default());
    let trouble = publisher.last_published().and_then(|_| publisher.publish(1, &mut OneRecord));
    match trouble {
        Err(Trouble::Fatal(error)) => {
            assert_eq!(error.code, "address-denied", "{error}");
            assert!(error.message.contains(second), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_source_waits_for_its_broker_and_says_so() {
    let cluster = TestCluster::start(1);
    cluster.create_topic("in", 1, 1);
    cluster.produce("in", 0, numbers(0..3));
    cluster.set_down(1, true);
    let (context, board) = observed(real_time());
    let connection = cluster.connection(AccessPolicy::default());
    let opened = std::thread::spawn(move || KafkaSource::open(settings(connection, named("in")), &context, &[]));
    wait_until("the source is down", || {
        board.of_node("delays").filter(|health| health.state == HealthState::Down && !health.message.is_empty())
    });
    cluster.set_down(1, false);
    let mut source = opened.join().unwrap().unwrap();
    assert_eq!(read(&mut source, 3), ["0", "1", "2"]);
    assert_eq!(board.of_node("delays").unwrap().state, HealthState::Healthy);
}

#[test]
fn an_interrupt_ends_the_wait_for_a_broker() {
    let cluster = TestCluster::start(1);
    cluster.set_down(1, true);
    let context = real_time();
    let (interrupt, connection) = (context.interrupt.clone(), cluster.connection(AccessPolicy::default()));
    let opened = std::thread::spawn(move || KafkaSource::open(settings(connection, named("in")), &context, &[]));
    interrupt.set();
    assert_eq!(opened.join().unwrap().map(drop).unwrap_err().code, "interrupted");
}

#[test]
fn a_missing_topic_is_waited_for_and_then_an_error() {
    let cluster = TestCluster::start(1);
    cluster.create_topic("in", 1, 1);
    let clock = Arc::new(ManualClock::default());
    let consumer = Arc::new(
        KafkaConsumer::create(
            &cluster.connection(AccessPolicy::default()),
            &ConsumerSettings { group: "group".to_owned(), is_committed_only: true, prefetch_bytes: 0 },
            Duration::from_secs(60),
            || {},
        )
        .unwrap(),
    );
    let (context, _) = observed(context(Path::new("")));
    let order = WatchOrder {
        node: "in".to_owned(),
        topics: named("in"),
        policy: AccessPolicy::default(),
        clock: clock.clone(),
        interval: None,
        first: FirstOffsets { start: None, with_ends: true, is_own: Box::new(|_| true) },
    };
    let thread_wakeup = Wakeup::default();
    let watcher =
        ClusterWatcher::start(order, consumer, context.health.clone(), thread_wakeup.clone(), context.wakeup.clone())
            .unwrap();
    let next = || -> Result<Listing> {
        wait_until("the watcher reports", || {
            clock.set_ms(clock.wall_ms() + 100);
            thread_wakeup.wake();
            watcher.take()
        })
    };
    let listing = next().unwrap();
    assert_eq!((listing.partitions.len(), listing.ends.len(), listing.ids.len()), (1, 1, 1));
    // Missing for a moment is no error.
    cluster.hide_topic("in");
    let before_ms = clock.wall_ms();
    watcher.poke();
    let error = next().map(|listing| listing.partitions).unwrap_err();
    assert_eq!(error.code, "source-missing", "{error}");
    assert!(clock.wall_ms() - before_ms >= 10_000, "{} ms", clock.wall_ms() - before_ms);
}

fn publisher_at(brokers: &str, policy: AccessPolicy, interrupt: &Interrupt) -> Box<dyn Publisher> {
    let context = real_time();
    let peer = KafkaPeer {
        connection: ConnectionSpec::of_test(brokers),
        paths: PipelinePaths { base_dir: context.base_dir.clone(), policy },
        node: "out".to_owned(),
        client_id: "test".to_owned(),
        producer: ProducerSettings::default(),
        transaction_timeout: Duration::from_secs(60),
        topic: "in".to_owned(),
        interrupt: interrupt.clone(),
        health: context.health.clone(),
        clock: context.clock.clone(),
    };
    peer.publisher("identity").unwrap()
}

/// A publication of one record.
struct OneRecord;

impl Parts for OneRecord {
    fn for_each(&mut self, take: &mut dyn FnMut(&OutboxRecord<'_>) -> Result<(), Trouble>) -> Result<(), Trouble> {
        take(&OutboxRecord { value: Some(b"1"), ..OutboxRecord::default() })
    }

    fn records(&self) -> u64 {
        1
    }
}

#[test]
fn a_publisher_whose_broker_is_away_hears_an_interrupt() {
    let cluster = TestCluster::start(1);
    cluster.create_topic("in", 1, 1);
    let interrupt = Interrupt::default();
    let mut publisher = publisher_at(&cluster.servers(), AccessPolicy::default(), &interrupt);
    publisher.last_published().unwrap();
    cluster.set_down(1, true);
    let waking = interrupt.clone();
    let setter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        waking.set();
    });
    match publisher.publish(1, &mut OneRecord) {
        Err(Trouble::Retry(_)) => {}
        other => panic!("{other:?}"),
    }
    setter.join().unwrap();
}

#[test]
fn errors_of_brokers_are_told_apart() {
    let cluster = TestCluster::start(1);
    let settings = ConsumerSettings { group: "group".to_owned(), is_committed_only: true, prefetch_bytes: 0 };
    let connection = cluster.connection(AccessPolicy::default());
    let consumer = KafkaConsumer::create(&connection, &settings, Duration::from_secs(60), || {}).unwrap();
    let error = consumer.fetch_topics(Some("missing")).unwrap_err();
    assert_eq!(error.kind, KafkaErrorKind::Missing, "{}", error.message);
    assert!(consumer.topic_ids(&["missing"], Some(1)).unwrap().is_empty());
}
