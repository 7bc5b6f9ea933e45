//! The committed bundle is that of the sources, small, and served with the headers that keep foreign text from becoming code.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Response, StatusCode};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::http::body::read_body;
use crate::http::dashboard::paths::{FILES, SCREENS};
use crate::http::route_roles::{ROUTE_ROLES, RouteAccess};
use crate::http::testing::{TestServer, request};

/// Size limit of each file, compressed.
const GZIP_BYTES_MAX: usize = 80 << 10;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboard")
}

fn source_files(root: &Path, path: &str) -> Vec<String> {
    match fs::read_dir(root.join(path)) {
        Ok(entries) => {
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.flat_map(|name| source_files(root, &format!("{path}/{name}"))).collect()
        }
        Err(_) => vec![path.to_owned()],
    }
}

/// Returns the value of a `meta` element of the committed page.
fn meta<'a>(page: &'a str, name: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<meta name=\"{name}\" content=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

#[test]
fn the_bundle_is_built_from_the_sources() {
    let root = folder();
    let sources = ["build.mjs", "package-lock.json", "package.json", "src", "tsconfig.json"];
    let mut files: Vec<String> = sources.iter().flat_map(|path| source_files(&root, path)).collect();
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        hash.update(format!("{path}\0"));
        hash.update(fs::read(root.join(&path)).unwrap());
        hash.update("\0");
    }
    let page = include_str!("index.html");
    let built = "the sources in dashboard/ have changed: run `cargo xtask web`, and commit host/src/http/dashboard";
    assert_eq!(hex::encode(hash.finalize()), meta(page, "cofferdam-sources"), "{built}");
    let output = Sha256::new().chain_update(include_bytes!("app.js")).chain_update(include_bytes!("app.css"));
    assert_eq!(hex::encode(output.finalize()), meta(page, "cofferdam-output"), "{built}");
}

#[test]
fn the_lock_file_names_no_registry_host() {
    let lock = fs::read_to_string(folder().join("package-lock.json")).unwrap();
    assert!(!lock.contains("\"resolved\""), "see dashboard/.npmrc");
}

#[test]
fn no_source_makes_markup_of_a_text() {
    let root = folder();
    for path in source_files(&root, "src") {
        let text = fs::read_to_string(root.join(&path)).unwrap();
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!text.contains(word), "{path} uses {word}: guests' texts must stay text");
        }
    }
}

async fn get(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let request = headers.iter().fold(request("GET", path), |request, (name, value)| request.header(*name, *value));
    server.send(request.body(Body::empty()).unwrap()).await
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    read_body(response.into_body(), 1 << 20).await.unwrap().to_vec()
}

#[tokio::test]
async fn every_screen_answers_with_the_page_even_while_jobs_are_resumed() {
    let server = TestServer::with(Default::default(), Default::default());
    for screen in SCREENS {
        let response = get(&server, &screen.replace("{job}", "a%20job").replace("{screen}", "events"), &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{screen}");
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        assert_eq!(bytes(response).await, include_bytes!("index.html"));
    }
    assert_eq!(get(&server, "/v1/jobs", &[]).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&server, "/other", &[]).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_files_are_compressed_and_not_sent_again() {
    let server = TestServer::new();
    for path in FILES {
        let plain = get(&server, path, &[]).await;
        assert!(!plain.headers().contains_key("content-encoding"));
        let tag = plain.headers()["etag"].to_str().unwrap().to_owned();
        let gzip = get(&server, path, &[("accept-encoding", "br, gzip")]).await;
        assert_eq!(gzip.headers()["content-encoding"], "gzip");
        let gzip = bytes(gzip).await;
        let mut text = Vec::new();
        GzDecoder::new(&gzip[..]).read_to_end(&mut text).unwrap();
        assert_eq!(text, bytes(plain).await, "{path}");
        assert!(gzip.len() <= GZIP_BYTES_MAX, "{path} has {} compressed bytes, more than {GZIP_BYTES_MAX}", gzip.len());
        let known = get(&server, path, &[("if-none-match", &tag)]).await;
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert!(bytes(known).await.is_empty());
    }
}

#[test]
fn the_files_and_nothing_else_outside_of_the_api_need_no_token() {
    let own: Vec<_> =
        ROUTE_ROLES.iter().filter(|(_, path, _)| SCREENS.contains(path) || FILES.contains(path)).collect();
    assert_eq!(own.len(), SCREENS.len() + FILES.len());
    assert!(own.iter().all(|(method, _, access)| method == "GET" && *access == RouteAccess::Public));
}
