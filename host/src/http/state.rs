//! Requests that read a job's state: the list of states, the entries of one key, and a dump of all entries.
//!
//! State is read from the newest checkpoint or savepoint. The job is not disturbed.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc::{self, Sender};
use utoipa::IntoParams;

use super::api::{ApiState, blocking, blocking_in, path_of, query_of};
use super::lanes::WorkKind;
use super::problem::Problem;
use super::request_id;
use crate::error::{Result, internal};
use crate::job::{Host, JobState};
use crate::state_reader::{KeyState, StateEntry, StateListing};

const LINES_TYPE: &str = "application/x-ndjson";
/// Size of a chunk of lines that is sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Number of chunks that are buffered for a slow client.
const CHUNKS_BUFFERED: usize = 4;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StateListQuery {
    /// Count the entries and bytes of each state. This reads the whole state.
    #[serde(default)]
    #[param(required = false)]
    count: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StateGetQuery {
    /// The key: text, or `hex:` and digits. For broadcast state, the sub-key.
    key: String,
    /// One sub-key of a map: text if its sub-keys are strings, else JSON, or `hex:` and digits.
    map_key: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StateDumpQuery {
    /// Dump only the state of this operator.
    operator: Option<String>,
    /// Dump only this state of the operator.
    state: Option<String>,
}

/// Lists the states in a job's newest checkpoint or savepoint.
#[utoipa::path(get, path = "/v1/jobs/{id}/state", tag = "state", params(("id" = String, Path), StateListQuery),
    responses((status = 200, body = StateListing), Problem))]
pub(super) async fn list(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<StateListQuery>, QueryRejection>,
) -> Result<Json<StateListing>, Problem> {
    let (id, query) = (path_of(id)?, query_of(query)?);
    let work = if query.count { WorkKind::Count } else { WorkKind::Storage };
    Ok(Json(blocking(&api, work, move |host| host.state(&id)?.list(query.count)).await?))
}

/// Returns the entries of one key in one state of the newest checkpoint or savepoint.
#[utoipa::path(get, path = "/v1/jobs/{id}/state/{operator}/{state}", tag = "state",
    params(("id" = String, Path), ("operator" = String, Path), ("state" = String, Path), StateGetQuery),
    responses((status = 200, body = KeyState), Problem))]
pub(super) async fn get(
    State(api): State<ApiState>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<StateGetQuery>, QueryRejection>,
) -> Result<Json<KeyState>, Problem> {
    let ((id, operator, state), query) = (path_of(path)?, query_of(query)?);
    let found = move |host: &Host| host.state(&id)?.get(&operator, &state, &query.key, query.map_key.as_deref());
    Ok(Json(blocking(&api, WorkKind::Storage, found).await?))
}

/// Dumps all entries, one JSON document per line. If the dump fails, the body ends without its last chunk.
#[utoipa::path(get, path = "/v1/jobs/{id}/state/dump", tag = "state", params(("id" = String, Path), StateDumpQuery),
    responses((status = 200, body = StateEntry, content_type = "application/x-ndjson"), Problem))]
pub(super) async fn dump(
    State(api): State<ApiState>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<StateDumpQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (id, query) = (path_of(id)?, query_of(query)?);
    let permit = api.lanes.enter(WorkKind::Dump).await?;
    let open = move |host: &Host| {
        let state = host.state(&id)?;
        state.check(query.operator.as_deref(), query.state.as_deref())?;
        Ok((state, query))
    };
    let ((state, query), permit) = blocking_in(&api, permit, open).await?;
    let (sender, receiver) = mpsc::channel(CHUNKS_BUFFERED);
    request_id::spawn_blocking(move || {
        let _held = permit;
        if let Err(error) = send_lines(&state, &query, &sender) {
            tracing::warn!(%error, "a dump of state failed");
            // Without this error the body would look complete.
            let _ = sender.blocking_send(Err(std::io::Error::other(error.to_string())));
        }
    });
    let chunks = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|chunk| (chunk, receiver)));
    Ok(([(header::CONTENT_TYPE, LINES_TYPE)], Body::from_stream(chunks)).into_response())
}

/// A chunk of lines, or the failure of the dump.
type DumpChunk = std::io::Result<Bytes>;

/// Sends all entries in chunks. Blocks while the client is slow.
fn send_lines(state: &JobState, query: &StateDumpQuery, sender: &Sender<DumpChunk>) -> Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let disconnected = |_| internal("the client disconnected");
    state.dump(query.operator.as_deref(), query.state.as_deref(), &mut |entry| {
        serde_json::to_writer(&mut chunk, &entry).map_err(|error| internal(format!("cannot write JSON: {error}")))?;
        chunk.push(b'\n');
        if chunk.len() < CHUNK_BYTES {
            return Ok(());
        }
        sender.blocking_send(Ok(std::mem::take(&mut chunk).into())).map_err(disconnected)
    })?;
    sender.blocking_send(Ok(chunk.into())).map_err(disconnected)
}
