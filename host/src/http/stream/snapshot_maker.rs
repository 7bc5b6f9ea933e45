//! Makes a snapshot of a topic once a second, as long as it has viewers.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::snapshot_hub::TopicKey;
use crate::http::api::{ApiState, blocking};
use crate::http::lanes::WorkKind;

/// Interval of the snapshots.
const INTERVAL: Duration = Duration::from_secs(1);

/// Makes snapshots of a topic as long as it has viewers.
pub(super) async fn make_snapshots(api: ApiState, key: TopicKey) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !api.snapshots.has_viewers(&key) {
            return;
        }
        let TopicKey { topic, sees_records } = key.clone();
        // If the server is too busy for a snapshot, viewers keep the previous one.
        if let Ok(snapshot) = blocking(&api, WorkKind::Quick, move |host| topic.snapshot(host, sees_records)).await {
            api.snapshots.publish(&key, snapshot);
        }
    }
}
