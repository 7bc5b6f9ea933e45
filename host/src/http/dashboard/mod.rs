//! The dashboard: the page of the server for people. Its sources are in the folder `dashboard` of the repository.
//!
//! `cargo xtask web` builds the committed files of this folder. They contain no data: the page reads the API with the token of its
//! user. Every screen is a path of its own, and all of them get the same page.

use std::io::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh3::xxh3_128;

use self::paths::{FILES, SCREENS};
use super::api::ApiState;

#[cfg(test)]
mod dashboard_tests;
pub(super) mod paths;

/// Allows the page its own files and requests to this server, and no markup that a script makes of a text.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "accept-encoding"),
];

static PAGE: LazyLock<WebFile> =
    LazyLock::new(|| WebFile::new("text/html; charset=utf-8", include_bytes!("index.html")));
static SCRIPT: LazyLock<WebFile> =
    LazyLock::new(|| WebFile::new("text/javascript; charset=utf-8", include_bytes!("app.js")));
static STYLE: LazyLock<WebFile> = LazyLock::new(|| WebFile::new("text/css; charset=utf-8", include_bytes!("app.css")));
static ERRORS: LazyLock<WebFile> = LazyLock::new(|| {
    WebFile::new(
        "text/markdown; charset=utf-8",
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")),
    )
});

/// Returns the routes of the dashboard.
pub(super) fn routes() -> Router<ApiState> {
    SCREENS.iter().chain(&FILES).fold(Router::new(), |routes, path| routes.route(path, get(file)))
}

async fn file(path: MatchedPath, request: Request) -> Response {
    let file = match path.as_str() {
        "/app.js" => &SCRIPT,
        "/app.css" => &STYLE,
        "/docs/errors.md" => &ERRORS,
        _ => &PAGE,
    };
    file.answer(request.headers())
}

/// A file with what its answers need.
struct WebFile {
    content_type: &'static str,
    bytes: &'static [u8],
    gzip: Option<Bytes>,
    tag: String,
}

impl WebFile {
    fn new(content_type: &'static str, bytes: &'static [u8]) -> WebFile {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let gzip = encoder.write_all(bytes).and_then(|()| encoder.finish()).ok().map(Bytes::from);
        WebFile { content_type, bytes, gzip, tag: format!("W/\"{:032x}\"", xxh3_128(bytes)) }
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let has = |name: &HeaderName, wanted: &dyn Fn(&str) -> bool| {
            let values = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|value| wanted(value.trim()))
        };
        let is_known = has(&header::IF_NONE_MATCH, &|tag| tag == self.tag || tag == "*");
        let takes_gzip = has(&header::ACCEPT_ENCODING, &|coding| {
            coding.eq_ignore_ascii_case("gzip") || (coding.starts_with("gzip;") && !coding.ends_with("q=0"))
        });
        let mut response = match (&self.gzip, is_known) {
            (_, true) => StatusCode::NOT_MODIFIED.into_response(),
            (Some(gzip), _) if takes_gzip => ([(header::CONTENT_ENCODING, "gzip")], gzip.clone()).into_response(),
            _ => self.bytes.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
