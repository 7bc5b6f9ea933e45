//! Shows jobs as they change: a stream of server-sent events, shared by all who watch.
//!
//! - `topic` is what a client can watch.
//! - `snapshot_hub` has the newest snapshot of each watched topic.
//! - `snapshot_maker` makes them once a second.
//! - `viewer` sends the snapshots of its topics to one client.

pub(super) mod snapshot_hub;
mod snapshot_maker;
mod topic;
mod viewer;

#[cfg(test)]
mod snapshot_hub_tests;
#[cfg(test)]
mod stream_tests;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::api::{ApiState, query_of};
use super::lanes::WorkKind;
use super::problem::Problem;
use crate::auth::Caller;
use crate::error::{Result, request_invalid};
use topic::{JobSnapshot, Topic};
use viewer::Viewer;

/// Interval of comments on a stream that has no events.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Largest number of topics of one stream.
const TOPICS_MAX: usize = 16;
/// The header with the id of the event that a client has received last.
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamQuery {
    /// Up to 16 topics, separated by commas: `jobs` for the list of jobs, `job:ID` for one job.
    #[param(pattern = "^(jobs|job:[^,]+)(,(jobs|job:[^,]+)){0,15}$")]
    topics: String,
}

impl StreamQuery {
    /// Returns the topics. Error: `request-invalid`.
    fn topics(&self) -> Result<BTreeSet<Topic>> {
        let topics: BTreeSet<Topic> = self.topics.split(',').map(str::parse).collect::<Result<_>>()?;
        match topics.len() > TOPICS_MAX {
            true => Err(request_invalid(format!("a stream has at most {TOPICS_MAX} topics"))),
            false => Ok(topics),
        }
    }
}

/// Shows jobs as they change, once a second, as a stream of server-sent events.
///
/// An event `jobs` has the newest 100 jobs, an event `job` has one job and its metrics. `gone` says that the job does not exist. An event is
/// sent if it differs from the previous one of its topic. The stream ends when the server stops or the token of the client is revoked. Records of failures
/// are hidden from tokens of the role `read`.
#[utoipa::path(get, path = "/v1/stream", tag = "jobs",
    params(StreamQuery, ("last-event-id" = Option<String>, Header, description = "Id of the last event that was received. What has not changed since is not sent again.")),
    responses((status = 200, body = JobSnapshot, content_type = "text/event-stream"), Problem))]
pub(super) async fn watch(
    State(api): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    query: Result<Query<StreamQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let topics = query_of(query)?.topics()?;
    let permit = api.lanes.enter(WorkKind::Watch).await?;
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let viewer = Viewer::open(&api, caller, topics, last, permit);
    let events = stream::unfold(viewer, async |mut viewer| Some((viewer.next().await?, viewer)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}
