//! Looking into a job's state: what there is, the entries of a key, everything line by line.
//!
//! All of it is read from the newest checkpoint or savepoint; the job is not asked.

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

use super::components::path_of;
use super::{Api, Problem, Work, blocking, blocking_in};
use crate::error::{Result, internal, request_invalid};
use crate::job::{Host, JobState};
use crate::state_reader::{KeyState, StateEntry, StateListing};

const LINES_TYPE: &str = "application/x-ndjson";
/// Lines are sent in pieces of about this size.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that wait for a slow client.
const PIECES: usize = 4;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Count the entries and bytes of each state, which reads all of it.
    #[serde(default)]
    #[param(required = false)]
    count: bool,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GetQuery {
    /// The key: text, or `hex:` and digits. Of broadcast state the sub-key.
    key: String,
    /// Of a map, one sub-key: text for a map by strings, else JSON, or `hex:` and digits.
    map_key: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DumpQuery {
    /// Only this operator's state.
    operator: Option<String>,
    /// Only this state of the operator.
    state: Option<String>,
}

/// What state a job keeps, as its newest checkpoint or savepoint has it.
#[utoipa::path(get, path = "/v1/jobs/{id}/state", tag = "state", params(("id" = String, Path), ListQuery),
    responses((status = 200, body = StateListing), Problem))]
pub(super) async fn list(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<StateListing>, Problem> {
    let (id, query) = (path_of(id)?, query_of(query)?);
    Ok(Json(blocking(&api, Work::Storage, move |host| host.state(&id)?.list(query.count)).await?))
}

/// The entries of one key in one state, as the newest checkpoint or savepoint has them; none where the key has none.
#[utoipa::path(get, path = "/v1/jobs/{id}/state/{operator}/{state}", tag = "state",
    params(("id" = String, Path), ("operator" = String, Path), ("state" = String, Path), GetQuery),
    responses((status = 200, body = KeyState), Problem))]
pub(super) async fn get(
    State(api): State<Api>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    query: Result<Query<GetQuery>, QueryRejection>,
) -> Result<Json<KeyState>, Problem> {
    let ((id, operator, state), query) = (path_of(path)?, query_of(query)?);
    let found = move |host: &Host| host.state(&id)?.get(&operator, &state, &query.key, query.map_key.as_deref());
    Ok(Json(blocking(&api, Work::Storage, found).await?))
}

/// Every entry, one JSON document a line. A body that ends before its last chunk is not whole: something failed.
#[utoipa::path(get, path = "/v1/jobs/{id}/state/dump", tag = "state", params(("id" = String, Path), DumpQuery),
    responses((status = 200, body = StateEntry, content_type = "application/x-ndjson"), Problem))]
pub(super) async fn dump(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<DumpQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let (id, query) = (path_of(id)?, query_of(query)?);
    let place = api.lanes.enter(Work::Dump).await?;
    let open = move |host: &Host| {
        let state = host.state(&id)?;
        state.check(query.operator.as_deref(), query.state.as_deref())?;
        Ok((state, query))
    };
    let ((state, query), place) = blocking_in(&api, place, open).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let _held = place;
        if let Err(error) = send_lines(&state, &query, &sender) {
            tracing::warn!(%error, "a dump of state ended early");
            // Without this the body would seem to be whole.
            let _ = sender.blocking_send(Err(std::io::Error::other(error.to_string())));
        }
    });
    let pieces = stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|piece| (piece, receiver)));
    Ok(([(header::CONTENT_TYPE, LINES_TYPE)], Body::from_stream(pieces)).into_response())
}

type Piece = std::io::Result<Bytes>;

fn send_lines(state: &JobState, query: &DumpQuery, sender: &Sender<Piece>) -> Result<()> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let gone = |_| internal("the client went away");
    state.dump(query.operator.as_deref(), query.state.as_deref(), &mut |entry| {
        serde_json::to_writer(&mut piece, &entry).map_err(|error| internal(format!("cannot write JSON: {error}")))?;
        piece.push(b'\n');
        if piece.len() < PIECE_BYTES {
            return Ok(());
        }
        sender.blocking_send(Ok(std::mem::take(&mut piece).into())).map_err(gone)
    })?;
    sender.blocking_send(Ok(piece.into())).map_err(gone)
}

fn query_of<T>(query: Result<Query<T>, QueryRejection>) -> Result<T> {
    query.map(|Query(query)| query).map_err(|rejection| request_invalid(rejection.body_text()))
}
