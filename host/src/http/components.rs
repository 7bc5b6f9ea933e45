//! Requests for components: upload, list, show, remove.
//!
//! An upload is hashed while it is written to a temporary file. The file is deleted if the upload fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use utoipa::IntoParams;

use super::api::{ApiState, blocking, path_of, query_of};
use super::body::unreadable_body;
use super::lanes::WorkKind;
use super::pages::PageQuery;
use super::problem::Problem;
use crate::error::{Error, Result, component_too_large, component_truncated, data_dir_failed, request_invalid};
use crate::job::Host;
use crate::job::view::ComponentView;
use crate::sandbox::is_large_component;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PushQuery {
    /// A name for the component: `name@version`.
    #[param(max_length = 128, pattern = "^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*@[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$")]
    name: Option<String>,
}

/// Lists the components with their functions and states, in order of their digests. The header `link` has the address of the next page, if
/// there is one. Of many names of a component, the newest 100 are shown.
#[utoipa::path(get, path = "/v1/components", tag = "components", params(PageQuery),
    responses((status = 200, body = Vec<ComponentView>), Problem))]
pub(super) async fn list(
    State(api): State<ApiState>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let page = PageQuery::of(query)?;
    let (after, limit) = (page.after().map(str::to_owned), page.limit() + 1);
    let list = move |host: &Host| Ok(host.components_page(after.as_deref(), limit));
    let components = blocking(&api, WorkKind::Quick, list).await?;
    page.answer("/v1/components", components, |component| component.sha256.clone())
}

/// Uploads a component. It is checked before it is stored; nothing of a refused component is stored.
#[utoipa::path(post, path = "/v1/components", tag = "components", params(PushQuery,
    ("x-content-sha256" = Option<String>, Header, pattern = "^[0-9A-Fa-f]{64}$", description = "SHA-256 of the body in hex. It is compared with the received bytes.")),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = ComponentView), Problem))]
pub(super) async fn push(
    State(api): State<ApiState>,
    query: Result<Query<PushQuery>, QueryRejection>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let query = query_of(query)?;
    let (parts, body) = request.into_parts();
    let announced = announced_digest(&parts.headers)?;
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > api.component_bytes_max) {
        return Err(too_large(api.component_bytes_max).into());
    }
    let file = blocking(&api, WorkKind::Quick, |host| host.new_upload()).await?;
    let digest = receive(body, &file, api.component_bytes_max, length).await?;
    if let Some(announced) = announced
        && announced != digest
    {
        let message = format!(
            "the received bytes have the SHA-256 {}, which differs from the announced one",
            hex::encode(digest)
        );
        return Err(component_truncated(message).into());
    }
    let received = file.as_file().metadata().map_or(u64::MAX, |metadata| metadata.len());
    let disconnect = DisconnectFlag::default();
    let is_disconnected = disconnect.0.clone();
    let add = move |host: &Host| {
        host.add_component(file, digest, query.name.as_deref(), &|| is_disconnected.load(Ordering::Relaxed))
    };
    let work = if is_large_component(received) { WorkKind::LargeUpload } else { WorkKind::Upload };
    let component = blocking(&api, work, add).await?;
    let location = format!("/v1/components/sha256:{}", component.sha256);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(component.with_newest_names())))
}

/// Shows a component by `sha256:...`, `name@version`, or a name that has one version only. Of many names, the newest 100 are shown.
#[utoipa::path(get, path = "/v1/components/{reference}", tag = "components", params(("reference" = String, Path)),
    responses((status = 200, body = ComponentView), Problem))]
pub(super) async fn show(
    State(api): State<ApiState>,
    reference: Result<Path<String>, PathRejection>,
) -> Result<Json<ComponentView>, Problem> {
    let reference = path_of(reference)?;
    let component = blocking(&api, WorkKind::Quick, move |host| host.component(&reference)).await?;
    Ok(Json(component.with_newest_names()))
}

/// Removes a component that no running job uses.
#[utoipa::path(delete, path = "/v1/components/{reference}", tag = "components", params(("reference" = String, Path)),
    responses((status = 204), Problem))]
pub(super) async fn remove(
    State(api): State<ApiState>,
    reference: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let reference = path_of(reference)?;
    blocking(&api, WorkKind::Storage, move |host| host.remove_component(&reference)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A flag that is set when this is dropped. A handler's variables are dropped when its client disconnects.
#[derive(Default)]
struct DisconnectFlag(Arc<AtomicBool>);

impl Drop for DisconnectFlag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn announced_digest(headers: &HeaderMap) -> Result<Option<[u8; 32]>> {
    let Some(value) = headers.get("x-content-sha256") else { return Ok(None) };
    let mut digest = [0; 32];
    hex::decode_to_slice(value.as_bytes(), &mut digest)
        .map_err(|_| request_invalid("the header x-content-sha256 must be 64 hexadecimal digits"))?;
    Ok(Some(digest))
}

fn too_large(bytes_max: u64) -> Error {
    component_too_large(format!("the component is larger than {}", bytesize::ByteSize::b(bytes_max))).hint(
        "build it with `cofferdam build` (release mode, stripped), or start the server with a larger --component-max",
    )
}

/// Writes a body to `file` and returns its SHA-256. Errors: `component-too-large` if it has more than `bytes_max`
/// bytes, `component-truncated` if it is empty or does not have `length` bytes.
pub(super) async fn receive(body: Body, file: &NamedTempFile, bytes_max: u64, length: Option<u64>) -> Result<[u8; 32]> {
    let failed = |error: std::io::Error| data_dir_failed(format!("cannot store the upload: {error}"));
    let mut writer = tokio::fs::File::from_std(file.as_file().try_clone().map_err(failed)?);
    let mut stream = body.into_data_stream();
    let mut digest = Sha256::new();
    let mut received: u64 = 0;
    while let Some(chunk) = stream.next().await {
        let truncated = |error: &_| component_truncated(format!("the upload ended after {received} bytes: {error}"));
        let chunk = chunk.map_err(|error| unreadable_body(&error, truncated))?;
        received = received.saturating_add(chunk.len() as u64);
        if received > bytes_max {
            return Err(too_large(bytes_max));
        }
        digest.update(&chunk);
        writer.write_all(&chunk).await.map_err(failed)?;
    }
    if let Some(length) = length
        && length != received
    {
        return Err(component_truncated(format!("received {received} of the announced {length} bytes")));
    }
    if received == 0 {
        return Err(component_truncated("the upload is empty"));
    }
    writer.flush().await.map_err(failed)?;
    Ok(digest.finalize().into())
}
