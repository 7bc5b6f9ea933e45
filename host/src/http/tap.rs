//! The request that shows records as they pass a node: a stream of server-sent events.
//!
//! The job is not delayed: what a client does not read in time is dropped and counted.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use utoipa::IntoParams;

use super::api::{ApiState, blocking_in, path_of, query_of};
use super::api_number::ApiNumber;
use super::lanes::{LanePermit, WorkKind};
use super::problem::Problem;
use super::server_phase::ServerPhase;
use crate::error::{Result, request_invalid};
use crate::job::view::TapRecord;
use crate::job::{RecordTap, TapRequest};
use crate::runtime::TapSide;

/// Records per second if the request says nothing.
const RATE_DEFAULT: u64 = 10;
/// Largest number of records per second.
const RATE_MAX: u64 = 1000;
/// Interval of the summaries. They also show that the connection is alive.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TapQuery {
    /// `in` for the records that the node takes, or `out` for those that it emits. By default `out`, and `in` for a sink.
    #[param(pattern = "^(in|out)$")]
    side: Option<String>,
    /// Show one of this many records. 1 if not set.
    #[param(inline)]
    every: Option<ApiNumber>,
    /// Largest number of records per second, up to 1000. 10 if not set.
    #[param(inline)]
    rate: Option<ApiNumber>,
}

impl TapQuery {
    /// Returns what is asked for. Error: `request-invalid`.
    fn request(&self) -> Result<TapRequest> {
        let side = match self.side.as_deref() {
            None => None,
            Some("in") => Some(TapSide::In),
            Some("out") => Some(TapSide::Out),
            Some(other) => return Err(request_invalid(format!("`{other}` is not a side; the sides are in, out"))),
        };
        let rate = self.rate.map_or(RATE_DEFAULT, ApiNumber::get).min(RATE_MAX);
        Ok(TapRequest { side, every: self.every.map_or(1, ApiNumber::get), rate })
    }
}

/// Shows a sample of the records that pass a node, until the job ends or the client disconnects.
///
/// The answer is a stream of server-sent events. An event `record` has a record as its data. Each second an event `summary` has the
/// numbers of records that have passed, were shown, and were dropped because the client reads too slowly. The last event is `end`.
#[utoipa::path(get, path = "/v1/jobs/{id}/tap/{operator}", tag = "jobs",
    params(("id" = String, Path), ("operator" = String, Path), TapQuery),
    responses((status = 200, body = TapRecord, content_type = "text/event-stream"), Problem))]
pub(super) async fn records(
    State(api): State<ApiState>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<TapQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let ((id, operator), request) = (path_of(path)?, query_of(query)?.request()?);
    let permit = api.lanes.enter(WorkKind::Tap).await?;
    let (tap, permit) = blocking_in(&api, permit, move |host| host.tap(&id, &operator, request)).await?;
    let mut ticks = interval_at(Instant::now() + SUMMARY_INTERVAL, SUMMARY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = TapEvents { tap, ticks, phase: api.phase.clone(), state: TapState::New, _permit: permit };
    let events = stream::unfold(events, async |mut events| {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(event), events))
    });
    Ok(Sse::new(events).into_response())
}

/// How far a stream is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TapState {
    /// The first event is a summary, so that the client knows that the tap is open.
    New,
    Open,
    /// The job has ended. The records that were taken before are still sent.
    Draining,
    Ended,
}

/// The events of one answer.
struct TapEvents {
    tap: RecordTap,
    ticks: Interval,
    phase: Arc<ServerPhase>,
    state: TapState,
    _permit: LanePermit,
}

impl TapEvents {
    async fn next(&mut self) -> Option<Event> {
        if self.state == TapState::New {
            self.state = TapState::Open;
            return event("summary", &self.tap.summary());
        }
        if self.state == TapState::Open {
            let record = tokio::select! {
                // First, so that a client that is always behind hears of it.
                biased;
                _ = self.ticks.tick() => None,
                record = self.tap.next() => Some(record),
            };
            if let Some(record) = record {
                return event("record", &record);
            }
            if !self.tap.has_ended() && !self.phase.is_stopping() {
                return event("summary", &self.tap.summary());
            }
            self.state = TapState::Draining;
        }
        if self.state == TapState::Draining {
            if let Some(record) = self.tap.try_next() {
                return event("record", &record);
            }
            self.state = TapState::Ended;
            return event("end", &self.tap.summary());
        }
        None
    }
}

fn event(name: &str, data: &impl Serialize) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}
