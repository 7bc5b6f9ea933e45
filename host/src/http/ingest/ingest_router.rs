//! The route of the listener for records, and its answers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body_budget::{BodyBudget, BudgetShare};
use super::content_encoding::ContentEncoding;
use super::request_content::BodySplit;
use super::request_headers::{self, single};
use crate::auth::{Caller, DEFAULT_NAMESPACE, Role, TokenStore, check_namespace_name};
use crate::connector::ingest::{
    AcceptedRequest, AppendRefusal, AppendedRequest, EncodedFrame, NewRequest, RequestUnauthorized,
};
use crate::error::{
    Error, Result, idempotency_key_reused, ingest_busy, ingest_failed, ingest_unauthorized, internal, job_not_found,
    job_state, request_in_progress, request_invalid, request_not_found, request_too_large, role_insufficient,
};
use crate::http::api::{path_of, query_of};
use crate::http::authentication::bearer_token;
use crate::http::body::{self, BodyTimeouts, unreadable_body};
use crate::http::problem::{self, Problem, ProblemBody};
use crate::http::request_id;
use crate::job::{IngestEndpoint, Namespaces};

/// Memory of the bodies of all requests, in bytes.
const BODIES_BYTES_MAX: usize = 256 << 20;

/// Number of threads that may open logs and decode bodies at the same time.
const BLOCKING_MAX: usize = 8;

/// A body that is larger, compressed or not, is decoded on a thread that may block.
const INLINE_BYTES_MAX: usize = 64 << 10;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cofferdam ingest",
        description = "The listener for records. An answer that is not a success is a problem document with a stable `code`."
    ),
    components(schemas(ProblemBody, problem::ProblemLocation))
)]
struct IngestApiDescription;

/// What the handlers share.
#[derive(Clone)]
struct IngestState {
    namespaces: Arc<Namespaces>,
    tokens: Arc<TokenStore>,
    budget: Arc<BodyBudget>,
    openapi: Arc<str>,
    /// Permits to work on threads that may block, so that the API of jobs keeps some.
    blocking: Arc<Semaphore>,
}

/// Returns the router of the listener for records. A source without `auth` requires one of `tokens`, if there are any.
pub fn ingest_router(namespaces: Arc<Namespaces>, tokens: Arc<TokenStore>) -> Router {
    ingest_router_with(namespaces, tokens, BodyTimeouts::default(), BODIES_BYTES_MAX)
}

/// Returns the router with other limits than the default ones.
pub(super) fn ingest_router_with(
    namespaces: Arc<Namespaces>,
    tokens: Arc<TokenStore>,
    timeouts: BodyTimeouts,
    bodies_bytes_max: usize,
) -> Router {
    let (routes, openapi) =
        OpenApiRouter::with_openapi(IngestApiDescription::openapi()).routes(routes!(ingest)).split_for_parts();
    let openapi = openapi.to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot serialize the OpenAPI description");
        "{}".to_string()
    });
    routes
        .route("/v1/health", get(async || Json(serde_json::json!({ "status": "ok" }))))
        .route("/v1/openapi.json", get(openapi_json))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(timeouts, body::limit_body_time))
        .layer(axum::middleware::from_fn(request_id::identify_request))
        .with_state(IngestState {
            namespaces,
            tokens,
            budget: BodyBudget::new(bodies_bytes_max),
            openapi: openapi.into(),
            blocking: Arc::new(Semaphore::new(BLOCKING_MAX)),
        })
}

async fn openapi_json(State(state): State<IngestState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], state.openapi.to_string())
}

async fn unknown_route(request: Request) -> Problem {
    let hint = "records are sent with POST /v1/ingest/{job}/{source}";
    request_not_found(format!("no resource exists at {}", request.uri().path())).hint(hint).into()
}

async fn wrong_method(request: Request) -> Problem {
    let message = format!("{} does not support the method {}", request.uri().path(), request.method());
    Problem::with_status(request_not_found(message), StatusCode::METHOD_NOT_ALLOWED)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct IngestQuery {
    /// How the body is divided into records: `none`, `lines` or `array`. By default `application/x-ndjson` is divided into lines, and
    /// any other body is one record.
    split: Option<String>,
    /// The namespace of the job. By default that of the token, or `default`.
    namespace: Option<String>,
}

/// The answer to a request whose records are durable.
#[derive(Debug, Serialize, ToSchema)]
struct IngestAnswer {
    /// Number of records.
    accepted: u32,
    /// Where the records are in the log of the source: segment and offset.
    position: String,
}

/// Takes the records of a body. The answer is sent once all of them are durable.
///
/// With the header `idempotency-key`, a repeated request with the same body gets the first answer with `idempotency-replayed: true`, and
/// its records are not taken again.
#[utoipa::path(post, path = "/v1/ingest/{job}/{source}", tag = "ingest",
    params(("job" = String, Path, description = "Name of the job"), ("source" = String, Path, description = "Id of its source"),
        IngestQuery, ("idempotency-key" = Option<String>, Header, description = "Makes a repetition harmless"),
        ("x-event-time" = Option<String>, Header, description = "Time of the records: milliseconds since 1970, or RFC 3339")),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = IngestAnswer), Problem))]
