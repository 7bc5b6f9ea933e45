//! Sends the snapshots of some topics to one client.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use futures_util::FutureExt;
use tokio::sync::watch::Receiver;
use tokio::time::{Interval, MissedTickBehavior, interval};
use xxhash_rust::xxh3::xxh3_64;

use super::snapshot_hub::{Change, TopicKey, Watch};
use super::snapshot_maker::make_snapshots;
use super::topic::Topic;
use crate::auth::{Caller, TokenStore};
use crate::http::api::ApiState;
use crate::http::lanes::LanePermit;
use crate::http::server_phase::ServerPhase;

/// How often a viewer checks that the server goes on, and that its token is valid.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The events of one answer.
pub(super) struct Viewer {
    watch: Watch,
    notifications: Receiver<u64>,
    /// Number of the change that was sent last.
    sent: u64,
    pending: VecDeque<Change>,
    /// Begins the ids of this stream. Streams of other topics, callers or runs of the server have another one.
    scope: String,
    checks: Interval,
    caller: Caller,
    tokens: Arc<TokenStore>,
    phase: Arc<ServerPhase>,
    _permit: LanePermit,
}

impl Viewer {
    /// Begins to watch topics, after the event with the id `last` if the client has received one.
    pub(super) fn open(
        api: &ApiState,
        caller: Caller,
        topics: BTreeSet<Topic>,
        last: Option<&str>,
        permit: LanePermit,
    ) -> Viewer {
        let sees_records = caller.sees_records();
        let keys: BTreeSet<TopicKey> = topics.into_iter().map(|topic| TopicKey { topic, sees_records }).collect();
        let scope = format!("{:016x}", xxh3_64(format!("{} {keys:?}", api.snapshots.started_at_ms()).as_bytes()));
        let number = last.and_then(|id| id.strip_prefix(&scope)?.strip_prefix('-')?.parse().ok());
        let start = |key| drop(tokio::spawn(make_snapshots(api.clone(), key)));
        let watch = api.snapshots.watch(keys, start);
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Viewer {
            notifications: watch.notifications(),
            watch,
            sent: number.unwrap_or(0),
            pending: VecDeque::new(),
            scope,
            checks,
            caller,
            tokens: api.access.tokens.clone(),
            phase: api.phase.clone(),
            _permit: permit,
        }
    }

    /// Waits for the next event. `None` ends the stream.
    pub(super) async fn next(&mut self) -> Option<Result<Event, Infallible>> {
        loop {
            // A client that reads slowly is checked as well.
            if self.checks.tick().now_or_never().is_some() && self.must_end() {
                return None;
            }
            if let Some(change) = self.pending.pop_front() {
                self.sent = change.number;
                return Some(Ok(self.event(&change)));
            }
            self.notifications.mark_unchanged();
            self.pending.extend(self.watch.changes_after(self.sent));
            if !self.pending.is_empty() {
                continue;
            }
            tokio::select! {
                _ = self.notifications.changed() => {}
                _ = self.checks.tick() => self.checks.reset_immediately(),
            }
        }
    }

    /// Returns whether the server stops, or the caller may no longer watch.
    fn must_end(&self) -> bool {
        self.phase.is_stopping() || !self.tokens.is_valid(&self.caller)
    }

    fn event(&self, change: &Change) -> Event {
        let id = format!("{}-{}", self.scope, change.number);
        Event::default().id(id).event(change.event).data(&change.data)
    }
}
