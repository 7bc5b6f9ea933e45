//! A topic has one snapshot for all its viewers, and none without a viewer.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::snapshot_hub::{SnapshotHub, TopicKey};
use super::topic::{Snapshot, Topic};

fn key(id: &str) -> TopicKey {
    TopicKey { topic: Topic::Job(id.to_owned()), sees_records: false }
}

fn publish(hub: &SnapshotHub, id: &str, version: u64) {
    hub.publish(&key(id), Snapshot { event: "job", data: format!("{id}{version}"), version });
}

#[test]
fn topics_are_started_for_their_first_viewer_and_forgotten_with_their_last() {
    let (hub, started) = (Arc::new(SnapshotHub::new(0)), RefCell::new(Vec::new()));
    let watch = |ids: &[&str]| hub.watch(ids.iter().map(|id| key(id)).collect(), |key| started.borrow_mut().push(key));
    let (first, second) = (watch(&["a", "b"]), watch(&["b", "c"]));
    assert_eq!(*started.borrow(), [key("a"), key("b"), key("c")], "each once");
    drop(first);
    assert_eq!(["a", "b", "c"].map(|id| hub.has_viewers(&key(id))), [false, true, true]);
    publish(&hub, "a", 1);
    drop(second);
    assert!(!hub.has_viewers(&key("b")) && !hub.has_viewers(&key("c")));
    let again = watch(&["a"]);
    assert_eq!(started.borrow().len(), 4);
    assert!(again.changes_after(0).is_empty(), "a snapshot of an earlier viewer");
}

#[test]
fn viewers_get_the_changes_of_their_topics_in_order() {
    let hub = Arc::new(SnapshotHub::new(0));
    let watch = hub.watch(BTreeSet::from([key("a"), key("b")]), drop);
    let other = hub.watch(BTreeSet::from([key("c")]), drop);
    let mut notifications = watch.notifications();
    publish(&hub, "b", 1);
    publish(&hub, "c", 1);
    publish(&hub, "a", 1);
    publish(&hub, "a", 1);
    let changes = |number| {
        let changes = watch.changes_after(number).into_iter();
        changes.map(|change| (change.number, change.data.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(changes(0), [(1, "b1".to_owned()), (3, "a1".to_owned())]);
    assert_eq!(changes(1), [(3, "a1".to_owned())]);
    assert_eq!(other.changes_after(0).len(), 1);
    assert!(notifications.has_changed().unwrap());
    notifications.mark_unchanged();
    publish(&hub, "a", 1);
    assert!(!notifications.has_changed().unwrap(), "the same version again");
    publish(&hub, "b", 2);
    assert_eq!(changes(1), [(3, "a1".to_owned()), (4, "b2".to_owned())]);
    // A job that is gone differs, whatever its version is.
    hub.publish(&key("b"), Snapshot { event: "gone", data: String::new(), version: 2 });
    assert_eq!(changes(4), [(5, String::new())]);
}