async fn ingest(
    State(state): State<IngestState>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<IngestQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let ((job, source), query) = (path_of(path)?, query_of(query)?);
    let token = SenderToken::of(&state, request.headers(), query.namespace)?;
    let endpoint = match find_endpoint(&state, &token.namespace, job, source).await {
        // Without a token nobody learns which jobs exist.
        Err(problem) if problem.is_not_found() => return Err(token.check().err().unwrap_or(problem)),
        found => found?,
    };
    if endpoint.verifier().is_open() {
        token.check()?;
    }
    let Some(_in_progress) = endpoint.enter() else {
        return Err(busy(1, "too many requests to this source are in progress"));
    };
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).map(HeaderValue::as_bytes);
    endpoint.verifier().check_headers(&header).map_err(unauthorized)?;
    if !endpoint.accepts_now() {
        return Err(job_state("the job of this source is not running").hint("start the job, then send again").into());
    }
    let split = BodySplit::choose(query.split.as_deref(), header(header::CONTENT_TYPE.as_str()))?;
    let Some(encoding) = ContentEncoding::parse(single(&parts.headers, header::CONTENT_ENCODING.as_str())?) else {
        let error =
            request_invalid("the content encoding is unknown").hint("send the body as it is, or with gzip or zstd");
        return Err(Problem::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE));
    };
    let settings = endpoint.settings();
    let key_hash = request_headers::key_hash(&parts.headers)?;
    if settings.requires_key && key_hash.is_none() {
        let name = request_headers::KEY_HEADER;
        return Err(request_invalid(format!("the header `{name}` is missing, which this source requires")).into());
    }
    let event_ms = request_headers::event_time(&parts.headers)?;
    let share = state.budget.share();
    let (body, share) = read(body, &parts.headers, settings.body_max, share).await?;
    endpoint.verifier().check_body(&header, &body, endpoint.now_ms() / 1000).map_err(unauthorized)?;
    let attributes = request_headers::attributes(&parts.headers, &settings.headers);
    let decoder = BodyDecoder { endpoint: endpoint.clone(), split, encoding, key_hash, event_ms, attributes };
    let frame = if encoding == ContentEncoding::Identity && body.len() <= INLINE_BYTES_MAX {
        decoder.decode(&body, share)?
    } else {
        blocking(&state, move || decoder.decode(&body, share)).await?
    };
    let (accepted, is_replayed) = append(&endpoint, &frame.frame).await?;
    Ok(answer(&accepted, is_replayed))
}

/// The token of a request, and the namespace of its job. A source with `auth` of its own needs no token.
struct SenderToken {
    caller: Result<Caller>,
    namespace: String,
}

impl SenderToken {
    fn of(state: &IngestState, headers: &HeaderMap, namespace: Option<String>) -> Result<SenderToken, Problem> {
        // The header may hold the token of the source instead.
        let caller = match bearer_token(headers) {
            Ok(token) => state.tokens.authenticate(token),
            Err(error) => state.tokens.authenticate(None).map_err(|_| error),
        };
        let default =
            || caller.as_ref().map_or(DEFAULT_NAMESPACE, |caller| caller.scope.default_namespace()).to_owned();
        let namespace = namespace.unwrap_or_else(default);
        check_namespace_name(&namespace)?;
        Ok(SenderToken { caller, namespace })
    }

    /// Checks that the token may send records to the namespace. Errors: `ingest-unauthorized`, `role-insufficient`.
    fn check(&self) -> Result<(), Problem> {
        match &self.caller {
            Err(error) => {
                let error = ingest_unauthorized(error.message.clone())
                    .hint("send a token of the server, or give the source `auth` of its own");
                Err(Problem::with_status(error, StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Bearer"))
            }
            Ok(caller) if caller.role >= Role::Submit && caller.scope.contains(&self.namespace) => Ok(()),
            Ok(_) => Err(role_insufficient("the token may not send records to this namespace")
                .hint("use a token of the role `submit` for it")
                .into()),
        }
    }
}

/// Returns the endpoint of a source. Errors: `job-not-found`, `request-not-found`, and those of opening its log.
async fn find_endpoint(
    state: &IngestState,
    namespace: &str,
    job: String,
    source: String,
) -> Result<Arc<IngestEndpoint>, Problem> {
    let Some(host) = state.namespaces.get(namespace) else {
        return Err(job_not_found(format!("there is no job `{job}`")).into());
    };
    if let Some(endpoint) = host.open_ingest_endpoint(&job, &source) {
        return Ok(endpoint);
    }
    let find = move || match host.open_ingest_endpoint(&job, &source) {
        Some(endpoint) => Ok(endpoint),
        None => host.find_ingest_endpoint(&job, &source).map_err(Problem::from),
    };
    blocking(state, find).await
}

/// Runs `work` on a thread that may block, once a few others have ended.
async fn blocking<T: Send + 'static>(
    state: &IngestState,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let permit = state.blocking.clone().acquire_owned().await;
    let done = request_id::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request panicked");
        Err(internal("the request failed inside the server; see the server's log").into())
    })
}

