//! Lists of a server with many jobs, components and names: each answer is bounded, and the pages have everything once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use axum::body::Body;
use serde_json::Value;
use tempfile::TempDir;

use super::body::read_body;
use super::testing::{TestServer, problem, request};
use crate::job::Submission;

const ANSWER_BYTES_MAX: usize = 1_000_000;
const ENDED_JOBS: usize = 10_000;
const RUNNING_JOBS: usize = 100;

/// Writes the records of jobs that have ended.
fn write_jobs(data_dir: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/job-v1.json");
    let mut record: Value = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    for number in 0..ENDED_JOBS {
        record["id"] = format!("{number:016x}").into();
        record["name"] = format!("{}-{number}", "n".repeat(40)).into();
        record["status"] = "FINISHED".into();
        // Many were submitted at the same time.
        record["submitted_at_ms"] = ((number / 7) as i64).into();
        record["ended_at_ms"] = 5.into();
        let folder = data_dir.join("jobs").join(record["id"].as_str().unwrap());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("job.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    }
}

/// Writes the description of a component with 10,000 names, and of many others.
fn write_components(data_dir: &Path) {
    let folder = data_dir.join("components");
    fs::create_dir_all(&folder).unwrap();
    for number in 0..600 {
        let names = if number == 0 { 10_000 } else { 3 };
        let names: Vec<String> = (0..names).map(|name| format!("{}{number}@{name}", "c".repeat(80))).collect();
        let sha256 = format!("{number:064x}");
        let view = serde_json::json!({
            "sha256": sha256, "names": names, "bytes": 1, "uploaded_at_ms": 1, "sdk": "s".repeat(2_000), "functions": [],
        });
        fs::write(folder.join(format!("{sha256}.json")), serde_json::to_vec(&view).unwrap()).unwrap();
        fs::write(folder.join(format!("{sha256}.wasm")), b"").unwrap();
    }
}

/// Follows the pages of a list. Returns all items and the number of pages.
async fn pages(server: &TestServer, path: &str) -> (Vec<Value>, usize) {
    let (mut items, mut next, mut pages) = (Vec::new(), Some(path.to_owned()), 0);
    while let Some(page) = next {
        let response = server.send(request("GET", &page).body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 200, "{page}");
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        let body = read_body(response.into_body(), 64 << 20).await.unwrap();
        assert!(body.len() < ANSWER_BYTES_MAX, "{page}: {} bytes", body.len());
        items.extend(serde_json::from_slice::<Vec<Value>>(&body).unwrap());
        pages += 1;
    }
    (items, pages)
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_many_jobs_and_names_are_bounded_and_complete() {
    let dir = TempDir::new().unwrap();
    write_jobs(dir.path());
    write_components(dir.path());
    let server = tokio::task::block_in_place(|| TestServer::over(dir));
    tokio::task::block_in_place(|| {
        for number in 0..RUNNING_JOBS {
            let pipeline = format!(
                "name = \"running-{number}\"\n[source.in]\nconnector = \"generator\"\nrate = 1\n[sink.out]\ninput = \"in\"\n\
                 connector = \"blackhole\"\n"
            );
            server.namespaces.default_host().submit(Submission::new(pipeline, "p.toml")).unwrap();
        }
    });
    let (jobs, number) = pages(&server, "/v1/jobs").await;
    let ids: BTreeSet<&str> = jobs.iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!((jobs.len(), ids.len()), (ENDED_JOBS + RUNNING_JOBS, ENDED_JOBS + RUNNING_JOBS));
    assert!(number > 10, "{number} pages");
    assert!(jobs.is_sorted_by_key(|job| -job["submitted_at_ms"].as_i64().unwrap()), "newest first");
    let (few, _) = pages(&server, "/v1/jobs?limit=1000").await;
    assert_eq!(few.len(), jobs.len());

    let (components, number) = pages(&server, "/v1/components").await;
    assert_eq!(components.len(), 600);
    assert!(number > 1, "{number} pages");
    let names = components[0]["names"].as_array().unwrap();
    assert_eq!((names.len(), &components[0]["names_hidden"]), (100, &9_900.into()));
    assert!(names[99].as_str().unwrap().ends_with("@9999"), "the newest names are shown");
    let one =
        server.send(request("GET", &format!("/v1/components/sha256:{:064x}", 0)).body(Body::empty()).unwrap()).await;
    assert!(read_body(one.into_body(), 64 << 20).await.unwrap().len() < ANSWER_BYTES_MAX);
    let wrong = server.send(request("GET", "/v1/jobs?after=x").body(Body::empty()).unwrap()).await;
    problem(wrong, 400, "request-invalid").await;
    tokio::task::block_in_place(|| server.namespaces.shutdown());
}