/// Reads a body. Errors: `request-too-large`, `request-timeout`, `request-invalid`, `ingest-busy` if all bodies need too much memory.
async fn read(
    body: axum::body::Body,
    headers: &HeaderMap,
    bytes_max: usize,
    mut share: BudgetShare,
) -> Result<(Bytes, BudgetShare), Problem> {
    let too_large = || request_too_large(format!("the body is larger than {bytes_max} bytes"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(too_large().into());
    }
    let mut stream = body.into_data_stream();
    let mut first: Option<Bytes> = None;
    let mut rest = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            unreadable_body(&error, |error| request_invalid(format!("the body ended early: {error}")))
        })?;
        let bytes = first.as_ref().map_or(rest.len(), Bytes::len);
        if bytes.saturating_add(chunk.len()) > bytes_max {
            return Err(too_large().into());
        }
        if !share.grow(chunk.len()) {
            return Err(busy(1, "the bodies of all requests need too much memory"));
        }
        match first.take() {
            None if rest.is_empty() => first = Some(chunk),
            before => {
                rest.extend(before.into_iter().flatten());
                rest.extend_from_slice(&chunk);
            }
        }
    }
    Ok((first.unwrap_or_else(|| rest.into()), share))
}

/// Turns a body into a frame.
struct BodyDecoder {
    endpoint: Arc<IngestEndpoint>,
    split: BodySplit,
    encoding: ContentEncoding,
    key_hash: Option<u128>,
    event_ms: Option<i64>,
    attributes: Vec<u8>,
}

/// A frame with its share of the memory.
struct BudgetedFrame {
    frame: EncodedFrame,
    _share: BudgetShare,
}

impl BodyDecoder {
    fn decode(&self, body: &[u8], mut share: BudgetShare) -> Result<BudgetedFrame, Problem> {
        let settings = self.endpoint.settings();
        let body = self.encoding.decode(body, settings.body_max)?;
        // The decompressed body and its frame.
        if !share.grow(2 * body.len()) {
            return Err(busy(1, "the bodies of all requests need too much memory"));
        }
        let records = self.split.records(&body, settings.format)?;
        let request = NewRequest {
            received_ms: self.endpoint.now_ms(),
            event_ms: self.event_ms,
            key: request_headers::request_key(self.key_hash, &body),
            attributes: &self.attributes,
            body: &body,
            records: &records,
        };
        let frame = EncodedFrame::encode(&request, self.endpoint.log().salt());
        let frame = frame.ok_or_else(|| request_too_large("the body has too many records"))?;
        Ok(BudgetedFrame { frame, _share: share })
    }
}

/// Appends a frame and waits until it is durable. Returns whether an earlier request was accepted instead.
async fn append(endpoint: &IngestEndpoint, frame: &EncodedFrame) -> Result<(AcceptedRequest, bool), Problem> {
    match endpoint.log().append(frame) {
        Ok(AppendedRequest::Replayed(accepted)) => Ok((accepted, true)),
        Ok(AppendedRequest::Waiting(outcome)) => match outcome.await {
            Ok(outcome) => Ok((outcome?, false)),
            Err(_) => Err(ingest_failed("the server stops").into()),
        },
        Err(AppendRefusal::BacklogFull { retry_after_s }) => {
            Err(busy(retry_after_s, "the job of this source does not keep up, and its backlog is full"))
        }
        Err(AppendRefusal::KeyInProgress) => {
            let error = request_in_progress("a request with this idempotency key is in progress");
            Err(error.hint("send it again in a moment").into())
        }
        Err(AppendRefusal::KeyReused) => {
            let error = idempotency_key_reused("this idempotency key was used with another body");
            let error = error.hint("use a new key for each request, and repeat a request with the same body");
            Err(Problem::with_status(error, StatusCode::UNPROCESSABLE_ENTITY))
        }
        Err(AppendRefusal::Closed) => Err(ingest_failed("the server stops").hint("send the request again").into()),
    }
}

fn answer(accepted: &AcceptedRequest, is_replayed: bool) -> Response {
    let AcceptedRequest { position, records } = *accepted;
    let mut response = Json(IngestAnswer { accepted: records, position: position.to_string() }).into_response();
    if is_replayed {
        response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    response
}

fn unauthorized(RequestUnauthorized(why): RequestUnauthorized) -> Problem {
    Problem::with_status(ingest_unauthorized(why), StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Bearer")
}

fn busy(retry_after_s: u64, why: &str) -> Problem {
    let error: Error = ingest_busy(why).hint("send the request again after the time in `retry-after`");
    Problem::with_status(error, StatusCode::TOO_MANY_REQUESTS).header(header::RETRY_AFTER, &retry_after_s.to_string())
}
